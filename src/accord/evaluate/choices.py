r"""What several values weigh in the choices that people made: Bradley-Terry on differences of values.

.. math:: P(y \succ y') = \sigma\Big(\sum_k w_k\,\big(\phi_k(x, y) - \phi_k(x, y')\big)\Big)

A weight is in log-odds a unit of its value. It holds how steadily people choose as well as what they choose by: twice
the noise halves all weights, and leaves their ratios.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from accord.errors import DataError, NumericsError
from accord.evaluate.statistics import LEVEL, UNBOUNDED, Floats
from accord.record import Estimate

Sign = Literal["free", "positive"]
"""Whether a weight may be negative."""

RIDGE = 0.1
"""Default price of a squared weight: what keeps weights finite where the choices would not."""


@dataclass(frozen=True)
class Choices:
    """Choices between two responses each.

    Attributes:
        differences: `[m,K]` each value of the response that was preferred, less that of the other.
        counts: `[m]` weight of each choice, above 0; a doubtful choice is two that are opposed, and sum to 1.
        clusters: `[m]` what choices have in common, such as the prompt, as numbers from 0; without it each stands for
            itself.

    Raises:
        DataError: there is no choice, or another number of counts or clusters.
        NumericsError: a difference is not finite.
    """

    differences: Floats
    counts: Floats = field(default_factory=lambda: np.empty(0))
    clusters: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    def __post_init__(self) -> None:
        rows = np.asarray(self.differences, dtype=np.float64)
        if rows.ndim != 2 or not rows.size:
            raise DataError("there is no choice to learn from", mend="Give pairs of responses of which one is better.")
        if not np.isfinite(rows).all():
            raise NumericsError(f"the values of choice {int(np.argmin(np.isfinite(rows).all(1)))} are not finite")
        object.__setattr__(self, "differences", rows)
        if not len(self.counts):
            object.__setattr__(self, "counts", np.ones(len(rows)))
        if not len(self.clusters):
            object.__setattr__(self, "clusters", np.arange(len(rows)))
        if len(self.counts) != len(rows) or len(self.clusters) != len(rows):
            sizes = f"{len(rows)} choices with {len(self.counts)} counts and {len(self.clusters)} clusters"
            raise DataError(f"{sizes} do not belong together")

    def __len__(self) -> int:
        """How many there are."""
        return len(self.differences)

    @property
    def scales(self) -> Floats:
        """`[K]` root of each value's mean squared difference; 0 for a value that never differs."""
        squares: Floats = self.counts @ self.differences**2 / self.counts.sum()
        roots: Floats = np.sqrt(squares)
        return roots

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Choices:
        """Some of them."""
        return Choices(self.differences[rows], self.counts[rows], self.clusters[rows])

    def columns(self, places: Sequence[int]) -> Choices:
        """The same choices with some of the values."""
        return Choices(self.differences[:, list(places)], self.counts, self.clusters)


def numbered(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """Clusters as consecutive numbers from 0."""
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp)


def choice_losses(differences: Floats, weights: Floats) -> Floats:
    r"""Negative log-likelihood of each choice, :math:`-\log\sigma(w\cdot\Delta\phi)`, `[m]` nats.

    >>> float(choice_losses(np.array([[0.5, -0.2]]), np.array([0.6, 0.4]))[0].round(6))
    0.589185
    """
    losses: Floats = np.logaddexp(0.0, -(differences @ weights))
    return losses


def fit_weights(choices: Choices, *, sign: Sign = "free", ridge: float = RIDGE) -> Floats:
    r"""The most likely weights, `[K]`, in log-odds a unit of each value.

    .. math:: \min_w \sum_i c_i\,\big(-\log\sigma(w\cdot\Delta\phi_i)\big) + \tfrac{\lambda}{2}\sum_k (s_k w_k)^2

    where :math:`s_k` is the root of the value's mean squared difference, so that the price does not depend on units. A
    value that never differs has the weight 0.

    Args:
        choices: what was chosen.
        sign: `positive` keeps every weight at least 0.
        ridge: the price, at least 0; without one, choices that some weights explain entirely have no finite answer.

    Source: Bradley and Terry 1952; in alignment: Wang et al. 2024 (arXiv:2406.12845), Go et al. 2023, "Compositional
    preference models" (arXiv:2310.13011), eq. 2.
    """
    scales = choices.scales
    rows = choices.differences / np.where(scales > 0, scales, 1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = rows @ weights
        value = choices.counts @ np.logaddexp(0.0, -margin) + 0.5 * ridge * weights @ weights
        slope = -(choices.counts * special.expit(-margin)) @ rows + ridge * weights
        # A mean over choices, so that the stopping rule does not depend on how many there are.
        return float(value) / total, slope / total

    total = float(choices.counts.sum())
    found = optimize.minimize(
        loss,
        np.zeros(rows.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0 if sign == "positive" else -np.inf, np.inf)] * rows.shape[1],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    )
    weights: Floats = found.x / np.where(scales > 0, scales, 1.0)
    return weights


