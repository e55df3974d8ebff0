r"""Agreement of two raters, and what a rating depends on.

Cohen's kappa is the agreement beyond what two raters with the same habits would reach by chance,

.. math:: \kappa = \frac{p_o - p_e}{1 - p_e}, \qquad p_e = \sum_c p_1(c)\, p_2(c)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from accord.errors import DataError
from accord.evaluate.statistics import LEVEL, UNBOUNDED, Floats, mean_estimate
from accord.record import Estimate


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], clusters: Sequence[Hashable] | None = None
) -> Estimate | None:
    """Cohen's kappa of two raters of the same items, with its 95% interval; `None` where both say one and the same.

    The interval is that of the observed agreement, carried over with the expected agreement taken as known (Cohen
    1960). Observed agreement takes Wilson's interval, so that full agreement on a few items is no certainty.

    Args:
        first: one category an item.
        second: the other rater's, of the same items.
        clusters: the cluster of each item.

    Raises:
        DataError: the two rated different numbers of items, or none.
    """
    if len(first) != len(second) or not first:
        raise DataError(f"{len(first)} and {len(second)} ratings cannot be compared")
    counts, n = (Counter(first), Counter(second)), len(first)
    expected = sum(counts[0][category] * counts[1][category] for category in counts[0]) / n**2
    if expected >= 1:
        return None
    observed = mean_estimate([float(one == other) for one, other in zip(first, second, strict=True)], clusters)

    def kappa(agreement: float) -> float:
        return (agreement - expected) / (1 - expected)

    return Estimate(kappa(observed.mean), kappa(observed.low), kappa(observed.high), n)


def slopes(
    outcome: Sequence[float] | Floats, factors: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None
) -> list[Estimate | None]:
    r"""How an outcome changes with each of several factors, the others held fixed: a linear model through the origin.

    .. math:: y = X b, \qquad \mathrm{Cov}(b) = \tfrac{C-1}{C} \sum_c (b - b_{-c})(b - b_{-c})^\top

    where :math:`b_{-c}` leaves out one of the C clusters (the jackknife, "CR3"); the interval takes Student's t with
    C - k degrees of freedom. There is no constant: it is meant for pairs, where to swap the two turns the sign of every
    factor and of the outcome.

    Args:
        outcome: `n` numbers.
        factors: `k` rows of `n` numbers.
        clusters: the cluster of each item.

    Returns:
        An estimate for each factor; `None` for one that never varies, or says the same as the others.

    Raises:
        DataError: a factor has another number of items.
    """
    y, x = np.asarray(outcome, dtype=np.float64), np.asarray(factors, dtype=np.float64).reshape(len(factors), -1).T
    if len(x) != len(y) or not len(y):
        raise DataError(f"{len(y)} outcomes and {len(x)} rows of factors cannot be compared")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        alone = [place for place in range(x.shape[1]) if np.any(x[:, place] != 0)]
        if len(alone) == x.shape[1]:
            return [None] * len(factors)
        kept = iter(slopes(y, [x[:, place].tolist() for place in alone], clusters) if alone else [])
        return [next(kept) if place in alone else None for place in range(x.shape[1])]
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ x.T @ y
    names = list(range(len(y))) if clusters is None else list(clusters)
    _, labels = np.unique(np.asarray([str(name) for name in names]), return_inverse=True)
    count = int(labels.max()) + 1
    degrees = count - x.shape[1]
    if degrees < 1:
        return [Estimate(float(b), -UNBOUNDED, UNBOUNDED, len(y)) for b in coefficients]
    # What each coefficient changes by when a cluster is left out: residuals alone understate what a cluster pulled.
    residuals, changes = y - x @ coefficients, np.empty((count, x.shape[1]))
    for place in range(count):
        here = x[labels == place]
        leverage = here @ inverse @ here.T
        left_out = np.linalg.pinv(np.eye(len(here)) - leverage) @ residuals[labels == place]
        changes[place] = inverse @ here.T @ left_out
    covariance = (count - 1) / count * changes.T @ changes
    half = float(stats.t.ppf(0.5 + LEVEL / 2, degrees)) * np.sqrt(np.diag(covariance))
    return [Estimate(float(b), float(b - h), float(b + h), len(y)) for b, h in zip(coefficients, half, strict=True)]
