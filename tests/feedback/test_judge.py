"""Judges: how they are asked, how their answers become feedback, and what is never guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.chat import Reply, Request
from accord.chat.choices import choice_probabilities
from accord.chat.types import Progress
from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.feedback.judge.chat_judge import ChatJudge
from accord.feedback.judge.groups import gold_of, judged_groups, pairs_in
from accord.feedback.judge.pair import Pair, clamped, joined, swap_mean, tempered
from accord.feedback.judge.pointwise import PointwiseJudge, expected_score, normalised
from accord.feedback.judge.principles import Principle, read_principles
from accord.feedback.judge.reward_judge import CONTROLS, RewardJudge
from accord.feedback.judge.spec import parse_judge
from accord.feedback.judge.templates import SHIPPED, PairTemplate, ScoreTemplate, load_template, read_choice
from accord.record import Feedback, Group, Preference, Response
from accord.record.adapt import adapt


class Judge:
    """Answers every request by a function, and remembers what it was asked."""

    identity = "scripted"

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        self.asked += requests
        return [self.replies.pop(0) for _ in requests]


def leaning(p: float) -> Reply:
    return Reply("A" if p >= 0.5 else "B", probabilities=(p, 1 - p), mass=0.9)


def pair_template(name: str = "plain") -> PairTemplate:
    template = load_template(name)
    assert isinstance(template, PairTemplate)
    return template


GROUP = Group("What is the sea?", (Response("Water."), Response("I {first} will not say.")))
PAIR = Pair(GROUP, 0, 1)


def test_golden_numbers() -> None:
    """`rlaif.position_swap`, `rlaif.principle_ensemble`, `rlaif.direct_score`, `cai.soft_label`, `cai.cot_clamp`."""
    assert swap_mean(0.8, 0.4) == pytest.approx(0.7, abs=1e-12)
    of_principles = {str(k): (p, 1 - p) for k, p in enumerate((0.9, 0.6, 0.75))}
    assert joined(of_principles, weights=dict.fromkeys(of_principles, 1.0)).p == pytest.approx(0.75, abs=1e-12)
    weights = [math.exp(x) for x in (-1.0, -2.0, -0.5)]
    score = expected_score([weight / sum(weights) for weight in weights])
    assert score == pytest.approx(2.215050426842088, abs=1e-12)
    assert normalised(score, 3) == pytest.approx(0.21505042684208808, abs=1e-12)
    soft, _ = choice_probabilities(("A", "B"), [("A", -1.2), ("B", -2.0)], where="golden")
    assert soft is not None
    assert soft[0] == pytest.approx(0.6899744811276125, abs=1e-12)
    assert [clamped(p, (0.4, 0.6)) for p in (0.98, 0.55, 0.03)] == [0.6, 0.55, 0.4]


def test_a_pair_is_shown_in_both_orders_by_every_principle() -> None:
    chat = Judge(leaning(0.9), leaning(0.3), leaning(0.6), leaning(0.8))
    principles = (Principle("true", "Say what is true.", 3.0), Principle("kind", "Insult nobody.", 1.0))
    (judgement,) = ChatJudge(chat, pair_template(), principles=principles).compare([PAIR])
    texts = [request.messages[-1].content for request in chat.asked]
    assert ["Say what is true." in text for text in texts] == [True, True, False, False]
    assert [text.index("Water.") < text.index("I {first}") for text in texts] == [True, False, True, False]
    assert "<answer B>\nI {first} will not say.\n</answer B>" in texts[0], "what a response says is no slot"
    assert judgement.orders == pytest.approx(((3 * 0.9 + 0.6) / 4, (3 * 0.3 + 0.8) / 4))
    assert judgement.p == pytest.approx((3 * 0.8 + 0.4) / 4)
    assert judgement.gap == pytest.approx(0.825 + 0.425 - 1)
    assert judgement.by_principle["kind"] == (0.6, 0.8)
    assert (judgement.asked, judgement.unread, judgement.mass) == (4, 0, 0.9)


def test_the_same_text_twice_is_a_tie_that_nobody_is_asked_about() -> None:
    chat = Judge()
    (judgement,) = ChatJudge(chat, pair_template()).compare([Pair(Group("?", (Response("x"), Response("x"))), 0, 1)])
    assert judgement.p == 0.5
    assert chat.asked == []


def test_a_judge_that_reasons_is_asked_to_conclude_and_kept_from_certainty() -> None:
    chat = Judge(Reply("First is wet."), Reply("Second is wet."), leaning(0.98), leaning(0.03))
    (judgement,) = ChatJudge(chat, pair_template("reasoned")).compare([PAIR])
    assert [bool(request.choices) for request in chat.asked] == [False, False, True, True]
    assert [message.role for message in chat.asked[2].messages] == ["user", "assistant", "user"]
    assert chat.asked[3].messages[1].content == "Second is wet."
    assert judgement.orders == (0.6, 0.4)
    assert judgement.p == pytest.approx(0.6)


def test_written_verdicts_are_read_strictly_and_never_guessed() -> None:
    said = ["Both are wet.\nVerdict: A", "**Verdict: B**", "Verdict: A", "A or B, who knows", "Verdict: tie", "tie"]
    chat = Judge(*map(Reply, said))
    judge = ChatJudge(chat, pair_template("written"))
    agreed, unread, tie = judge.compare([PAIR, PAIR, PAIR])
    assert (agreed.p, agreed.consistent) == (1.0, True)
    assert (unread.p, unread.orders, unread.unread) == (None, None, 1)
    assert tie.p == 0.5


@pytest.mark.parametrize("said", ["", "A good answer would be B", "A and B", "Verdict: A\nor rather B?", "C", "AB"])
def test_what_is_no_verdict_is_not_read(said: str) -> None:
    assert read_choice(said, {"A": 1.0, "B": 0.0}) is None


@given(st.text(max_size=60))
def test_only_a_verdict_is_a_verdict(said: str) -> None:
    found = read_choice(said, {"A": 1.0, "B": 0.0})
    if found is not None:
        last = [line for line in said.splitlines() if line.strip()][-1]
        letters = [letter for letter in last.casefold() if letter.isalnum()]
        assert letters in (["a"], ["b"], list("verdicta"), list("verdictb"))


@given(st.floats(0, 1), st.floats(0, 1))
def test_to_turn_the_pair_turns_the_probability(ab: float, ba: float) -> None:
    assert swap_mean(ab, ba) + swap_mean(ba, ab) == pytest.approx(1)


@given(st.floats(0.01, 0.99), st.floats(0.25, 10))  # a colder one rounds to certainty, and nothing brings that back
def test_a_temperature_keeps_the_winner(p: float, temperature: float) -> None:
    cooled = tempered(p, temperature)
    assert (cooled > 0.5) == (p > 0.5) or cooled == pytest.approx(0.5)
    assert tempered(cooled, 1 / temperature) == pytest.approx(p, abs=1e-6)


def test_one_principle_that_cannot_be_read_leaves_the_others() -> None:
    judgement = joined({"a": (0.9, 0.2), "b": (None, 0.4)}, weights={"a": 1.0, "b": 1.0}, asked=4)
    assert judgement.p == pytest.approx(0.85)
    assert judgement.unread == 1


def test_judgements_become_feedback_for_every_objective() -> None:
    group = Group("?", (Response("one"), Response("two"), Response("three")))
    pairs = pairs_in([group])
    judgements = [joined({"x": (p, 1 - p)}, weights={"x": 1.0}) for p in (0.8, 0.6, 0.5)]
    (judged,) = judged_groups([group], pairs, judgements, name="j")
    weights = {(one.better, one.worse): one.weight for one in judged.preferences()}
    assert weights == pytest.approx({(0, 1): 0.8, (1, 0): 0.2, (0, 2): 0.6, (2, 0): 0.4, (1, 2): 0.5, (2, 1): 0.5})
    assert judged.scores() == pytest.approx((0.7, 0.35, 0.45))
    for need in ("prefer", "label", "score", "distribution"):
        assert adapt([judged], (need,)).groups, need
    (hard,) = judged_groups([group], pairs, judgements, name="j", labels="hard")
    assert [(one.better, one.worse, one.weight) for one in hard.preferences()] == [(0, 1, 1.0), (0, 2, 1.0)]


def test_pairs_that_hang_on_the_order_can_be_left_out_and_others_feedback_is_kept_only_if_asked() -> None:
    given_before = (Feedback("human", preferences=(Preference(1, 0),)), Feedback("judge", "j", labels=(True, False)))
    group = Group("?", (Response("one"), Response("two")), given_before)
    judgement = joined({"x": (0.9, 0.7)}, weights={"x": 1.0})
    assert judgement.consistent is False
    (dropped,) = judged_groups([group], pairs_in([group]), [judgement], name="j", inconsistent="drop")
    assert list(dropped.preferences()) == []
    assert dropped.scores() is None
    (kept,) = judged_groups([group], pairs_in([group]), [judgement], name="j", keep=True)
    assert [one.source for one in kept.feedback] == ["human", "judge"]
    assert gold_of(Pair(kept, 0, 1), judge="j") == 0.0


def test_any_reward_is_a_judge_of_pairs() -> None:
    reward = FunctionReward(lambda response: float(len(response)), name="long")
    group = Group("?", (Response("abc"), Response("a"), Response("abc")))
    judged = RewardJudge(reward, temperature=2.0).compare(pairs_in([group]))
    assert [one.p for one in judged] == pytest.approx([1 / (1 + math.exp(-1)), 0.5, 1 / (1 + math.exp(1))])
    assert all(one.gap == pytest.approx(0) for one in judged)


def test_controls_decide_by_their_rule() -> None:
    judged = {name: control.compare([PAIR])[0] for name, control in CONTROLS.items()}
    assert judged["first"].p == 0.5
    assert judged["first"].gap == 1.0
    assert judged["longest"].p == 0.0
    assert judged["random"].p in (0.0, 1.0)
    assert judged["random"].consistent


def test_scores_are_expected_values_by_aspect() -> None:
    template = load_template("score")
    assert isinstance(template, ScoreTemplate)
    chat = Judge(
        Reply("5", probabilities=(0.0, 0.0, 0.0, 0.5, 0.5)),
        Reply("1", probabilities=(1.0, 0.0, 0.0, 0.0, 0.0)),
        Reply("3"),
        Reply("I like it."),
    )
    judge = PointwiseJudge(chat, template, aspects=("helpful", "clear"))
    by_aspect = judge.by_aspect([GROUP])
    assert by_aspect == {"helpful": [(0.75, -1.0)], "clear": [(0.0, None)]}
    assert (judge.asked, judge.unread) == (4, 1)
    chat.replies = [Reply("3"), Reply("4"), Reply("5"), Reply("no")]
    assert judge([GROUP]) == [(0.5, None)], "a missing aspect makes the whole missing, and is never 0"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_template_that_ships_can_be_used(path: Path) -> None:
    template = load_template(path.stem)
    if isinstance(template, PairTemplate):
        (message,) = template.messages(GROUP, GROUP.responses[0], GROUP.responses[1], "P")
        assert message.content.index("Water.") < message.content.index("I {first} will not say.")
    else:
        (message,) = template.messages(GROUP, GROUP.responses[0], "helpful")
    assert "What is the sea?" in message.content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "pair"\nprompt = "{question} {first}"\nchoices = ["A", "B"]', "no slot {second}"),
        ('kind = "pair"\nprompt = "{question} {first} {second} {x}"\nchoices = ["A", "B"]', "unknown slot {x}"),
        ('kind = "pair"\nprompt = "{question} {first} {second}"\nchoices = ["A"]', "choices"),
        ('kind = "pears"', "pears"),
        ("kind = ", "is no template"),
    ],
)
def test_a_template_that_cannot_be_used_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_template(str(path))
    assert "mine.toml" in str(caught.value)


def test_principles_are_read_from_toml_and_from_lines(tmp_path: Path) -> None:
    toml, lines = tmp_path / "town.toml", tmp_path / "town.txt"
    toml.write_text('[[principles]]\nname = "kind"\ntext = "Insult nobody."\nweight = 2.0\ncritique = "Is it rude?"\n')
    lines.write_text("# the town's\nkind: Insult nobody.\n\ntrue: Say what is so.\n")
    assert read_principles(toml) == (Principle("kind", "Insult nobody.", 2.0, critique="Is it rude?"),)
    assert [one.name for one in read_principles(lines)] == ["kind", "true"]
    lines.write_text("kind: a\nkind: b\n")
    with pytest.raises(ConfigError, match="names 'kind' twice"):
        read_principles(lines)


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("control:longer", {}, "Did you mean 'longest'"),
        ("control:first", {"template": "written"}, "--template"),
        ("no_such_module:f", {}, "--judge no_such_module:f"),
        ("reward:no_such_reward", {}, "no reward is named"),
    ],
)
def test_a_judge_that_cannot_be_found_is_explained(spec: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_judge(spec, template=settings.get("template", "plain"))


def test_a_template_without_a_place_for_principles_refuses_them() -> None:
    with pytest.raises(ConfigError, match="no place for principles"):
        ChatJudge(Judge(), pair_template("tidewater"), principles=(Principle("kind", "Insult nobody."),))