def influences(choices: Choices, weights: Floats, *, ridge: float = RIDGE) -> Floats:
    r"""How far each cluster pulls the weights, `[C,K]`: :math:`H^{-1} \sum_{i\in c} c_i\,\sigma(-m_i)\,\Delta\phi_i`.

    Their outer products sum to the sandwich covariance of the weights. Values that never differ are pulled nowhere.
    """
    rows, scales = choices.differences, choices.scales
    against = special.expit(-(rows @ weights))
    known = scales > 0
    curvature = (rows * (choices.counts * against * (1 - against))[:, None]).T @ rows + ridge * np.diag(scales**2)
    inverse = np.zeros_like(curvature)
    inverse[np.ix_(known, known)] = np.linalg.pinv(curvature[np.ix_(known, known)], hermitian=True)
    pulls = np.zeros((int(choices.clusters.max()) + 1, rows.shape[1]))
    np.add.at(pulls, choices.clusters, rows * (choices.counts * against)[:, None])
    present = np.unique(choices.clusters)
    pulls[present] -= ridge * scales**2 * weights / len(present)
    spread: Floats = pulls @ inverse
    return spread


def weight_covariance(choices: Choices, weights: Floats, *, ridge: float = RIDGE) -> Floats:
    r"""Sandwich covariance of free weights, `[K,K]`, over clusters: :math:`\tfrac{C}{C-1}\sum_c u_c u_c^\top`.

    Source: Huber 1967; Liang and Zeger 1986 for clusters.
    """
    pulls = influences(choices, weights, ridge=ridge)
    pulls = pulls[np.unique(choices.clusters)]
    covariance: Floats = len(pulls) / max(1, len(pulls) - 1) * pulls.T @ pulls
    return covariance


def weight_estimates(choices: Choices, weights: Floats, *, ridge: float = RIDGE) -> list[Estimate]:
    """Free weights with 95% intervals: Student's t on the sandwich error, with clusters less values as its degrees.

    A value that never differs, and every value of fewer clusters than values, has the interval
    -UNBOUNDED..UNBOUNDED.
    """
    degrees = len(np.unique(choices.clusters)) - len(weights)
    errors = np.sqrt(np.diag(weight_covariance(choices, weights, ridge=ridge)))
    known = (choices.scales > 0) & (degrees > 0)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, max(1, degrees))) * errors
    return [
        Estimate(float(w), float(w - h), float(w + h), len(choices)) if sure else unknown(float(w), len(choices))
        for w, h, sure in zip(weights, half, known, strict=True)
    ]


def unknown(mean: float, n: int) -> Estimate:
    """A number about which the data say nothing."""
    return Estimate(mean, -UNBOUNDED, UNBOUNDED, n)


def resampled(choices: Choices, generator: np.random.Generator) -> Choices:
    """As many clusters drawn with replacement, with all of their choices."""
    present, places = np.unique(choices.clusters, return_inverse=True)
    order = np.argsort(places, kind="stable")
    ends = np.searchsorted(places[order], np.arange(len(present) + 1))
    drawn = generator.integers(len(present), size=len(present))
    parts = [order[ends[one] : ends[one + 1]] for one in drawn]
    labels = np.repeat(np.arange(len(drawn)), [len(part) for part in parts])
    rows = np.concatenate(parts)
    return Choices(choices.differences[rows], choices.counts[rows], labels)


def bootstrap_weights(
    choices: Choices, *, resamples: int, seed: int = 0, sign: Sign = "free", ridge: float = RIDGE
) -> Floats:
    """Weights fitted to resampled clusters, `[resamples,K]`."""
    generator = np.random.default_rng([seed, 29])
    return np.stack([fit_weights(resampled(choices, generator), sign=sign, ridge=ridge) for _ in range(resamples)])


def percentile_estimates(means: Floats, draws: Floats, n: int) -> list[Estimate]:
    """Numbers with the middle 95% of their resampled values as interval."""
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    rows = zip(means.tolist(), np.minimum(low, means).tolist(), np.maximum(high, means).tolist(), strict=True)
    return [Estimate(mean, one, other, n) for mean, one, other in rows]


def shares_of(weights: Floats) -> Floats:
    """Weights of at least 0 as parts of 1, `[...,K]`; equal parts where all are 0."""
    total = weights.sum(-1, keepdims=True)
    shares: Floats = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / weights.shape[-1])
    return shares
