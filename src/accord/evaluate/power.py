r"""How many items it takes to see a difference, and how small a difference the items at hand would show.

The squared error of a mean paired difference over n items, each answered K times by either model, is
:math:`(\omega^2 + \sigma_A^2/K_A + \sigma_B^2/K_B)/n`: :math:`\omega^2` is the variance, from item to item, of the
difference between the models' expected scores, and :math:`\sigma^2` that of a model's repeated answers to one item.

Source: Miller 2024, "Adding error bars to evals", equation 9, solved for n.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from accord.errors import DataError
from accord.evaluate.statistics import LEVEL, UNBOUNDED
from accord.record import Estimate
from accord.record.measurement import Axis, Item


@dataclass(frozen=True)
class Spread:
    """What the items of a pilot say of an axis.

    Attributes:
        items: clusters in the pilot: questions, each with its repeated answers.
        between: variance between items of the difference of expected scores.
        within: variance of repeated answers to one item, of the first and of the second model; 0 where no item was
            answered twice, and `between` then holds it.
        repeated: whether items were answered more than once.
    """

    items: int
    between: float
    within: tuple[float, float]
    repeated: bool

    def variance(self, samples: int = 1) -> float:
        """Variance of an item's difference with so many answers of either model; of one answer if unrepeated."""
        return self.between + sum(self.within) / samples


def items_needed(
    effect: float,
    *,
    between: float,
    within: tuple[float, float] = (0.0, 0.0),
    samples: tuple[int, int] = (1, 1),
    power: float = 0.8,
    tests: int = 1,
) -> int:
    r"""Items for which a true difference is found with probability `power`.

    .. math:: n = (z_{\alpha/2m} + z_\beta)^2 \, (\omega^2 + \sigma_A^2/K_A + \sigma_B^2/K_B) / \delta^2

    Args:
        effect: the true difference, :math:`\delta`.
        between: variance between items of the difference of expected scores, :math:`\omega^2`.
        within: variance of repeated answers to one item, for either model.
        samples: answers an item of either model, K.
        power: probability of finding it.
        tests: primary axes that Holm's correction is over, m; the strictest of its thresholds is held.

    Raises:
        DataError: no effect, a negative variance, no samples or tests, or a power not between 0 and 1.
    """
    if not effect or min(between, *within) < 0 or min(*samples, tests) < 1 or not 0 < power < 1:
        raise DataError(
            f"no number of items follows from effect {effect:g}, variances {between:g} and {within[0]:g}, "
            f"{within[1]:g}, samples {samples[0]} and {samples[1]}, power {power:g}, {tests} tests"
        )
    variance = between + within[0] / samples[0] + within[1] / samples[1]
    return max(2, math.ceil(_quantiles(power, tests) ** 2 * variance / effect**2))


def detectable(difference: Estimate, *, power: float = 0.8, tests: int = 1) -> float | None:
    r"""The true difference that the items behind an interval show with probability `power`; `None` where it is open.

    The half width of the interval is taken for :math:`z_{\alpha/2}` standard errors, whatever the statistic.

    Args:
        difference: with its 95% interval.
        power: probability of finding it.
        tests: primary axes that Holm's correction is over.

    Raises:
        DataError: `power` is not between 0 and 1, or no test is made.
    """
    if tests < 1 or not 0 < power < 1:
        raise DataError(f"no effect can be stated for {tests} tests at power {power:g}")
    half = difference.high / 2 - difference.low / 2
    if half >= UNBOUNDED / 4:
        return None
    return half / _normal(LEVEL) * _quantiles(power, tests)


def spread(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> Spread:
    """The spread of an axis over the paired items of a pilot.

    A cluster counts as one question; where its items ask the same, they are repeated answers to it. Without repeated
    answers, `between` is the variance of the clusters' differences, which holds both.

    Raises:
        DataError: the statistic is no mean of one column, or fewer than two questions have numbers of both models.
    """
    (name, *more) = axis.sources()
    if axis.statistic != "mean" or more:
        raise DataError(f"no number of items can be planned for {axis.name!r}, which is no mean")
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    prompts: dict[str, set[str]] = defaultdict(set)
    for one, other in zip(before, after, strict=True):
        old, new = one.values.get(name), other.values.get(name)
        if old is not None and new is not None:
            rows[one.cluster].append((old, new))
            prompts[one.cluster].add(one.prompt)
    if len(rows) < 2:
        raise DataError(f"{len(rows)} questions have {axis.name!r} under both models; a plan needs at least two")
    answers = [np.asarray(of) for of in rows.values()]
    observed = float(np.var([float((of[:, 1] - of[:, 0]).mean()) for of in answers], ddof=1))
    repeated = [of for of in answers if len(of) > 1]
    if not repeated or any(len(asked) > 1 for asked in prompts.values()):
        return Spread(len(answers), observed, (0.0, 0.0), False)
    freedom = sum(len(of) - 1 for of in repeated)
    squares = sum(((of - of.mean(axis=0)) ** 2).sum(axis=0) for of in repeated) / freedom
    within = (float(squares[0]), float(squares[1]))
    noise = sum(within) * float(np.mean([1 / len(of) for of in answers]))
    return Spread(len(answers), max(0.0, observed - noise), within, True)


def _quantiles(power: float, tests: int) -> float:
    return _normal(1 - (1 - LEVEL) / tests) + float(stats.norm.ppf(power))


def _normal(level: float) -> float:
    return float(stats.norm.ppf(0.5 + level / 2))
