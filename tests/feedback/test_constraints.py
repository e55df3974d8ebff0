"""Constraints made of rewards: violations, penalties, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ConfigError, NumericsError
from accord.feedback.constraints import Constraint, refused
from accord.feedback.function import FunctionReward
from accord.feedback.reward import Part, Row
from accord.feedback.score import score
from accord.feedback.spec import parse, parse_one
from accord.record import Group, Response


class Given:
    """A reward that gives these numbers, whatever the responses."""

    def __init__(self, name: str, *values: float | None) -> None:
        self.name, self.values = name, values

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [self.values for _ in groups]


ONE = Group("Say it.", (Response("it"),))
TWO = Group("Say it.", (Response("it"), Response("that")))


def test_penalties_are_taken_off_the_reward() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    case = next(case for case in cases if case["method"] == "cpo_seed.penalty")
    inputs, expected = case["inputs"], case["expected"]
    constraints = [
        Part(Constraint(Given(f"c{j}", value), threshold=threshold), weight=price, role="penalty")
        for j, (value, threshold, price) in enumerate(
            zip(inputs["scores"], inputs["thresholds"], inputs["lambdas"], strict=True)
        )
    ]
    (group,) = score([ONE], [Given("helpful", inputs["reward"]), *constraints])
    assert group.scores() == pytest.approx((expected["penalised_reward"],))
    for j, violation in enumerate(expected["violations"]):
        assert group.scores(f"c{j}_violation") == pytest.approx((violation,))
    assert group.feedback[-1].meta["weights"] == {"helpful": 1.0, "c0_violation": -2.0, "c1_violation": -1.0}


def test_a_predicate_is_a_constraint() -> None:
    def polite(prompt: str, response: str) -> bool:
        return response != "that"

    constraint = Constraint(FunctionReward(polite))
    assert constraint([TWO]) == [(0.0, 1.0)]
    assert constraint.name == "polite_violation"


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_violation_is_what_is_missing_to_the_threshold(value: float, threshold: float) -> None:
    ((found,),) = Constraint(Given("c", value), threshold=threshold)([ONE])
    assert found is not None
    assert (found == 0) == (value >= threshold)
    assert found >= 0
    assert value + found == pytest.approx(max(value, threshold))


def test_what_has_no_score_has_no_violation_and_nan_is_found() -> None:
    assert Constraint(Given("c", None, 0.25))([TWO]) == [(None, 0.75)]
    with pytest.raises(NumericsError, match="is nan"):
        score([ONE], [Constraint(Given("c", math.nan))])
    with pytest.raises(ConfigError, match="no number to reach"):
        Constraint(Given("c", 1.0), threshold=math.inf)


def test_only_rejecting_constraints_refuse_and_what_they_cannot_judge() -> None:
    refuses = Part(Constraint(Given("strict", 1.0, 0.4), threshold=0.5), role="reject")
    unsure = Part(Constraint(Given("unsure", None, 1.0)), role="reject")
    penalises = Part(Constraint(Given("mild", 0.0, 0.0)), role="penalty")
    parts = [Part(Given("helpful", 1.0, 1.0)), refuses, penalises]
    (group,) = score([TWO], parts)
    assert refused(group, parts) == (False, True)
    assert group.scores() == (0.0, 0.0)
    assert group.scores("cost") is None
    both = [*parts, unsure]
    assert refused(score([TWO], both)[0], both) == (True, True)
    assert refused(score([TWO], parts[:1])[0], parts[:1]) == (False, False)


def test_a_threshold_on_the_command_line_makes_a_constraint() -> None:
    penalty, cost, reject = parse(["regex:^i,threshold=1,weight=2", "regex:t$,threshold=1,role=cost,name=t",
                                   "exact,threshold=0.5,role=reject"])  # fmt: skip
    assert [(part.role, part.name, part.factor) for part in (penalty, cost, reject)] == [
        ("penalty", "regex_violation", -2.0),
        ("cost", "t", 1.0),
        ("reject", "exact_violation", 1.0),
    ]
    assert penalty.reward([TWO]) == [(0.0, 1.0)]
    assert cost.reward([TWO]) == [(0.0, 0.0)]
    assert parse_one("regex:^i,role=penalty").factor == -1.0
