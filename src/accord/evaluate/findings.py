"""One axis of two models: overall, by slice, and with numbers that are missing."""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluate.examples import moved
from accord.evaluate.pairing import Paired
from accord.evaluate.statistics import LEVEL, holm, paired_difference
from accord.evaluate.summary import difference, summarise
from accord.record import Comparison, Estimate, Verdict
from accord.record.compared import Finding, SliceFinding
from accord.record.measurement import Axis, Item


def finding_of(paired: Paired, axis: Axis, *, primary: bool) -> Finding | None:
    """What two measurements say of an axis, before p-values are adjusted; `None` where no item has it under both."""
    before, after = paired.items
    found = _compared(axis, before, after)
    if found is None:
        return None
    comparison, p_value = found
    some = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if any(item.values.get(name) is not None for name in axis.sources() for item in (one, other))
    ]
    lacking = [
        (one, other)
        for one, other in some
        if any((one.values.get(name) is None) != (other.values.get(name) is None) for name in axis.sources())
    ]
    return Finding(
        task=paired.before.task,
        comparison=comparison,
        p_value=p_value,
        primary=primary,
        moved=moved(axis, before, after),
        missing=len(lacking),
        bounds=bounds_of(axis, [one for one, _ in some], [other for _, other in some]) if lacking else None,
        controls={
            name: estimates[axis.name] for name, estimates in paired.before.controls.items() if axis.name in estimates
        },
        slices=_slices(axis, before, after),
    )


def verdict_of(comparison: Comparison, adjusted: float) -> Verdict | None:
    """Better or worse by the adjusted p-value, where the interval excludes zero as well: the two must not disagree."""
    alone = comparison.verdict
    if alone is None:
        return None
    return alone if adjusted < 1 - LEVEL else "not distinguishable"


def _compared(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> tuple[Comparison, float] | None:
    """The axis over the items that have it under both models, and the p-value of no difference."""
    both = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if all(item.values.get(name) is not None for name in axis.sources() for item in (one, other))
    ]
    first, second = [one for one, _ in both], [other for _, other in both]
    changed, old, new = difference(axis, first, second), summarise(axis, first), summarise(axis, second)
    if changed is None or old is None or new is None:
        return None
    comparison = Comparison(
        axis=axis.name,
        before=old,
        after=new,
        difference=changed.estimate,
        higher_is_better=axis.higher_is_better,
        unit=axis.unit,
        description=axis.description,
    )
    return comparison, changed.p_value


def _slices(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> tuple[SliceFinding, ...]:
    found: list[tuple[str, str, Comparison, float]] = []
    for name in dict.fromkeys(name for item in before for name in item.slices):
        values = dict.fromkeys(item.slices[name] for item in before if name in item.slices)
        for value in values if len(values) > 1 else ():
            places = [place for place, item in enumerate(before) if item.slices.get(name) == value]
            compared = _compared(axis, [before[place] for place in places], [after[place] for place in places])
            if compared is not None:
                found.append((name, value, *compared))
    adjusted = holm({str(place): p_value for place, (_, _, _, p_value) in enumerate(found)})
    return tuple(
        SliceFinding(name, value, comparison, adjusted[str(place)], verdict_of(comparison, adjusted[str(place)]))
        for place, (name, value, comparison, _) in enumerate(found)
    )


def bounds_of(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> tuple[Estimate, Estimate] | None:
    """The difference if every missing number were the worst for the second model, and if the best; of shares only."""
    (name, *more) = axis.sources()
    values = [(one.values.get(name), other.values.get(name)) for one, other in zip(before, after, strict=True)]
    if more or axis.statistic != "mean" or not all(one is None or 0 <= one <= 1 for row in values for one in row):
        return None
    clusters = [item.cluster for item in before]

    def filled(first: float, second: float) -> Estimate:
        old = [first if one is None else one for one, _ in values]
        new = [second if other is None else other for _, other in values]
        return paired_difference(old, new, clusters)

    least, most = filled(1.0, 0.0), filled(0.0, 1.0)
    return (least, most) if axis.higher_is_better is not False else (most, least)
