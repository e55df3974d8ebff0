r"""Length-controlled win rates: what a judge's preference would be if no answer were longer than the other.

The probability that the judge prefers the model's answer to instruction i is a logistic model of quality, length and
difficulty,

.. math:: \mathrm{logit}\, p_i = \beta_0 + \beta_L \tanh(d_i / s) + \beta_\gamma \gamma_i, \qquad
          \mathrm{LC} = \frac{1}{n} \sum_i \sigma(\beta_0 + \beta_\gamma \gamma_i)

where :math:`d_i` is the baseline's length in characters less the model's, s the standard deviation of these differences
(which are not centred), and :math:`\gamma_i` the difficulty of the instruction, one number for all models. The fit has
an L1 penalty whose strength is chosen by cross-validation over instructions; judgements are soft labels. Answers of the
baseline that were made longer or shorter on purpose ("gamed") can take part: they have no :math:`\beta_0`, so that
:math:`\beta_L` is learned from them as well.

Where nearly all answers are longer (or shorter) than the baseline's by more than twice the spread, quality cannot be
told from length without gamed baselines, and there is no such number: of 40 simulated sets of 100 instructions, 95% of
the intervals contained the truth at a shift of two spreads, and 75% at three.

Source: Dubois et al. 2024, "Length-controlled AlpacaEval" (arXiv:2404.04475), and what AlpacaEval computes. Deviations:
the fit goes on until it has converged; and below 200 instructions the penalty is the weakest and not chosen. At 80
instructions the choice took everything away in up to 17 of 100 simulated sets, the win rate then being one half, and 75
to 93 of the intervals contained the truth; with the weakest penalty 97 or 98 did. The published set has 805.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from accord.errors import DataError
from accord.evaluate.soft_logistic import SoftLogistic
from accord.evaluate.statistics import Floats

GAMED_WEIGHT = 0.2
"""Weight of the gamed baselines together, beside the model's comparisons; each has its share of it."""

FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)
"""Inverse strengths of the penalty that cross-validation chooses from."""

FEW = 200
"""Instructions below which the weakest penalty is taken."""

INFLATION = 50.0
"""How many times as large as without lengths the variance of the quality may be before nothing can be told of it."""


@dataclass(frozen=True)
class Gamed:
    """Comparisons of the baseline, made longer or shorter on purpose, with itself.

    Attributes:
        preference: probability that the judge prefers the gamed answer, for each instruction.
        difference: characters of the baseline's answer less those of the gamed one.
    """

    preference: Floats
    difference: Floats


@dataclass(frozen=True)
class LengthFit:
    """A model's coefficients against its baseline.

    Attributes:
        quality: what is left when lengths are equal and the instruction is neither hard nor easy.
        length: of the standardised difference in length.
        difficulty: of the instruction's difficulty.
    """

    quality: float
    length: float
    difficulty: float = 0.0

    def win_rate(self, difficulty: Floats) -> float:
        """The share of instructions `[n]` that it would win at equal lengths.

        >>> import numpy as np
        >>> round(LengthFit(quality=0.3, length=0.5, difficulty=0.2).win_rate(np.array([0.1, -0.2])), 6)
        0.57198
        """
        return float(expit(self.quality + self.difficulty * difficulty).mean())

    def predicted(self, lengths: Floats, difficulty: Floats) -> Floats:
        """The probability `[n]` of each preference, at given values of `tanh(d / s)` and of the difficulty."""
        return np.asarray(expit(self.quality + self.length * lengths + self.difficulty * difficulty))

    def against(self, other: LengthFit, difficulty: Floats) -> float:
        """The win rate over another model that was fitted against the same baseline: one less that of the other way."""
        between = LengthFit(self.quality - other.quality, 0.0, self.difficulty - other.difficulty)
        return between.win_rate(difficulty)


