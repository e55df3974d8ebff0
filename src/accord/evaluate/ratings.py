r"""Bradley-Terry ratings of several models from contests between their answers, with intervals.

The first of a contest wins with probability :math:`p = \sigma(\theta_a - \theta_b + z \cdot \beta)`; z is how far its
answer has more of each feature of style (:math:`\beta` is absent without style control). The ratings maximise

.. math:: \sum_i w_i\,[o_i \log p_i + (1 - o_i)\log(1 - p_i)] - \tfrac{\lambda}{2}|\beta|^2

with :math:`\lambda = 0.5`, where each pair of models that met has `prior` more contests, half of them won by each. One
imagined contest is Jeffreys' prior for two models: it keeps an undefeated model's rating finite, and takes away most of
the bias that the maximum of the likelihood has when contests are few. `prior=0` gives that maximum itself.

Intervals are clustered by prompt. The bootstrap is Rubin's (1981): every prompt gets a weight from an exponential
distribution instead of being drawn some times or not at all, and what is imagined gets one from a Gamma distribution of
its own size. For two models that is Jeffreys' interval of a share, so that the interval stays open where a model never
lost; drawing prompts would leave it undefeated in every round.

Sources: Bradley and Terry 1952; Chiang et al. 2024, "Chatbot Arena" (sandwich intervals, ranks by intervals, style
control, Elo with K = 4). Deviations: the imagined contests, which count in the sandwich as prompts of their own; style
is divided by its root mean square and not centred, so that to swap the two models of a contest changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import expit

from accord.errors import ConfigError, NumericsError
from accord.evaluate.contests import Contest, Floats, Places, Table, require_beatable, tabulate
from accord.evaluate.statistics import LEVEL, UNBOUNDED
from accord.record import Estimate
from accord.record.ratings import Rating, Ratings

SCALE = 400 / math.log(10)
"""Points of Elo's scale for one unit of log-odds."""

CENTRE = 1000.0
"""The mean of all ratings."""

ROUNDS = 1000
"""Bootstrap rounds: the 2.5% quantile rests on 25 of them."""

STYLE_RIDGE = 0.5
_STEPS, _TOLERANCE = 200, 1e-16


@dataclass(frozen=True)
class Strengths:
    """A fitted Bradley-Terry model.

    Attributes:
        models: each model's log-odds against an average one; they sum to 0.
        style: change in log-odds for one root mean square of each feature.
    """

    models: Mapping[str, float]
    style: tuple[float, ...] = ()

    def beats(self, first: str, second: str) -> float:
        """Probability that the first wins, style being equal."""
        return float(expit(self.models[first] - self.models[second]))


def bradley_terry(contests: Sequence[Contest], *, prior: float = 1.0) -> Strengths:
    """The strengths that make the contests most likely.

    Args:
        contests: who met whom, and how far the first won.
        prior: imagined ties between each two models that met; with 0, a model that never lost is refused.

    Raises:
        DataError: no contests, models that no chain of contests connects, or no finite maximum without a prior.
    """
    table = tabulate(contests)
    if prior == 0:
        require_beatable(table)
    design = _Design.of(table, prior)
    fitted = design.fit(design.base)
    count = len(table.models)
    return Strengths(dict(zip(table.models, fitted[:count].tolist(), strict=True)), tuple(fitted[count:].tolist()))


