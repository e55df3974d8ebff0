"""The items behind a verdict: those that gained most, and those that lost most."""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluate.pairing import Paired
from accord.record.compared import Example
from accord.record.measurement import Axis, Item

EACH_WAY = 6
"""Examples of gains, and of losses, that are kept of an axis."""


def gains(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> list[float | None]:
    """By how much each item got better under the second model; `None` where one of both has no number.

    An item has no share of a statistic that is no mean: there it is `None` everywhere, as on a neutral axis.
    """
    if axis.statistic != "mean" or axis.higher_is_better is None:
        return [None] * len(before)
    (name, *_), sign = axis.sources(), 1.0 if axis.higher_is_better else -1.0
    values = [(one.values.get(name), other.values.get(name)) for one, other in zip(before, after, strict=True)]
    return [None if old is None or new is None else sign * (new - old) for old, new in values]


def moved(axis: Axis, before: Sequence[Item], after: Sequence[Item]) -> tuple[int, int, int] | tuple[()]:
    """How many items got better, got worse, and stayed."""
    known = [gain for gain in gains(axis, before, after) if gain is not None]
    if not known:
        return ()
    better, worse = sum(gain > 0 for gain in known), sum(gain < 0 for gain in known)
    return better, worse, len(known) - better - worse


def examples_of(axis: Axis, paired: Paired, *, each_way: int = EACH_WAY) -> tuple[Example, ...]:
    """The items with the greatest gains, then those with the greatest losses; equals in the order of the items."""
    before, after = paired.items
    known = [(gain, place) for place, gain in enumerate(gains(axis, before, after)) if gain]
    better = sorted((one for one in known if one[0] > 0), key=lambda one: (-one[0], one[1]))
    worse = sorted((one for one in known if one[0] < 0), key=lambda one: (one[0], one[1]))
    return tuple(
        Example(
            task=paired.before.task,
            axis=axis.name,
            item=before[place].id,
            gain=gain,
            prompt=before[place].prompt,
            before=before[place].answers,
            after=after[place].answers,
            values_before=_given(before[place]),
            values_after=_given(after[place]),
        )
        for gain, place in (*better[:each_way], *worse[:each_way])
    )


def _given(item: Item) -> dict[str, float]:
    return {name: value for name, value in item.values.items() if value is not None}
