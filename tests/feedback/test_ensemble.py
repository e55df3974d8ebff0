"""Ensembles of rewards: mean, minimum, lower bound, and the disagreement behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ConfigError
from accord.feedback.ensemble import Combine, Ensemble
from accord.feedback.reward import Row
from accord.record import Group, Response


@dataclass(frozen=True)
class Fixed:
    """A reward that says what it was told to say."""

    name: str
    rows: list[Row]

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return self.rows[: len(groups)]


GROUP = Group("?", (Response("a"), Response("b")))


def combined(values: Sequence[Row], combine: Combine, k: float = 1.0) -> Row:
    members = [Fixed(str(index), [row]) for index, row in enumerate(values)]
    return Ensemble(members, combine=combine, k=k)([GROUP])[0]


def test_by_hand() -> None:
    members: list[Row] = [(1.0, 0.0), (3.0, 0.0)]
    assert combined(members, "mean") == (2.0, 0.0)
    assert combined(members, "min") == (1.0, 0.0)
    assert combined(members, "lower", k=0.5) == (1.5, 0.0)


def test_disagreement_and_what_each_says_are_kept() -> None:
    ensemble = Ensemble([Fixed("x", [(1.0, 0.0)]), Fixed("y", [(3.0, None)])])
    (feedback,) = ensemble.feedback(ensemble.each([GROUP]))
    assert feedback.scores == {"uncertainty": (1.0, None)}
    assert feedback.meta["members"] == [["x", (1.0, 0.0)], ["y", (3.0, None)]]
    assert feedback.source == "reward_model"


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5))
def test_bounds(values: list[float]) -> None:
    rows: list[Row] = [(value, value) for value in values]
    mean, lowest, lower = (combined(rows, how)[0] for how in ("mean", "min", "lower"))
    assert mean is not None
    assert lowest is not None
    assert lower is not None
    assert lowest <= mean + 1e-9
    assert lower == pytest.approx(mean - pstdev(values))
    assert combined(rows, "lower", k=0.0)[0] == pytest.approx(mean)


def test_what_cannot_be_an_ensemble() -> None:
    with pytest.raises(ConfigError, match="an ensemble of 1 cannot disagree"):
        Ensemble([Fixed("x", [])])
    with pytest.raises(ConfigError, match="k=-1 would reward disagreement"):
        Ensemble([Fixed("x", []), Fixed("y", [])], k=-1)
