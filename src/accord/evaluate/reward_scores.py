"""The scores of RewardBench, as functions of the items' weights; see `accord.evaluate.weighted`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from accord.evaluate.statistics import Floats

BEST_OF, OF_REFERENCE, OF_TIED, OF_PAIRED = 0.0, 1.0, 2.0, 3.0
"""Kinds of items of RewardBench 2: best of four, a reference prompt of Ties, a tied one, one with its reference."""

_TERMS = (0.3, 0.3, 0.2, 0.2, 0.01)


def stratified(weights: Floats, values: Floats, strata: Floats, importance: Floats) -> Floats:
    r"""Mean over strata of the weighted mean in each,

    .. math:: \frac1S \sum_s \frac{\sum_{i \in s} w_i m_i v_i}{\sum_{i \in s} w_i m_i}

    Args:
        weights: `[R,n]`.
        values: `[n]`.
        strata: the stratum of each item, as a number, `[n]`.
        importance: what it counts for in its stratum, `[n]`.
    """
    means = [_mean(weights * importance, values, strata == stratum) for stratum in np.unique(strata)]
    result: Floats = np.mean(means, axis=0)
    return result


def rewardbench2(
    weights: Floats, right: Floats, strata: Floats, kinds: Floats, preferred: Floats, hard: Floats, margin: Floats
) -> Floats:
    """Mean over subsets of the accuracy of each; of the subset of ties, its own weighted sum of five means.

    Args:
        weights: `[R,n]`.
        right: the accuracy of each item, `[n]`.
        strata: its subset, as a number, `[n]`.
        kinds: which term of the sum it belongs to, `[n]`.
        preferred: of a tied prompt with its reference: its gap exceeds its spread, `[n]`.
        hard: so does its reference's gap, `[n]`.
        margin: by how much, between -1 and 1, `[n]`.

    Source: Malik et al. 2025 (arXiv:2506.01937), appendix on the scoring of Ties; the published script.
    """
    means = []
    for stratum in np.unique(strata):
        here = strata == stratum
        if np.all(kinds[here] == BEST_OF):
            means.append(_mean(weights, right, here))
            continue
        tied, reference, paired = (here & (kinds >= OF_TIED), here & (kinds == OF_REFERENCE), kinds == OF_PAIRED)
        parts = (
            _mean(weights, right, tied),
            _mean(weights, right, reference),
            _mean(weights, preferred, here & paired),
            _mean(weights, hard, here & paired),
            _mean(weights, margin, here & paired),
        )
        means.append(np.tensordot(_TERMS, np.stack(parts), 1))
    result: Floats = np.mean(means, axis=0)
    return result


def _mean(weights: Floats, values: Floats, here: NDArray[np.bool_]) -> Floats:
    """The weighted mean of some items; 0 where there are none, as published, and NaN where none was drawn."""
    if not here.any():
        return np.zeros(len(weights))
    with np.errstate(invalid="ignore"):
        result: Floats = (weights[:, here] @ values[here]) / weights[:, here].sum(1)
    return result
