"""Where each of several models stands on every axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from accord.evaluate.statistics import UNBOUNDED
from accord.evaluate.summary import difference, summarise
from accord.record import Estimate
from accord.record.compared import AxisStandings, Standing
from accord.record.measurement import Axis, Item, Measurement


def standings_of(
    tasks: Mapping[str, Mapping[str, Measurement]], shared: Sequence[str], primary: Collection[tuple[str, str]]
) -> tuple[AxisStandings, ...]:
    """All models on every axis, over the items that all of them have; ranks by paired differences."""
    found = []
    for task in shared:
        measured = {name: of[task] for name, of in tasks.items()}
        by_id = {name: {item.id: item for item in one.items} for name, one in measured.items()}
        first = next(iter(measured.values()))
        for axis in first.axes:
            ids = [
                item.id
                for item in first.items
                if all(
                    item.id in items and all(items[item.id].values.get(name) is not None for name in axis.sources())
                    for items in by_id.values()
                )
            ]
            if ids:
                rows = {name: [items[one] for one in ids] for name, items in by_id.items()}
                found.append(_standing(task, axis, rows, primary=(task, axis.name) in primary))
    return tuple(found)


def _standing(task: str, axis: Axis, rows: Mapping[str, Sequence[Item]], *, primary: bool) -> AxisStandings:
    def led_by(name: str) -> int:
        """How many models lie above by the interval of the paired difference."""
        changes = [difference(axis, rows[name], items) for other, items in rows.items() if other != name]
        ends = [change.estimate for change in changes if change is not None]
        return sum(end.high < 0 if axis.higher_is_better is False else end.low > 0 for end in ends)

    standings = tuple(
        Standing(
            name,
            summarise(axis, items) or Estimate(0.0, -UNBOUNDED, UNBOUNDED, 0),
            0 if axis.higher_is_better is None else 1 + led_by(name),
        )
        for name, items in rows.items()
    )
    return AxisStandings(task, axis.name, axis.unit, axis.higher_is_better, standings, axis.description, primary)