def bootstrap_ratings(
    contests: Sequence[Contest],
    *,
    style: Sequence[str] = (),
    prior: float = 1.0,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Ratings:
    """Ratings with the intervals of the bootstrap over prompts: the 2.5% and 97.5% quantiles of the rounds.

    Args:
        contests: who met whom.
        style: names of the features in the contests' `style`.
        prior: imagined contests between each two models that met, above 0.
        rounds: how often the prompts are weighted anew.
        seed: of the weights.

    Raises:
        ConfigError: no prior, or no round.
        DataError: as `bradley_terry`.
    """
    _require_prior(prior)
    if rounds < 1:
        raise ConfigError("at least one bootstrap round is needed", where="rounds")
    table = tabulate(contests)
    design = _Design.of(table, prior)
    best = design.fit(design.base)
    draw = np.random.default_rng(seed)
    drawn = np.stack([design.fit(draw.gamma(design.base), best) for _ in range(rounds)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    if table.clusters < 2:
        low, high = np.full_like(low, -UNBOUNDED), np.full_like(high, UNBOUNDED)
    return _ratings(
        table, contests, best, (np.minimum(low, best), np.maximum(high, best)), style, "bootstrap by prompt"
    )


def sandwich_ratings(contests: Sequence[Contest], *, style: Sequence[str] = (), prior: float = 1.0) -> Ratings:
    r"""Ratings with the sandwich intervals :math:`H^{-1} G H^{-1}`, clustered by prompt.

    H is the curvature at the maximum, G the sum of squared scores of the clusters with the factor C/(C-1); Student's t
    with C - 1 degrees of freedom. No draws: the same numbers every time, and at once.

    Args:
        contests: who met whom.
        style: names of the features in the contests' `style`.
        prior: imagined contests between each two models that met, above 0.

    Raises:
        ConfigError: no prior.
        DataError: as `bradley_terry`.
    """
    _require_prior(prior)
    table = tabulate(contests)
    design = _Design.of(table, prior)
    best = design.fit(design.base)
    half = design.half_widths(best, table.clusters)
    return _ratings(table, contests, best, (best - half, best + half), style, "sandwich by prompt")


def elo_update(first: float, second: float, outcome: float, *, k: float = 4.0) -> tuple[float, float]:
    r"""Both ratings after a contest: :math:`R_a + K\,(o - E_a)`, :math:`E_a = 1/(1 + 10^{(R_b - R_a)/400})`."""
    step = k * (outcome - 1 / (1 + 10 ** ((second - first) / 400)))
    return first + step, second - step


def elo(contests: Sequence[Contest], *, k: float = 4.0, start: float = CENTRE) -> dict[str, float]:
    """Elo's sequential ratings, which depend on the order of the contests; for comparison with published ones."""
    ratings: dict[str, float] = {}
    for contest in contests:
        first, second = (ratings.get(name, start) for name in (contest.first, contest.second))
        ratings[contest.first], ratings[contest.second] = elo_update(
            first, second, contest.outcome, k=k * contest.weight
        )
    return ratings


def ranks(estimates: Sequence[Estimate]) -> list[int]:
    """Ranks by intervals: one more than the number of estimates whose whole interval lies above."""
    return [1 + sum(other.low > one.high for other in estimates) for one in estimates]


@dataclass(frozen=True)
class _Design:
    """The logistic regression behind the ratings.

    Attributes:
        rows: what decides, a row for each contest and side that won it: +1 and -1 for the models, then style `[R,P]`.
        outcome: 1 or 0 for each row `[R]`.
        shares: how much of each row each cluster brings; the clusters that are imagined come last `[R,C]`.
        base: weight of the clusters: 1, or the imagined half of a prior `[C]`.
        ridge: penalty of each parameter `[P]`.
    """

    rows: Floats
    outcome: Floats
    shares: csr_array
    base: Floats
    ridge: Floats

    @classmethod
    def of(cls, table: Table, prior: float) -> _Design:
        models, features, clusters = len(table.models), table.style.shape[1], table.clusters
        kinds, kind = _kinds(table)
        met = np.unique(np.sort(kinds, axis=1), axis=0) if prior > 0 else np.empty((0, 2), dtype=np.intp)
        scale = np.sqrt(np.mean(table.style**2, axis=0)) if features else np.ones(0)
        rows = np.zeros((len(kinds) + len(met), models + features))
        places = np.arange(len(rows))
        rows[places, np.concatenate([kinds[:, 0], met[:, 0]])] = 1.0
        rows[places, np.concatenate([kinds[:, 1], met[:, 1]])] = -1.0
        if features:
            rows[: len(kinds), models:] = table.style / np.where(scale > 0, scale, 1.0)
        imagined = np.arange(len(met))
        row = np.concatenate([kind, len(kinds) + imagined])
        won = np.concatenate([table.weight * table.outcome, np.ones(len(met))])
        lost = np.concatenate([table.weight * (1 - table.outcome), np.ones(len(met))])
        cluster = np.concatenate([table.cluster, clusters + imagined])
        against = np.concatenate([table.cluster, clusters + len(met) + imagined])
        shares = csr_array(
            (np.concatenate([won, lost]), (np.concatenate([row, len(rows) + row]), np.concatenate([cluster, against]))),
            shape=(2 * len(rows), clusters + 2 * len(met)),
        )
        counts = np.flatnonzero(shares.sum(axis=1) > 0)  # a contest that was won outright has no other side
        return cls(
            np.concatenate([rows, rows])[counts],
            np.repeat([1.0, 0.0], len(rows))[counts],
            shares[counts],
            np.concatenate([np.ones(clusters), np.full(2 * len(met), prior / 2)]),
            np.concatenate([np.zeros(models), np.full(features, STYLE_RIDGE)]),
        )

    def fit(self, weights: Floats, start: Floats | None = None) -> Floats:
        """The maximum under weights of the clusters, by Newton's method; a step that would lead down is halved."""
        weight = self.shares @ weights

        def loss(parameters: Floats) -> float:
            logit = self.rows @ parameters
            return float(
                weight @ np.logaddexp(0, np.where(self.outcome > 0, -logit, logit)) + self._penalty(parameters)
            )

        parameters = np.zeros(self.rows.shape[1]) if start is None else start
        current = loss(parameters)
        for _ in range(_STEPS):
            p = expit(self.rows @ parameters)
            gradient = self.rows.T @ (weight * (self.outcome - p)) - self.ridge * parameters
            step = np.linalg.solve(self._curvature(weight, p), gradient)
            gain = float(gradient @ step)  # twice what the quadratic model promises
            while (following := loss(parameters + step)) > current + 1e-12 * (1 + abs(current)):
                step = step / 2
            parameters, current = parameters + step, following
            if gain < _TOLERANCE * (1 + abs(current)):
                models = self.ridge == 0
                return np.where(models, parameters - parameters[models].mean(), parameters)
        raise NumericsError("the ratings did not converge", mend="Raise the prior; some models hardly met.")

    def half_widths(self, best: Floats, clusters: int) -> Floats:
        """Half widths of the sandwich intervals; `clusters` are real, the others imagined."""
        if clusters < 2:
            return np.full(len(best), UNBOUNDED)
        weight = self.shares @ self.base
        p = expit(self.rows @ best)
        inverse = np.linalg.inv(self._curvature(weight, p))
        scores = self.base[:, None] * (self.shares.T @ (self.rows * (self.outcome - p)[:, None]))
        covariance = inverse @ (clusters / (clusters - 1) * scores.T @ scores) @ inverse
        half: Floats = stats.t.ppf(0.5 + LEVEL / 2, clusters - 1) * np.sqrt(np.maximum(np.diag(covariance), 0))
        return half

    def _penalty(self, parameters: Floats) -> float:
        return float(0.5 * self.ridge @ parameters**2)

    def _curvature(self, weight: Floats, p: Floats) -> Floats:
        """The negative Hessian; moving all ratings alike changes no probability, and has a curvature of its own."""
        alike = np.where(self.ridge == 0, 1.0, 0.0)
        curvature: Floats = self.rows.T @ (self.rows * (weight * p * (1 - p))[:, None])
        curvature += np.diag(self.ridge) + np.outer(alike, alike)
        return curvature


def _kinds(table: Table) -> tuple[Places, Places]:
    """The different contests there are, as pairs of models, and which of them each is; with style, each is its own."""
    both = np.stack([table.first, table.second], axis=1)
    if table.style.shape[1]:
        return both, np.arange(len(both))
    kinds, kind = np.unique(both, axis=0, return_inverse=True)
    return kinds, kind.reshape(-1)


def _ratings(
    table: Table,
    contests: Sequence[Contest],
    best: Floats,
    limits: tuple[Floats, Floats],
    style: Sequence[str],
    intervals: str,
) -> Ratings:
    count, (low, high) = len(table.models), limits
    if len(style) != len(best) - count:
        raise ConfigError(f"{len(style)} names for {len(best) - count} features of style", where="style")
    ends = [
        _on_scale(float(at), float(below), float(above), table)
        for at, below, above in zip(best, low, high, strict=True)
    ]
    standing = ranks(ends[:count])
    wins, taken = np.zeros(count), np.zeros(count)
    np.add.at(wins, table.first, table.weight * table.outcome)
    np.add.at(wins, table.second, table.weight * (1 - table.outcome))
    np.add.at(taken, table.first, table.weight)
    np.add.at(taken, table.second, table.weight)
    models = [
        Rating(name, ends[place], standing[place], float(wins[place]), float(taken[place]))
        for place, name in enumerate(table.models)
    ]
    features = {
        name: Estimate(
            float(best[count + place]), float(low[count + place]), float(high[count + place]), table.clusters
        )
        for place, name in enumerate(style)
    }
    ordered = tuple(sorted(models, key=lambda rating: (-rating.rating.mean, rating.model)))
    return Ratings(ordered, table.clusters, intervals, features, elo(contests))


def _on_scale(strength: float, low: float, high: float, table: Table) -> Estimate:
    def points(log_odds: float) -> float:
        return log_odds if abs(log_odds) == UNBOUNDED else CENTRE + SCALE * log_odds

    return Estimate(points(strength), points(low), points(high), table.clusters)


def _require_prior(prior: float) -> None:
    if not prior > 0:
        raise ConfigError("intervals need a prior above 0", where="prior", mend="A draw may leave a model undefeated.")
