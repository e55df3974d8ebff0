"""What the items' columns amount to: means, and statistics that are no mean, each with its 95% interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from accord.errors import ConfigError, NumericsError
from accord.evaluate.bootstrap import Bootstrap, interval_of_gaps
from accord.evaluate.length_control import length_controlled
from accord.evaluate.reward_scores import rewardbench2, stratified
from accord.evaluate.statistics import (
    Floats,
    mean_estimate,
    paired_difference,
    paired_p_value,
    wilson,
    within_share,
)
from accord.evaluate.weighted import (
    area_under_risk,
    calibration_error,
    calibration_gaps,
    perplexity,
    ratio,
    selective_accuracy,
)
from accord.record import Estimate
from accord.record.measurement import Axis, Item

MEAN = "mean"

SHARE = "share"
"""The unit of numbers between 0 and 1, whose intervals stay open where no resampling shows a spread."""

STATISTICS: dict[str, Callable[..., Floats]] = {
    "ratio": ratio,
    "perplexity": perplexity,
    "ece": calibration_error,
    "aurc": area_under_risk,
    "accuracy at 80%": partial(selective_accuracy, coverage=0.8),
    "accuracy at 50%": partial(selective_accuracy, coverage=0.5),
    "stratified": stratified,
    "rewardbench2": rewardbench2,
    "length_controlled": length_controlled,
}
"""How several columns become one number that is no mean, by name; functions of the items' weights and the columns."""


GAPS: dict[str, Callable[..., Floats]] = {"ece": calibration_gaps}
"""Those that are a sum of absolute gaps, by the gaps: noise raises them, and their interval takes that into account."""


@dataclass(frozen=True)
class Difference:
    """What changes from one model to another on the same items.

    Attributes:
        estimate: after minus before, with its 95% interval.
        p_value: two-sided, of no difference.
    """

    estimate: Estimate
    p_value: float


def summarise(axis: Axis, items: Sequence[Item]) -> Estimate | None:
    """An axis of measured items; `None` where no item has all the columns that it is made from.

    A mean has the interval of `mean_estimate`, any other statistic that of the bootstrap over clusters; a share that is
    the same under every resampling has Wilson's, and a mean that is a share ends at 0 and 1.

    Raises:
        ConfigError: the axis names a statistic that does not exist.
        NumericsError: the statistic is not finite.
    """
    statistic = _statistic(axis)
    known = [item for item in items if _complete(axis, item)]
    if not known:
        return None
    columns, clusters = _columns(axis, known), [item.cluster for item in known]
    if statistic is None:
        estimate = mean_estimate(columns[0], clusters)
        return within_share(estimate) if axis.unit == SHARE else estimate
    value = _value(axis, statistic, columns)
    if axis.statistic in GAPS:
        gaps = GAPS[axis.statistic]
        return Estimate(value, *interval_of_gaps(lambda weights: gaps(weights, *columns), clusters), len(known))
    bootstrap = Bootstrap.of(lambda weights: statistic(weights, *columns), value, clusters)
    if bootstrap.still and axis.unit == SHARE and 0 <= value <= 1:
        bounds = wilson(value * bootstrap.clusters, bootstrap.clusters)
        return Estimate(value, bounds.low, bounds.high, len(known))
    return Estimate(value, *bootstrap.interval(), len(known))


def difference(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> Difference | None:
    """An axis of two models, after minus before, over the items that both have; `None` where there are none.

    The items are resampled for both models together.

    Raises:
        ConfigError: the axis names a statistic that does not exist.
        NumericsError: the statistic is not finite.
    """
    statistic = _statistic(axis)
    first = {item.id: item for item in before if _complete(axis, item)}
    second = {item.id: item for item in after if _complete(axis, item)}
    shared = [name for name in first if name in second]
    if not shared:
        return None
    clusters = [first[name].cluster for name in shared]
    old, new = (_columns(axis, [items[name] for name in shared]) for items in (first, second))
    if statistic is None:
        estimate = paired_difference(old[0], new[0], clusters)
        return Difference(estimate, paired_p_value(old[0], new[0], clusters))
    value = _value(axis, statistic, new) - _value(axis, statistic, old)
    bootstrap = Bootstrap.of(lambda weights: statistic(weights, *new) - statistic(weights, *old), value, clusters)
    if axis.statistic in GAPS:
        bootstrap = bootstrap.plain()
    if bootstrap.still and axis.unit == SHARE and abs(value) <= 1:
        # Every cluster shows the same change: what as many items with that change amount to.
        worse, better = [max(0.0, -value)] * bootstrap.clusters, [max(0.0, value)] * bootstrap.clusters
        seen = paired_difference(worse, better)
        return Difference(Estimate(value, seen.low, seen.high, len(shared)), paired_p_value(worse, better))
    return Difference(Estimate(value, *bootstrap.interval(), len(shared)), bootstrap.p_value())


def _statistic(axis: Axis) -> Callable[..., Floats] | None:
    """The statistic of an axis; `None` for the mean, which has a closed form."""
    if axis.statistic == MEAN:
        return None
    if axis.statistic not in STATISTICS:
        mend = f"Known: {', '.join((MEAN, *STATISTICS))}."
        raise ConfigError(f"no statistic is named {axis.statistic!r}", where=f"axis {axis.name!r}", mend=mend)
    return STATISTICS[axis.statistic]


def _value(axis: Axis, statistic: Callable[..., Floats], columns: Sequence[Floats]) -> float:
    value = float(statistic(np.ones((1, len(columns[0]))), *columns)[0])
    if not np.isfinite(value):
        raise NumericsError(f"the {axis.statistic} of {len(columns[0])} items is {value}", where=f"axis {axis.name!r}")
    return value


def _complete(axis: Axis, item: Item) -> bool:
    return all(item.values.get(name) is not None for name in axis.sources())


def _columns(axis: Axis, items: Sequence[Item]) -> list[Floats]:
    return [np.asarray([item.values[name] for item in items], dtype=np.float64) for name in axis.sources()]
