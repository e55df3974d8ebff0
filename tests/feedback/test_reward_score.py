"""Scoring Groups: sums, missing values, statistics, and what a broken reward leads to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from accord.errors import ConfigError, NumericsError
from accord.feedback.reward import Part, Reward, RewardError, Row
from accord.feedback.score import RewardStatistics, score, statistics_of
from accord.record import Feedback, Group, Origin, Response

GROUPS = [
    Group("first", (Response("a"), Response("bb")), origin=Origin("data.jsonl", 1)),
    Group("second", (Response("ccc"),), origin=Origin("data.jsonl", 2)),
]


class Given:
    """A reward that returns what a function says of each response's text."""

    def __init__(self, function: Callable[[str], Any], name: str = "given") -> None:
        self.function, self.name, self.calls = function, name, 0

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        self.calls += 1
        return [tuple(self.function(response.text) for response in group.responses) for group in groups]


def length(text: str) -> float:
    return float(len(text))


def broken(value: Any) -> Callable[[str], Any]:
    """Says `value` of "bb"; raises it where it is an exception."""

    def function(text: str) -> Any:
        if text == "bb" and isinstance(value, Exception):
            raise value
        return value if text == "bb" else 1.0

    return function


def test_each_reward_has_its_score_and_overall_is_the_weighted_sum() -> None:
    scored = score(GROUPS, [Given(length, "length"), Part(Given(lambda text: 1.0, "one"), weight=-0.5)])
    assert [group.scores("length") for group in scored] == [(1.0, 2.0), (3.0,)]
    assert [group.scores("one") for group in scored] == [(1.0, 1.0), (1.0,)]
    assert [group.scores() for group in scored] == [(0.5, 1.5), (2.5,)]
    assert scored[0].feedback[-1].meta == {"weights": {"length": 1.0, "one": -0.5}}


def test_costs_and_monitors_stay_out_of_overall() -> None:
    parts: list[Reward | Part] = [
        Given(length, "length"),
        Part(Given(length, "harm"), weight=2.0, role="cost"),
        Part(Given(lambda text: None, "probe"), role="monitor"),
    ]
    (group, _) = score(GROUPS, parts)
    assert group.scores() == (1.0, 2.0)
    assert group.scores("cost") == (2.0, 4.0)
    assert group.scores("probe") == (None, None)
    (group, _) = score(GROUPS, [Part(Given(length), role="cost")])
    assert group.scores() is None


def test_what_misses_a_part_misses_the_sum() -> None:
    (first, second) = score(GROUPS, [Given(length, "length"), Given(broken(None), "some")])
    assert first.scores() == (2.0, None)
    assert second.scores() == (4.0,)


@given(st.lists(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=6))
def test_no_missing_score_becomes_a_number(rows: list[list[float | None]]) -> None:
    group = Group("p", tuple(Response(str(index)) for index in range(len(rows))))
    rewards = [Given(lambda text: rows[int(text)][0], "left"), Given(lambda text: rows[int(text)][1], "right")]
    (scored,) = score([group], rewards)
    totals = scored.scores()
    assert totals is not None
    for row, total in zip(rows, totals, strict=True):
        given_values = [value for value in row if value is not None]
        assert total == (pytest.approx(math.fsum(given_values)) if len(given_values) == 2 else None)


def test_scores_of_steps_stay_whatever_else_is_replaced() -> None:
    steps = ((0.5, 1.0), (0.0,))
    both = Feedback("reward_model", "steps", scores={"length": (9.0, 9.0)}, step_scores=steps)
    alone = Feedback("dataset", step_scores=steps)
    (scored,) = score([replace(GROUPS[0], feedback=(both, alone))], [Given(length, "length")])
    assert [one.step_scores for one in scored.feedback] == [steps, steps, None, None]
    assert scored.scores("length") == (1.0, 2.0)


