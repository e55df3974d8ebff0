"""Whether groups of people weigh several values alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accord.errors import DataError
from accord.evaluate.choices import RIDGE, Choices, fit_weights, influences, unknown
from accord.evaluate.statistics import LEVEL, Floats, holm
from accord.record import Estimate


@dataclass(frozen=True)
class GroupTest:
    """How the weights of groups differ.

    Attributes:
        p_value: of all groups weighing all values alike.
        by_value: the same for each value, Holm-adjusted over the values.
        differences: for each pair of groups and each value, the second's weight less the first's.
    """

    p_value: float
    by_value: dict[str, float]
    differences: dict[tuple[str, str], dict[str, Estimate]]


def compare_groups(by_group: Mapping[str, Choices], names: tuple[str, ...], *, ridge: float = RIDGE) -> GroupTest:
    r"""Test whether groups have the same weights, by Wald's statistic on their clustered covariance.

    .. math:: F = \tfrac1q\,(R\hat\theta)^\top (R\hat V R^\top)^{-1} R\hat\theta, \qquad F \sim F(q,\ C - K)

    where :math:`\theta` are the free weights of all groups, R takes each group's from the next, and C is the smallest
    number of clusters of a group. Clusters are shared between groups: where two judge the same prompts, what the prompt
    does to both is in the covariance, which a likelihood ratio would take for agreement or difference. Groups that
    choose by the same values with more or less noise differ in all weights by one factor, and are told apart as well.

    Args:
        by_group: choices of each group, with clusters numbered over all of them.
        names: of the values.
        ridge: as for `fit_weights`.

    Raises:
        DataError: fewer than two groups, or one with no more clusters than values.
    """
    groups, count = list(by_group), len(names)
    degrees = min((len(np.unique(own.clusters)) for own in by_group.values()), default=0) - count
    if len(groups) < 2 or degrees < 1:
        what = f"{len(groups)} groups" if len(groups) < 2 else f"a group of {degrees + count} prompts"
        raise DataError(f"{what} cannot be compared on {count} values")
    weights = {name: fit_weights(own, ridge=ridge) for name, own in by_group.items()}
    theta = np.concatenate([weights[name] for name in groups])
    covariance = _joint_covariance([by_group[name] for name in groups], theta.reshape(len(groups), count), ridge)
    steps = np.kron(np.diff(np.eye(len(groups)), axis=0), np.eye(count)).astype(np.float64)
    alone = {name: _wald(steps[place::count], theta, covariance, degrees) for place, name in enumerate(names)}
    half = float(stats.t.ppf(0.5 + LEVEL / 2, degrees))
    differences: dict[tuple[str, str], dict[str, Estimate]] = {}
    for (i, first), (j, second) in combinations(enumerate(groups), 2):
        n = len(by_group[first]) + len(by_group[second])
        differences[first, second] = {
            name: _difference(theta, covariance, i * count + k, j * count + k, half, n) for k, name in enumerate(names)
        }
    return GroupTest(_wald(steps, theta, covariance, degrees), holm(alone), differences)


def _joint_covariance(each: list[Choices], weights: Floats, ridge: float) -> Floats:
    """Covariance of all groups' weights together, `[GK,GK]`: a cluster pulls every group that has it."""
    last = max(int(own.clusters.max()) for own in each) + 1
    pulls = np.zeros((last, weights.size))
    count = weights.shape[1]
    for place, (own, fitted) in enumerate(zip(each, weights, strict=True)):
        present = np.unique(own.clusters)
        factor = np.sqrt(len(present) / max(1, len(present) - 1))
        own_pulls = influences(own, fitted, ridge=ridge)
        pulls[present, place * count : (place + 1) * count] = factor * own_pulls[present]
    covariance: Floats = pulls.T @ pulls
    return covariance


def _wald(contrasts: Floats, theta: Floats, covariance: Floats, degrees: int) -> float:
    """The p-value of all contrasts being 0; a contrast without any variance says nothing."""
    middle = contrasts @ covariance @ contrasts.T
    told: NDArray[np.bool_] = np.diag(middle) > 0
    if not told.any():
        return 1.0
    values = (contrasts @ theta)[told]
    statistic = values @ np.linalg.pinv(middle[np.ix_(told, told)], hermitian=True) @ values
    rank = int(told.sum())
    return float(stats.f.sf(statistic / rank, rank, degrees))


def _difference(theta: Floats, covariance: Floats, first: int, second: int, half: float, n: int) -> Estimate:
    mean = float(theta[second] - theta[first])
    variance = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    if variance <= 0:
        return unknown(mean, n)
    width = half * float(np.sqrt(variance))
    return Estimate(mean, mean - width, mean + width, n)
