r"""Krippendorff's alpha: agreement of any number of raters, with gaps, on any scale.

.. math:: \alpha = 1 - \frac{D_o}{D_e}, \qquad
    D_o = \frac1n \sum_u \frac{1}{m_u - 1} \sum_{i \ne j} \delta(v_{ui}, v_{uj}), \qquad
    D_e = \frac{1}{n(n-1)} \sum_{a \ne b} \delta(v_a, v_b)

over units u with :math:`m_u \ge 2` ratings, of which there are n in all. 1 is full agreement, 0 that of chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from accord.errors import DataError
from accord.evaluate.statistics import LEVEL, Floats
from accord.record import Estimate

Scale = Literal["nominal", "ordinal", "interval"]
"""Whether ratings are the same or not, have an order, or have distances."""


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]], *, scale: Scale = "nominal", resamples: int = 1000, seed: int = 0
) -> Estimate | None:
    """Krippendorff's alpha with its 95% interval, by resampling units; `None` where all ratings are one and the same.

    The interval is the middle 95% of alphas of units drawn with replacement. Draws in which every rating is the same
    count as agreement of 1: they say nothing against it.

    Args:
        ratings: for each rater a number (a category, rank or measure) or `None` for each unit.
        scale: what the numbers are.
        resamples: how often units are drawn anew.
        seed: of the draws.

    Returns:
        The estimate; its `n` is the number of units that two or more rated.

    Raises:
        DataError: raters rated different numbers of units, or no unit was rated twice.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; the bootstrap over units: Zapf et al. 2016.

    >>> first, second = [1, 2, 3, None], [1, 2, 2, 4]
    >>> round(krippendorff_alpha([first, second], resamples=10).mean, 3)
    0.545
    """
    if len({len(row) for row in ratings}) != 1:
        raise DataError(f"{len(ratings)} raters of different numbers of units cannot be compared")
    units = [[value for value in unit if value is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        raise DataError("no unit was rated twice", mend="Agreement needs units that several raters rated.")
    levels = np.asarray(sorted({value for unit in units for value in unit}), dtype=np.float64)
    if len(levels) < 2:
        return None
    each = np.stack([_coincidences(unit, levels) for unit in units])
    alpha = _alpha(each.sum(0), levels, scale)
    generator = np.random.default_rng([seed, 31])
    draws = [
        _alpha(
            np.tensordot(generator.multinomial(len(each), np.full(len(each), 1 / len(each))), each, 1), levels, scale
        )
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(alpha, min(float(low), alpha), max(float(high), alpha), len(units))


def _coincidences(unit: Sequence[float], levels: Floats) -> Floats:
    """Ordered pairs of ratings of one unit, `[L,L]`, weighted to sum to its ratings."""
    counts = Counter(unit)
    column = np.asarray([counts[level] for level in levels.tolist()], dtype=np.float64)
    pairs: Floats = (np.outer(column, column) - np.diag(column)) / (len(unit) - 1)
    return pairs


def _alpha(coincidences: Floats, levels: Floats, scale: Scale) -> float:
    totals = coincidences.sum(0)
    n = float(totals.sum())
    distance = _distances(levels, totals, scale)
    expected = float(totals @ distance @ totals) / (n - 1)
    return 1.0 if expected == 0 else 1 - float((coincidences * distance).sum()) / expected


def _distances(levels: Floats, totals: Floats, scale: Scale) -> Floats:
    r"""Squared distances of ratings, `[L,L]`.

    Ordinal: the ratings between two levels, their own counted half, :math:`(\sum_{g=c}^{k} n_g - (n_c + n_k)/2)^2`.
    """
    if scale == "nominal":
        return 1.0 - np.eye(len(levels))
    places = levels if scale == "interval" else np.cumsum(totals) - totals / 2
    distances: Floats = (places[:, None] - places[None, :]) ** 2
    return distances
