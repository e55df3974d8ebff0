"""A 95% interval holds the truth 95% of the time, within the simulation's own error; `docs/statistics.md` has more."""

from __future__ import annotations

import pytest

from accord.evaluate.coverage import (
    Draw,
    calibration,
    clustered_means,
    clustered_shares,
    exact_wilson,
    length_controlled,
    means,
    paired_shares,
    ratings,
    simulate,
)


@pytest.mark.parametrize("n", [10, 40, 200])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_wilson_exactly(n: int, share: float) -> None:
    assert 0.92 <= exact_wilson(n, share).covered <= 0.99


@pytest.mark.parametrize(
    ("draw", "trials", "most"),
    [
        (means(8), 1500, 0.97),
        (clustered_shares(10, 20, share=0.1, correlation=0.4), 1000, 1.0),
        (clustered_shares(30, 20, share=0.05, correlation=0.4), 1000, 1.0),
        (clustered_shares(5, 4, share=0.5, correlation=0.4), 1000, 1.0),
        (clustered_shares(100, 3, share=0.5, correlation=0.4), 1000, 0.97),
        (clustered_means(6, 5, correlation=0.5), 1000, 0.98),
        (paired_shares(40, 1, better=0.2, worse=0.1), 1500, 0.98),
        (paired_shares(10, 20, better=0.4, worse=0.3, correlation=0.5), 1000, 1.0),
        (paired_shares(30, 4, better=0.2, worse=0.1, correlation=0.5), 1000, 0.99),
        (calibration(60, overconfident=0.1), 60, 1.0),
        (length_controlled(50, quality=0.5, length=1.0), 25, 1.0),
        (ratings(3, 15, spread=1.0, method="bootstrap"), 20, 1.0),
        (ratings(3, 15, spread=1.0, method="sandwich"), 300, 1.0),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(draw: Draw, trials: int, most: float) -> None:
    """Three standard errors of the simulation, and a point for what is approximate."""
    error = 3 * (0.95 * 0.05 / trials) ** 0.5
    assert 0.94 - error <= simulate(draw, trials=trials, seed=1).covered <= most + error


def test_clusters_that_are_ignored_show() -> None:
    ignored = simulate(clustered_shares(10, 20, share=0.5, correlation=0.4, ignored=True), trials=500)
    assert ignored.covered < 0.6
