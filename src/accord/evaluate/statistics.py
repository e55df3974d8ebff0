r"""Means and paired differences with 95% intervals that stay honest when items are few, constant or clustered.

Every measured number of Accord goes through here. Three situations decide the interval:

- **Coarse shares**: every value is 0, 1/2 or 1 (right or wrong, win, tie or loss). The central limit theorem is a poor
  guide below a few hundred items: 26 successes in 26 trials give a normal interval of [1, 1]. Means take Wilson's score
  interval, paired differences the Laplace-adjusted interval of Bonett and Price. Both approach the normal interval as
  items grow, so that they serve at every size.
- **No spread**: all values are equal. A spread of zero was observed, not proven; shares are treated as coarse.
- **Everything else**: Student's t on the items, or on the clusters.

Clusters are items that share a cause (several samples of one prompt, several questions on one text). They widen the
interval by the sandwich estimate of the squared error, :math:`C/(C-1) \cdot n^{-2} \sum_c (\sum_{i \in c} r_i)^2`,
where r are the residuals and C is the number of clusters; with clusters of one item this is :math:`s^2/n`.
`docs/statistics.md` has how often each interval holds the truth, by simulation.

Sources: Wilson 1927; Bonett and Price 2012 (recommended by Fagerland, Lydersen and Laake 2014); Miller 2024, "Adding
error bars to evals"; Bowyer, Aitchison and Ivanova 2025 on small evaluations.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accord.errors import DataError, NumericsError
from accord.record import Comparison, Estimate

Floats = NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)

LEVEL = 0.95
"""Confidence level of every interval."""

UNBOUNDED = sys.float_info.max
"""The limit of an interval about which the data say nothing (one item on an open scale). Finite, for JSON's sake."""

_Z = float(stats.norm.ppf(0.5 + LEVEL / 2))


def wilson(successes: float, n: float) -> Estimate:
    r"""Share of successes with Wilson's score interval.

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        successes: how many of `n`; a tie may count as half, which makes the interval an approximation on the wide side.
        n: number of trials; an effective number (fewer than the items, when they are clustered) may be fractional.

    Raises:
        DataError: no trials, or a number of successes outside 0..n.
    """
    if not n > 0 or not 0 <= successes <= n:
        raise DataError(f"{successes:g} successes in {n:g} trials is not a share")
    return _score_interval(successes / n, n, _Z)


def _score_interval(share: float, n: float, z: float) -> Estimate:
    """Wilson's interval for a quantile z."""
    centre = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # At 0 and 1 the limit is the share itself; rounding must not push it past.
    low, high = min((centre - spread) / scale, share), max((centre + spread) / scale, share)
    return Estimate(share, max(low, 0.0), min(high, 1.0), round(n))


