r"""The bootstrap over clusters, for statistics that are no mean.

The interval is BCa (Efron 1987): quantiles of the statistic under resampled clusters, corrected for its bias and for a
spread that depends on its value,

.. math:: \Phi\!\left(z_0 + \frac{z_0 \pm z}{1 - a (z_0 \pm z)}\right), \qquad z = \sqrt{C/(C-1)}\; t_{C-1}

with Student's t of the C clusters in place of the normal quantile (Hesterberg 2015, "expanded"), because plain
quantiles are too narrow below some fifty clusters. It is seeded: the same numbers give the same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accord.evaluate.statistics import LEVEL, UNBOUNDED, Floats

Weighted = Callable[[Floats], Floats]
"""A statistic as a function of the items' weights: `[R,n]` to `[R]`, NaN where a weighting leaves it undefined."""

RESAMPLES = 2000

_SEED = 20_261
_ROUNDING = 1e-12
_LEFT_OUT = 1000
_COUNTED = 10
"""Resamplings beyond a limit, from which on their share is known; fewer say that it is small."""
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Bootstrap:
    """A statistic under resampled clusters.

    Attributes:
        drawn: its values under resamplings that define it.
        bias: :math:`z_0`, the normal quantile of the share of them below the statistic itself.
        acceleration: :math:`a`, from leaving out one cluster at a time.
        clusters: how many there are.
    """

    drawn: Floats
    bias: float
    acceleration: float
    clusters: int

    @classmethod
    def of(cls, statistic: Weighted, value: float, clusters: Sequence[Hashable]) -> Bootstrap:
        """Resample the clusters of items.

        Args:
            statistic: of the items' weights.
            value: with all weights 1.
            clusters: the cluster of each item.
        """
        labels, count = _labels(clusters)
        if count < 2:
            return cls(np.asarray([value]), 0.0, 0.0, count)
        drawn = _finite(statistic, _resampled(labels, count))
        left_out = _finite(statistic, _left_out(labels, count))
        if not len(drawn) or not len(left_out):
            return cls(np.asarray([value]), 0.0, 0.0, 1)
        below = float(np.mean(drawn < value) + np.mean(drawn == value) / 2)
        away = left_out.mean() - left_out
        spread = float(np.sum(away**2)) ** 1.5
        acceleration = float(np.sum(away**3)) / (6 * spread) if spread > 0 else 0.0
        return cls(drawn, _quantile_of(below, len(drawn)), acceleration, count)

    def plain(self) -> Bootstrap:
        """The same without corrections: where noise itself makes the bias, to correct it says too much."""
        return replace(self, bias=0.0, acceleration=0.0)

    def interval(self) -> tuple[float, float]:
        """The 95% interval; unbounded for one cluster, about whose spread nothing is known."""
        if self.clusters < 2:
            return -UNBOUNDED, UNBOUNDED
        z = self._widening * float(stats.t.ppf(0.5 + LEVEL / 2, self.clusters - 1))
        low, high = (self._level(side) for side in (-z, z))
        return float(np.quantile(self.drawn, low)), float(np.quantile(self.drawn, high))

    def p_value(self) -> float:
        """Two-sided, of a statistic that is truly 0: the level at which the interval begins to exclude 0.

        Where hardly a resampling reaches 0, it stands as many of their standard deviations away as it does.
        """
        if self.clusters < 2:
            return 1.0
        if self.still:
            return float(self.drawn[0] == 0)
        below = float(np.mean(self.drawn < 0) + np.mean(self.drawn == 0) / 2)
        reached = _quantile_of(below, len(self.drawn))
        if min(below, 1 - below) < _COUNTED / len(self.drawn):
            away = -float(self.drawn.mean() / self.drawn.std())
            reached = min(reached, away) if reached < 0 else max(reached, away)
        z = (reached - self.bias) / (1 + self.acceleration * (reached - self.bias)) - self.bias
        return float(2 * stats.t.sf(abs(z) / self._widening, self.clusters - 1))

    @property
    def still(self) -> bool:
        """Whether every resampling gives the same: a spread of zero was observed, not proven."""
        return self.clusters > 1 and bool(np.ptp(self.drawn) <= _ROUNDING * np.abs(self.drawn).max())

    @property
    def _widening(self) -> float:
        return float(np.sqrt(self.clusters / (self.clusters - 1)))

    def _level(self, z: float) -> float:
        """The share of the resampled values below the limit that stands at a normal quantile."""
        moved = self.bias + z
        # Beyond the pole of the correction, the limit is the outermost value.
        curve = 1 - self.acceleration * moved
        return float(stats.norm.cdf(self.bias + moved / curve)) if curve > 0 else float(z > 0)


def interval_of_gaps(gaps: Weighted, clusters: Sequence[Hashable]) -> tuple[float, float]:
    r"""The 95% interval of a sum of absolute gaps :math:`\sum_b |g_b|`, which noise can only raise.

    The sum is off by no more than :math:`D = \sum_b |\hat g_b - g_b|`, whose distribution the bootstrap has without
    bias: the lower limit takes the sum less the upper quantile of D, at least 0. The upper limit is the plain upper
    quantile, which is raised by noise itself. The interval reaches 0 where noise alone could have made the gaps.

    Args:
        gaps: of the items' weights `[R,n]`, the gaps `[R,b]`.
        clusters: the cluster of each item.
    """
    labels, count = _labels(clusters)
    if count < 2:
        return -UNBOUNDED, UNBOUNDED
    (own,) = gaps(np.ones((1, len(labels))))
    drawn = np.concatenate([gaps(weights) for weights in _resampled(labels, count)])
    off = np.abs(drawn - own).sum(1)
    value, level = float(np.abs(own).sum()), 0.5 + LEVEL / 2
    upper = float(np.quantile(np.abs(drawn).sum(1), level))
    return max(0.0, value - float(np.quantile(off, level))), max(value, upper)


def _labels(clusters: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The cluster of each item as consecutive numbers, and how many clusters there are."""
    numbers: dict[Hashable, int] = {}
    labels = np.asarray([numbers.setdefault(one, len(numbers)) for one in clusters], dtype=np.intp)
    return labels, len(numbers)


def _quantile_of(share: float, count: int) -> float:
    """The normal quantile of a share of so many, finite at 0 and 1."""
    return float(stats.norm.ppf(np.clip(share, 0.5 / count, 1 - 0.5 / count)))


def _finite(statistic: Weighted, weightings: Iterator[Floats]) -> Floats:
    values = np.concatenate([np.zeros(0), *(statistic(weights) for weights in weightings)])
    finite: Floats = values[np.isfinite(values)]
    return finite


def _resampled(labels: NDArray[np.intp], count: int) -> Iterator[Floats]:
    """Weights of the items under resampled clusters."""
    generator, shares = np.random.default_rng(_SEED), np.full(count, 1 / count)
    for size in _sizes(RESAMPLES, len(labels)):
        yield generator.multinomial(count, shares, size=size)[:, labels].astype(np.float64)


def _left_out(labels: NDArray[np.intp], count: int) -> Iterator[Floats]:
    """Weights of the items without each of the clusters; of very many clusters, without each of a thousand shares."""
    shares, start = min(count, _LEFT_OUT), 0
    for size in _sizes(shares, len(labels)):
        yield (labels[None, :] % shares != np.arange(start, start + size)[:, None]).astype(np.float64)
        start += size


def _sizes(rows: int, items: int) -> Iterator[int]:
    """Rows in parts that fit into memory."""
    most = max(1, _NUMBERS_AT_ONCE // items)
    while rows > 0:
        yield min(most, rows)
        rows -= most
