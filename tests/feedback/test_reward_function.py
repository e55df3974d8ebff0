"""Functions as rewards: what they may ask for, their options, and mistakes found at the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward, options_of
from accord.feedback.reward import RewardError
from accord.record import Group, Message, Response

GROUPS = [
    Group(
        (Message("user", "Hi"), Message("assistant", "Yes?")), (Response("a"), Response("bb", finished=False)), answer=1
    ),
    Group("plain", ()),
    Group("last", (Response("ccc"),), answer=3),
]


def test_one_response_or_all_of_them() -> None:
    def each(response: str, answer: int) -> float:
        return len(response) + answer

    def every(answers: list[Any], responses: list[str], prompts: list[str]) -> list[float]:
        assert prompts == ["user: Hi\nassistant: Yes?"] * 2 + ["last"]
        return [len(r) + a for r, a in zip(responses, answers, strict=True)]

    expected = [(2, 3), (), (6,)]
    assert FunctionReward(each)(GROUPS) == FunctionReward(every)(GROUPS) == expected


def test_records_and_groups_can_be_asked_for() -> None:
    def ended(record: Response, group: Group) -> bool:
        return record.finished and bool(group.answer == 1)

    assert FunctionReward(ended)(GROUPS) == [(True, False), (), (False,)]


def test_the_empty_batch_calls_nothing() -> None:
    def fail(responses: list[str]) -> list[float]:
        raise AssertionError

    assert FunctionReward(fail)([Group("p")]) == [()]


def test_options_are_read_converted_and_checked() -> None:
    def reward(
        response: str, *, words: Annotated[int, msgspec.Meta(ge=1)], unit: Literal["a", "b"] = "a", free: Any = None
    ) -> float:
        """Score.

        Args:
            words: how
                many.
        """
        return words

    assert [(o.name, o.required, o.help) for o in options_of(reward)][:1] == [("words", True, "how many.")]
    assert FunctionReward(reward, options={"words": "3"})([GROUPS[2]]) == [(3,)]
    for options, message in (
        ({}, "'words' is required"),
        ({"words": "x"}, "words='x' cannot be used"),
        ({"words": 0}, ">= 1"),
        ({"words": 1, "unit": "c"}, "unit='c'"),
        ({"words": 1, "unti": "a"}, "Did you mean 'unit'"),
    ):
        with pytest.raises(ConfigError, match=message):
            FunctionReward(reward, options=options)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [], "Did you mean 'responses'"),
        (lambda response, answers: 0.0, "mixes one response and all of them"),
        (lambda: 0.0, "does not say by its parameters"),
        (lambda *responses: 0.0, "does not say by its parameters"),
        (lambda response, limit=3: 0.0, "the parameter 'limit' is unknown"),
    ],
)
def test_a_signature_that_cannot_work_is_refused_at_the_start(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FunctionReward(function)


def test_a_wrong_number_of_scores_is_refused() -> None:
    def short(responses: list[str]) -> list[float]:
        return [1.0]

    with pytest.raises(RewardError, match="returned 1 scores for 3 responses"):
        FunctionReward(short)(GROUPS)
