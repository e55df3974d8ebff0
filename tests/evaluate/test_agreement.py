"""Cohen's kappa and linear slopes against hand-computed and simulated values."""

from __future__ import annotations

import numpy as np
import pytest

from accord.errors import DataError
from accord.evaluate.agreement import cohen_kappa, slopes


def test_golden_kappa() -> None:
    """`human.cohen_kappa`."""
    found = cohen_kappa([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1])
    assert found is not None
    assert found.mean == pytest.approx(0.33333333333333326, abs=1e-12)
    assert found.low < 0 < found.mean < found.high < 1


def test_kappa_at_its_ends() -> None:
    full = cohen_kappa("abab", "abab")
    assert full is not None
    assert full.mean == 1.0
    assert full.low < 0.5
    assert cohen_kappa("aaaa", "aaaa") is None
    with pytest.raises(DataError, match="4 and 3"):
        cohen_kappa("aaaa", "aaa")


def test_clusters_widen_kappa() -> None:
    alone, together = (cohen_kappa("abab" * 10, "abba" * 10, c) for c in (None, [i // 8 for i in range(40)]))
    assert alone is not None
    assert together is not None
    assert alone.mean == together.mean


def test_slopes_are_those_of_least_squares_and_cover_the_truth() -> None:
    draw, covered, runs = np.random.default_rng(0), np.zeros(2), 300
    for _ in range(runs):
        x = draw.normal(size=(2, 60))
        y = 0.5 * x[0] - 0.2 * x[1] + draw.normal(size=60) * (0.5 + np.abs(x[0]))
        found = slopes(y, x.tolist())
        expected = np.linalg.lstsq(x.T, y, rcond=None)[0]
        for place, (one, truth) in enumerate(zip(found, (0.5, -0.2), strict=True)):
            assert one is not None
            assert one.mean == pytest.approx(expected[place])
            covered[place] += one.low <= truth <= one.high
    assert np.all(np.abs(covered / runs - 0.95) < 0.045), covered / runs


def test_a_factor_that_never_varies_has_no_slope() -> None:
    none, one = slopes([1.0, 2.0, -1.0], [[0, 0, 0], [1, 2, -1]])
    assert none is None
    assert one is not None
    assert one.mean == pytest.approx(1.0)
    assert slopes([1.0, 2.0, -1.0], [[1, 2, -1], [2, 4, -2]]) == [None, None]