def mean_estimate(values: Sequence[float] | Floats, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of the items with its 95% interval.

    Wilson's interval for coarse shares, with the effective number of items and Student's t when they are clustered;
    else Student's t.
    One item on an open scale has the interval -UNBOUNDED..UNBOUNDED.

    Args:
        values: one number an item.
        clusters: the cluster of each item, such as its prompt; without it, items are independent.

    Raises:
        NumericsError: a value is not finite; names the item.
        DataError: no values, or another number of clusters than of values.
    """
    items = _finite(values, "value")
    labels = _cluster_indices(clusters, len(items))
    if _is_coarse(items):
        mean = float(items.mean())
        interval = _score_interval(mean, *_effective_size(items, labels))
        return Estimate(mean, interval.low, interval.high, len(items))
    return _t_interval(_Spread.of(items, labels), mean=float(items.mean()), n=len(items))


def paired_difference(
    before: Sequence[float] | Floats, after: Sequence[float] | Floats, clusters: Sequence[Hashable] | None = None
) -> Estimate:
    r"""Mean of `after - before` over the same items, with its 95% interval.

    Student's t on the differences. For coarse shares the differences are joined by two imagined items, one that got
    better by 1 and one that got worse by 1 (Bonett and Price 2012: :math:`\tilde p_{12} = (b+1)/(n+2)`), so that no
    interval collapses when few or no items changed; among clusters, by two imagined clusters of half their mean size,
    which is enough for correlated clusters and less of a waste where items change alone. Newcombe's
    square-and-add interval was not taken: it calls two wins in two items a difference, because it estimates no
    correlation there; this one needs five in five.
    Deviation from the paper: Student's t with the augmented items less one in place of the normal quantile, which
    matters below some thirty items; the mean that is shown is the plain one.

    Args:
        before: one number an item under the first model.
        after: the same items, in the same order, under the second.
        clusters: the cluster of each item.

    Raises:
        NumericsError: a value is not finite; names the item.
        DataError: the two have different lengths, or none.
    """
    spread, coarse, mean, n = _paired_spread(before, after, clusters)
    estimate = _t_interval(spread, mean=mean, n=n)
    if not coarse:
        return estimate
    return Estimate(mean, max(estimate.low, -1.0), min(estimate.high, 1.0), n)


def paired_p_value(
    before: Sequence[float] | Floats, after: Sequence[float] | Floats, clusters: Sequence[Hashable] | None = None
) -> float:
    """Two-sided p-value of no difference; below 0.05 exactly when the interval of `paired_difference` excludes zero."""
    spread, _, _, _ = _paired_spread(before, after, clusters)
    if spread.degrees < 1:
        return 1.0
    if spread.error == 0:
        return 1.0 if spread.centre == 0 else 0.0
    return float(2 * stats.t.sf(abs(spread.centre) / spread.error, spread.degrees))


def compare(
    axis: str,
    before: Sequence[float] | Floats,
    after: Sequence[float] | Floats,
    *,
    clusters: Sequence[Hashable] | None = None,
    higher_is_better: bool | None = True,
    unit: str = "share",
    stages: Mapping[str, Sequence[float] | Floats] | None = None,
    description: str = "",
) -> Comparison:
    """One axis of two models (and of stages in between) on the same items.

    Args:
        axis: name of the axis.
        before: the starting model's number for each item.
        after: the trained model's, in the same order.
        clusters: the cluster of each item.
        higher_is_better: the direction; `None` for a neutral axis.
        unit: what the numbers are; intervals of a `"share"` are cut at 0 and 1.
        stages: models in between by name, on the same items.
        description: one sentence for the reader of the report.

    Raises:
        NumericsError, DataError: as `mean_estimate` and `paired_difference`; the message names the axis.
    """

    def estimate(values: Sequence[float] | Floats) -> Estimate:
        result = mean_estimate(values, clusters)
        return within_share(result) if unit == "share" else result

    try:
        return Comparison(
            axis=axis,
            before=estimate(before),
            after=estimate(after),
            difference=paired_difference(before, after, clusters),
            higher_is_better=higher_is_better,
            unit=unit,
            stages={name: estimate(values) for name, values in (stages or {}).items()},
            description=description,
        )
    except NumericsError as error:
        raise NumericsError(error.what, where=f"axis {axis!r}", mend=error.mend) from error
    except DataError as error:
        raise DataError(error.what, path=f"axis {axis!r}", mend=error.mend) from error


def within_share(estimate: Estimate) -> Estimate:
    """The interval of a share cut at 0 and 1; a mean outside of them is no share, and stays as it is."""
    if not 0 <= estimate.mean <= 1:
        return estimate
    return Estimate(estimate.mean, max(estimate.low, 0.0), min(estimate.high, 1.0), estimate.n)


def minimum_detectable_effect(standard_deviation: float, n: int, *, power: float = 0.8) -> float:
    r"""Smallest true paired difference that `n` items show as a difference with probability `power`.

    .. math:: \delta = (z_{\alpha/2} + z_\beta)\, \omega / \sqrt{n}   \qquad \text{(Miller 2024, eq. 9, solved for δ)}

    Args:
        standard_deviation: of the per-item differences, :math:`\omega`.
        n: number of items.
        power: probability of finding it.

    Raises:
        DataError: `n` is not positive, or `power` is not between 0 and 1.
    """
    if n < 1 or not 0 < power < 1:
        raise DataError(f"no effect can be stated for {n} items at power {power:g}")
    return (_Z + float(stats.norm.ppf(power))) * standard_deviation / math.sqrt(n)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's adjusted p-values: with several primary axes, those below 0.05 hold together at 95%.

    The k-th smallest of m is multiplied by m - k + 1, made monotone and cut at 1 (Holm 1979).
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    for rank, (axis, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[axis] = largest
    return {axis: adjusted[axis] for axis in p_values}


@dataclass(frozen=True)
class _Spread:
    """A mean, its standard error and the degrees of freedom behind it (0: unknown)."""

    centre: float
    error: float
    degrees: int

    @classmethod
    def of(cls, items: Floats, labels: NDArray[np.intp]) -> _Spread:
        count = int(labels.max()) + 1
        mean = float(items.mean())
        if count < 2:
            return cls(mean, 0.0, 0)
        totals = np.bincount(labels, weights=items - mean, minlength=count)
        variance = count / (count - 1) * float(totals @ totals) / len(items) ** 2
        constant = bool(np.all(items == items[0]))  # the residuals of equal numbers are rounding
        return cls(mean, 0.0 if constant else math.sqrt(variance), count - 1)


def _t_interval(spread: _Spread, *, mean: float, n: int) -> Estimate:
    if spread.degrees < 1:
        return Estimate(mean, -UNBOUNDED, UNBOUNDED, n)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, spread.degrees)) * spread.error
    return Estimate(mean, spread.centre - half, spread.centre + half, n)


def _paired_spread(
    before: Sequence[float] | Floats, after: Sequence[float] | Floats, clusters: Sequence[Hashable] | None
) -> tuple[_Spread, bool, float, int]:
    """Spread of the differences (augmented when coarse), whether they are coarse, their plain mean, their number."""
    first, second = _finite(before, "value before"), _finite(after, "value after")
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} items before and {len(second)} after cannot be paired",
            mend="Measure both models on the same items, in the same order.",
        )
    differences = second - first
    labels = _cluster_indices(clusters, len(differences))
    shares = bool(np.all((first >= 0) & (first <= 1) & (second >= 0) & (second <= 1)))
    coarse = (_is_coarse(first) and _is_coarse(second)) or (shares and bool(np.all(differences == differences[0])))
    mean, n = float(differences.mean()), len(differences)
    if coarse:
        count = int(labels.max()) + 1
        size = max(1, round(n / count / 2))
        differences = np.concatenate([differences, np.repeat([1.0, -1.0], size)])
        labels = np.concatenate([labels, np.repeat([count, count + 1], size)])
    return _Spread.of(differences, labels), coarse, mean, n


def _effective_size(items: Floats, labels: NDArray[np.intp]) -> tuple[float, float]:
    """How many independent items the clustered ones are worth, at most n, and the quantile to go with it.

    n over the design effect, with Student's t of the clusters because that effect is itself estimated. One more
    cluster is imagined in the estimate, half right and half wrong: few clusters that happen to be alike would
    otherwise look like independent items. Without spread each cluster counts as one item.
    """
    count, n = int(labels.max()) + 1, len(items)
    if count == n:
        return float(n), _Z
    if count < 2 or bool(np.all(items == items[0])):
        return float(count), _Z
    size = n / count / 2
    total = n + 2 * size
    centre = (float(items.sum()) + size) / total
    imagined = (1 - centre) ** 2 + centre**2
    residuals = np.bincount(labels, weights=items - centre, minlength=count)
    clustered = count / (count - 1) * (float(residuals @ residuals) + size**2 * imagined) / total**2
    independent = (float(np.sum((items - centre) ** 2)) + size * imagined) / total / (total - 1)
    return n * min(1.0, independent / clustered), float(stats.t.ppf(0.5 + LEVEL / 2, count - 1))


def _is_coarse(items: Floats) -> bool:
    halves = bool(np.all((items == 0) | (items == 0.5) | (items == 1)))
    constant_share = 0 <= items[0] <= 1 and bool(np.all(items == items[0]))
    return halves or constant_share


def _finite(values: Sequence[float] | Floats, what: str) -> Floats:
    items = np.asarray(values, dtype=np.float64)
    if items.ndim != 1 or not len(items):
        raise DataError(f"no {what} to measure", mend="Give one number for each item, and at least one item.")
    broken = np.flatnonzero(~np.isfinite(items))
    if len(broken):
        raise NumericsError(
            f"{what} of item {broken[0]} is {items[broken[0]]:g} ({len(broken)} of {len(items)} are not finite)",
            mend="Leave the item out of both models' numbers, and say so, or mend its scorer.",
        )
    return items


def _cluster_indices(clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.intp]:
    """Clusters as consecutive numbers from 0; without clusters, each item is its own."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise DataError(f"{len(clusters)} clusters for {n} items", mend="Name the cluster of every item.")
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp)