def length_controlled_win_rate(
    preference: Sequence[float] | Floats,
    difference: Sequence[float] | Floats,
    difficulty: Sequence[float] | Floats | None = None,
    gamed: Sequence[Gamed] = (),
) -> float:
    """The length-controlled win rate, from 0 to 1; the published tables show it times 100.

    Args:
        preference: probability that the judge prefers the model's answer, for each instruction; one half is a tie.
        difference: characters of the baseline's answer less those of the model's.
        difficulty: of each instruction, as of `instruction_difficulty`; without it the number is not comparable with
            published ones.
        gamed: comparisons of gamed baselines on the same instructions.

    Raises:
        DataError: columns of different lengths, none at all, a value that is not finite or no probability; or nearly
            all answers are longer, or shorter, than the baseline's by as much, and there are no gamed baselines.
    """
    fit = length_fit(preference, difference, difficulty, gamed)
    return fit.win_rate(np.zeros(len(preference)) if difficulty is None else np.asarray(difficulty, dtype=np.float64))


def length_fit(
    preference: Sequence[float] | Floats,
    difference: Sequence[float] | Floats,
    difficulty: Sequence[float] | Floats | None = None,
    gamed: Sequence[Gamed] = (),
) -> LengthFit:
    """The coefficients behind `length_controlled_win_rate`, which has the same arguments."""
    columns = _columns(preference, difference, difficulty, gamed)
    design = _Design.of(columns)
    if not design.tells_length_apart:
        mend = "Give comparisons of gamed baselines, longer and shorter ones."
        raise DataError("quality cannot be told from length: the lengths hardly overlap", mend=mend)
    (fit,) = design.fit(design.strength(), np.ones((1, len(columns[0]))))
    return fit


def lengths_overlap(difference: Sequence[float] | Floats, gamed: Sequence[Gamed] = ()) -> bool:
    """Whether quality can be told from length: see `INFLATION`."""
    given = np.asarray(difference, dtype=np.float64)
    return _Design.of(_columns(np.full(len(given), 0.5), given, None, gamed)).tells_length_apart


