"""Calibration: worked numbers, a calibrated model found calibrated, an overconfident one cooled down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from accord.errors import DataError
from accord.feedback.calibration import calibration, fitted_temperature, preference_margins
from accord.record import Feedback, Group, Preference, Response


def simulated(pairs: int, *, scale: float) -> NDArray[np.float64]:
    """Margins of a model whose true log-odds are `margin / scale`: whoever is preferred is drawn from them."""
    rng = np.random.default_rng(5)
    true = rng.normal(0.0, 2.0, pairs)
    won = rng.random(pairs) < 1 / (1 + np.exp(-true))
    signed: NDArray[np.float64] = np.where(won, true, -true) * scale
    return signed


def test_by_hand() -> None:
    found = calibration([0.0, np.log(3.0), -np.log(3.0)])
    assert found.pairs == 3
    assert found.accuracy == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.confidence == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    assert found.brier == pytest.approx((0.25 + 0.0625 + 0.5625) / 3)
    # One bin around 0.5 that is half right, one around 0.75 that is half right.
    assert found.ece == pytest.approx(2 / 3 * 0.25)


def test_a_calibrated_model_is_found_so() -> None:
    found = calibration(simulated(20_000, scale=1.0))
    assert found.ece < 0.02
    assert found.temperature == pytest.approx(1.0, abs=0.05)
    assert sum(one.count for one in found.bins) == 20_000


def test_an_overconfident_model_is_cooled_down() -> None:
    found = calibration(simulated(20_000, scale=3.0))
    assert found.ece > 0.1
    assert found.temperature == pytest.approx(3.0, abs=0.15)
    assert found.ece_at_temperature < 0.02


def test_without_a_mistake_any_confidence_is_justified() -> None:
    assert fitted_temperature(np.array([0.1, 0.2])) == pytest.approx(0.01, abs=0.01)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30))
def test_everything_is_a_share(margins: list[float]) -> None:
    found = calibration(margins)
    for value in (found.accuracy, found.confidence, found.ece, found.brier, found.ece_at_temperature):
        assert 0 <= value <= 1


def test_margins_of_preferences() -> None:
    group = Group(
        "?",
        (Response("a"), Response("b"), Response("c")),
        (Feedback("human", preferences=(Preference(0, 1), Preference(2, 0, 0.4), Preference(2, 1))),),
    )
    assert preference_margins([group], [(1.0, 0.5, None)]) == ([0.5], ["?"])


def test_nothing_to_calibrate_on() -> None:
    with pytest.raises(DataError, match="no comparison"):
        calibration([])
