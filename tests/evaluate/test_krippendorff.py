"""Krippendorff's alpha on the matrices that he and others computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from accord.errors import DataError
from accord.evaluate.krippendorff import Scale, krippendorff_alpha


def read(*rows: str) -> list[list[float | None]]:
    """Ratings as they are printed: a digit a unit, a dot where there is none."""
    return [[None if mark == "." else float(mark) for mark in row] for row in rows]


THREE = read(".....34121133.3", "1.213343.......", "..21344.21133.4")
FOUR = read("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.691), ("interval", 0.811)])
def test_the_textbook_matrix_of_three(scale: Scale, alpha: float) -> None:
    found = krippendorff_alpha(THREE, scale=scale)
    assert found is not None
    assert found.mean == pytest.approx(alpha, abs=5e-4)
    assert found.n == 12
    assert found.low < alpha < found.high <= 1


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_matrix_of_krippendorff_2011(scale: Scale, alpha: float) -> None:
    found = krippendorff_alpha(FOUR, scale=scale, resamples=50)
    assert found is not None
    assert found.mean == pytest.approx(alpha, abs=5e-4)


def test_raters_by_chance_agree_by_chance() -> None:
    draw, covered = np.random.default_rng(0), 0
    for seed in range(60):
        ratings = draw.integers(3, size=(3, 80)).astype(float).tolist()
        found = krippendorff_alpha(ratings, resamples=150, seed=seed)
        assert found is not None
        covered += found.low <= 0 <= found.high
    assert covered >= 52, covered


def test_what_cannot_be_rated() -> None:
    assert krippendorff_alpha([[1, 1, 1], [1, 1, 1]]) is None
    with pytest.raises(DataError, match="no unit was rated twice"):
        krippendorff_alpha([[1, None], [None, 2]])
    with pytest.raises(DataError, match="different numbers"):
        krippendorff_alpha([[1, 2], [1]])