def length_controlled(weights: Floats, *columns: Floats) -> Floats:
    """The length-controlled win rate under each of R weightings of the items; the strength of the penalty is one.

    Of items whose lengths do not overlap (a slice, say, of a whole in which they do) lengths are left out of the fit.

    Args:
        weights: of the items `[R,n]`.
        columns: preference, difference, difficulty (0 where there is none), and for each gamed baseline its preference
            and its difference; each `[n]`.

    Returns:
        `[R]`, from 0 to 1.
    """
    design, difficulty = _Design.of(columns), columns[2]
    if not design.tells_length_apart:
        design = _Design.of([columns[0], np.zeros(len(difficulty)), difficulty])
    fits = design.fit(design.strength(), weights)
    won = expit(
        np.asarray([fit.quality for fit in fits])[:, None]
        + np.asarray([fit.difficulty for fit in fits])[:, None] * difficulty
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = (weights * won).sum(1) / weights.sum(1)
    return result


def instruction_difficulty(preference: Floats, difference: Floats, *, ridge: float = 1.0) -> Floats:
    r"""How much easier or harder than others an instruction is to win, fitted jointly over several models.

    .. math:: \mathrm{logit}\, p_{mi} = \theta_m + \phi_m \tanh(d_{mi} / s_m) + \gamma_i

    The difficulties are centred, since a constant could as well be in every :math:`\theta_m`.

    Args:
        preference: probability that the judge prefers model m's answer, `[M,n]`; NaN where it was not asked.
        difference: characters of the baseline's answer less those of model m's, `[M,n]`.
        ridge: precision of the normal distribution that the difficulties are drawn from, which one instruction with few
            judgements needs (ours; the paper does not say how it bounds them).

    Raises:
        DataError: fewer than two models, or arrays of different shapes.
    """
    if preference.ndim != 2 or preference.shape != difference.shape or len(preference) < 2:
        mend = "Give the judgements of two models or more on the same instructions."
        raise DataError("the difficulty of instructions cannot be fitted", mend=mend)
    known = np.isfinite(preference)
    target = np.where(known, preference, 0.0)
    lengths = np.stack([np.tanh(_standardised(np.where(known[m], difference[m], 0.0))) for m in range(len(known))])
    models, n = preference.shape

    def loss(parameters: Floats) -> tuple[float, Floats]:
        theta, phi, gamma = np.split(parameters, [models, 2 * models])
        logits = theta[:, None] + phi[:, None] * lengths + gamma
        off = np.where(known, expit(logits) - target, 0.0)
        value = np.sum(np.where(known, np.logaddexp(0, logits) - target * logits, 0.0)) + ridge / 2 * gamma @ gamma
        # A hair of shrinkage: a model that wins everything has no finite quality.
        value += 1e-4 * (theta @ theta + phi @ phi)
        gradient = np.concatenate(
            [off.sum(1) + 2e-4 * theta, (off * lengths).sum(1) + 2e-4 * phi, off.sum(0) + ridge * gamma]
        )
        return float(value), gradient

    found = minimize(loss, np.zeros(2 * models + n), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    gamma: Floats = found.x[2 * models :] - found.x[2 * models :].mean()
    return gamma


@dataclass(frozen=True)
class _Design:
    """The rows of the fit: the gamed baselines' first, then the model's.

    Attributes:
        rows: with the features tanh of the standardised difference, difficulty, and whether the row is the model's.
        weight: of a row, before that of its item.
        item: which item a row belongs to.
    """

    rows: SoftLogistic
    weight: Floats
    item: NDArray[np.intp]

    @classmethod
    def of(cls, columns: Sequence[Floats]) -> _Design:
        preference, difference, difficulty, *rest = columns
        gamed = list(zip(rest[::2], rest[1::2], strict=True))
        sets = [*((p, d, 0.0) for p, d in gamed), (preference, difference, 1.0)]
        features = [
            np.column_stack([np.tanh(_standardised(d)), difficulty, np.full(len(p), model)]) for p, d, model in sets
        ]
        share = GAMED_WEIGHT / len(gamed) if gamed else 0.0
        return cls(
            SoftLogistic(np.concatenate(features), np.concatenate([p for p, _, _ in sets])),
            np.concatenate([np.full(len(p), model or share) for p, _, model in sets]),
            np.tile(np.arange(len(preference)), len(sets)),
        )

    @property
    def tells_length_apart(self) -> bool:
        """Whether the variance inflation of the quality by the lengths is small enough."""
        length, own = self.rows.features[:, 0], self.rows.features[:, 2]
        squares = float(self.weight @ length**2)
        if squares == 0:
            return True
        shared = float(self.weight @ (length * own)) ** 2 / (squares * float(self.weight @ own**2))
        return shared <= 1 - 1 / INFLATION

    def strength(self) -> float:
        """The inverse strength of the penalty with the least loss on rows left out; of few, the largest."""
        count = len(self.weight)
        if len(np.unique(self.item)) < FEW:
            return float(STRENGTHS[-1])
        folds = np.arange(count)[::-1] % FOLDS
        held_out = folds[None, :] == np.arange(folds.max() + 1)[:, None]
        losses = []
        for strength in STRENGTHS:
            fitted = self.rows.fit(np.where(held_out, 0.0, self.weight), float(strength))
            lost = (self.weight * self.rows.loss(fitted) * held_out).sum(1) / held_out.sum(1)
            losses.append(lost.mean())
        return float(STRENGTHS[int(np.argmin(losses))])

    def fit(self, strength: float, weights: Floats) -> list[LengthFit]:
        """The coefficients under each of R weightings of the items `[R,n]`."""
        (start,) = self.rows.fit(self.weight[None, :], strength)
        fitted = self.rows.fit(self.weight * weights[:, self.item], strength, start)
        return [LengthFit(float(quality), float(length), float(difficulty)) for length, difficulty, quality in fitted]


def _standardised(difference: Floats) -> Floats:
    spread = float(np.std(difference, ddof=1)) if len(difference) > 1 else 0.0
    return difference / spread if spread > 0 else np.zeros_like(difference)


def _columns(
    preference: Sequence[float] | Floats,
    difference: Sequence[float] | Floats,
    difficulty: Sequence[float] | Floats | None,
    gamed: Sequence[Gamed],
) -> list[Floats]:
    n = len(preference)
    given = [preference, difference, np.zeros(n) if difficulty is None else difficulty]
    given += [column for one in gamed for column in (one.preference, one.difference)]
    columns = [np.asarray(column, dtype=np.float64) for column in given]
    if not n or any(column.shape != (n,) for column in columns):
        raise DataError("the columns have different lengths, or none", mend="Give one number for each instruction.")
    probabilities = [columns[0], *columns[3::2]]
    if not all(np.isfinite(column).all() for column in columns) or any(
        (column < 0).any() or (column > 1).any() for column in probabilities
    ):
        raise DataError("a value is not finite, or a preference is no probability", mend="Leave such items out.")
    return columns
