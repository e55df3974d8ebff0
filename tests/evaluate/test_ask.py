"""What a model is asked, and what becomes of its answers and numbers."""

from __future__ import annotations

import math

import pytest

from accord.chat.types import Reply, Request
from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate import choose, generate, loglikelihood, reward, reward_or_likelihood
from accord.evaluate.ask import BYTES, LIKELIHOOD, REWARD, TOKENS
from accord.record import Feedback, Group, Message, Preference, Response
from accord.testing import scripted_subject

PAIR = Group("Which?", (Response("one word"), Response("two")), id="pair")


def test_answers_take_the_place_of_responses_and_their_feedback() -> None:
    subject = scripted_subject(say=lambda request: f"{request.seed}: {request.messages[-1].content}")
    judged = Group("a", (Response("x"), Response("y")), (Feedback("human", preferences=(Preference(0, 1),)),))
    first, second = generate(n=2, seed=5, temperature=1.0)(subject, [judged, Group("b")])
    assert [one.text for one in first.responses] == ["5: a", "6: a"]
    assert [one.text for one in second.responses] == ["5: b", "6: b"]
    assert first.feedback == ()


def test_settings_reach_the_request() -> None:
    subject = scripted_subject(say=lambda request: "")
    generate(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n",), system="Be brief.")(subject, [Group("Hi")])
    assert subject.chat.asked == [  # type: ignore[union-attr]
        Request(
            (Message("system", "Be brief."), Message("user", "Hi")),
            temperature=0.5,
            top_p=0.9,
            max_tokens=7,
            stop=("\n",),
        )
    ]


def test_likelihoods_become_scores_beside_others() -> None:
    known = Group(
        "Which?", PAIR.responses, (Feedback("human", scores={"overall": (1.0, 2.0), LIKELIHOOD: (9.0, 9.0)}),)
    )
    (item,) = loglikelihood()(scripted_subject(likelihood=lambda prompt, text: -float(len(text))), [known])
    assert item.scores(LIKELIHOOD) == (-8.0, -3.0)
    assert item.scores(TOKENS) == (2.0, 1.0)
    assert item.scores(BYTES) == (8.0, 3.0)
    assert item.scores() == (1.0, 2.0)


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_a_likelihood_that_is_no_number_names_the_item(value: float) -> None:
    subject = scripted_subject(likelihood=lambda prompt, text: value)
    with pytest.raises(NumericsError, match="item pair, 'Which"):
        loglikelihood()(subject, [PAIR])


def test_a_reward_may_be_missing_but_not_nan() -> None:
    (item,) = reward()(scripted_subject(reward=lambda prompt, text: None if text == "two" else 1.0), [PAIR])
    assert item.scores(REWARD) == (1.0, None)
    with pytest.raises(NumericsError, match="reward of 'one word'"):
        reward()(scripted_subject(reward=lambda prompt, text: math.nan), [PAIR])


def test_rankings_are_by_reward_where_there_is_one() -> None:
    ask, by_length = reward_or_likelihood(), lambda prompt, text: float(len(text))
    (rewarded,) = ask(scripted_subject(reward=by_length, likelihood=lambda prompt, text: 0.0), [PAIR])
    (scored,) = ask(scripted_subject(likelihood=lambda prompt, text: -float(len(text))), [PAIR])
    assert rewarded.scores(REWARD) == (8.0, 3.0)
    assert rewarded.scores(LIKELIHOOD) is None
    assert scored.scores(REWARD) == scored.scores(LIKELIHOOD) == (-8.0, -3.0)


LETTERS = Group("A or B?", (Response("A"), Response("B")))


def test_choices_are_a_distribution() -> None:
    subject = scripted_subject(say=lambda request: Reply("B", probabilities=(0.3, 0.7)))
    (item,) = choose()(subject, [LETTERS])
    assert item.distribution() == (0.3, 0.7)


@pytest.mark.parametrize(
    ("said", "read"), [("B", (0.0, 1.0)), (" A) because", (1.0, 0.0)), ("Apples", None), ("", None)]
)
def test_a_choice_without_probabilities_is_read_from_the_words(said: str, read: tuple[float, float] | None) -> None:
    (item,) = choose()(scripted_subject(say=lambda request: said), [LETTERS])
    assert item.distribution() == read


def test_what_a_model_cannot_do_is_said() -> None:
    nothing = scripted_subject()
    for ask, lacks in ((generate(), "does not answer"), (loglikelihood(), "log-probabilities"), (reward(), "rewards")):
        with pytest.raises(ConfigError, match=lacks):
            ask(nothing, [PAIR])


def test_an_item_without_responses_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="item 0, 'Hi': has no response"):
        loglikelihood()(scripted_subject(likelihood=lambda prompt, text: 0.0), [Group("Hi")])