def test_earlier_scores_of_the_name_are_replaced_and_the_rest_stays() -> None:
    kept = Feedback("human", labels=(True, False), scores={"overall": (9.0, 9.0), "mine": (1.0, 2.0)})
    gone = Feedback("oracle", scores={"overall": (5.0, 5.0)})
    group = Group("p", (Response("a"), Response("bb")), (kept, gone))
    (scored,) = score([group], [Given(length, "length")])
    assert scored.scores() == (1.0, 2.0)
    assert scored.scores("mine") == (1.0, 2.0)
    assert scored.labels() == (1.0, -1.0)
    (again,) = score([scored], [Given(length, "length")])
    assert again == scored


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stops_with_the_prompt_or_is_missing(value: float) -> None:
    with pytest.raises(NumericsError, match=r"reward given, data\.jsonl:1, prompt 'first': the score of response 1 is"):
        score(GROUPS, [Given(broken(value))])
    seen: list[RewardStatistics] = []
    (first, _) = score(GROUPS, [Given(broken(value))], missing="record", observe=seen.append)
    assert first.scores() == (1.0, None)
    assert "data.jsonl:1" in seen[0].problems[0]


def test_an_exception_stops_with_the_prompt_or_is_missing() -> None:
    reward = Given(broken(ZeroDivisionError("by nothing")))
    with pytest.raises(RewardError, match=r"data\.jsonl:1, prompt 'first': raised ZeroDivisionError: by nothing"):
        score(GROUPS, [reward])
    first, second = score(GROUPS, [reward], missing="record")
    assert (first.scores(), second.scores()) == ((None, None), (1.0,))


def test_an_error_that_explains_itself_is_not_searched_for() -> None:
    reward = Given(broken(RewardError("the server is gone", where="http://host")))
    with pytest.raises(RewardError, match="the server is gone"):
        score(GROUPS, [reward])
    assert reward.calls == 1
    seen: list[RewardStatistics] = []
    scored = score(GROUPS, [reward], missing="record", observe=seen.append)
    assert [group.scores() for group in scored] == [(None, None), (None,)]
    assert seen[0].problems == ("http://host: the server is gone.",)


@pytest.mark.parametrize("value", ["1", b"1", object(), [1.0]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(RewardError, match=rf"is no number but {type(value).__name__}"):
        score(GROUPS, [Given(broken(value))], missing="record")


def test_numbers_of_every_kind_are_taken() -> None:
    for value in (True, 1, numpy.float32(1), torch.tensor(1.0)):
        assert score(GROUPS, [Given(broken(value))])[0].scores() == (1.0, 1.0)


def test_rows_of_the_wrong_shape_are_refused() -> None:
    class Short(Given):
        def __call__(self, groups: Sequence[Group]) -> list[Row]:
            return [(1.0,) for _ in groups]

    with pytest.raises(RewardError, match="returned 1 scores for 2 responses"):
        score(GROUPS, [Short(length)])


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="2 rewards are named 'given'"):
        score(GROUPS, [Given(length), Given(length)])
    with pytest.raises(ConfigError, match="'overall' cannot be the name"):
        score(GROUPS, [Given(length, "overall")])
    with pytest.raises(ConfigError, match="there is no reward"):
        score(GROUPS, [])
    with pytest.raises(ConfigError, match="the weight is 0"):
        Part(Given(length), weight=0.0)


def test_statistics() -> None:
    one = statistics_of("r", [(0.0, 1.0, None), (1.0,)], seconds=2.0)
    assert (one.responses, one.scored, one.missing) == (4, 3, 0.25)
    assert one.mean == pytest.approx(2 / 3)
    assert (one.lowest, one.highest) == (0.0, 1.0)
    assert one.std == pytest.approx(math.sqrt(2 / 9))
    assert one.at_lowest == pytest.approx(1 / 3)
    assert one.at_highest == pytest.approx(2 / 3)
    none = statistics_of("r", [(None,), ()])
    assert (none.mean, none.at_highest, none.missing) == (None, None, 1.0)


def test_groups_without_responses_are_scored_as_such() -> None:
    (scored,) = score([Group("p")], [Given(length)])
    assert scored.scores() == ()
