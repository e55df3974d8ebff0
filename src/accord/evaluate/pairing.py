"""What may be compared: the same task, under the same settings, item by item."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from accord.errors import ConfigError, DataError
from accord.record.compared import Unpaired
from accord.record.measurement import Item, Measurement

ITEMS = "items"
"""The setting that digests a task's items: it may differ, because items are joined one by one."""

_SHOWN = 60


@dataclass(frozen=True)
class Paired:
    """Two measurements of one task, with the items that both have, in one order.

    Attributes:
        before, after: the measurements.
        items: the same items under either.
        unpaired: those that only one has, if any.
        differing: the settings that differ, as far as they may.
    """

    before: Measurement
    after: Measurement
    items: tuple[tuple[Item, ...], tuple[Item, ...]]
    unpaired: Unpaired | None
    differing: tuple[tuple[str, Any, Any], ...]


def pair(before: Measurement, after: Measurement, *, despite: Collection[str] = ()) -> Paired:
    """Two measurements joined item by item.

    Args:
        before, after: of one task.
        despite: settings that may differ, by name, such as `sampling.temperature` or `sampling`.

    Raises:
        ConfigError: another task, other axes or other settings; says what differs.
        DataError: an item twice, one name for different questions, or no item in common.
    """
    where = f"{before.model} and {after.model}"
    if before.task != after.task:
        raise ConfigError(f"measured {before.task!r} and {after.task!r}, which is not the same task", where=where)
    _require_same_settings(before, after, despite)
    differing = tuple(differences(before.settings, after.settings))
    first, second = _by_id(before), _by_id(after)
    shared = [name for name in first if name in second]
    if not shared:
        raise DataError(
            f"no item of {before.task!r} was measured under both (such as {next(iter(first), None)!r} and "
            f"{next(iter(second), None)!r})",
            path=where,
            mend="Measure both on the same file.",
        )
    for name in shared:
        if first[name].prompt != second[name].prompt or first[name].cluster != second[name].cluster:
            raise DataError(
                f"item {name!r} of {before.task!r} is another question under each model", path=where,
                mend="Measure both on the same file, and give its items an id.",
            )  # fmt: skip
    only_before = tuple(name for name in first if name not in second)
    only_after = tuple(name for name in second if name not in first)
    unpaired = Unpaired(before.task, only_before, only_after) if only_before or only_after else None
    items = (tuple(first[name] for name in shared), tuple(second[name] for name in shared))
    return Paired(before, after, items, unpaired, differing)


def by_task(measurements: Sequence[Measurement], model: str) -> dict[str, Measurement]:
    """One model's measurements by task.

    Raises:
        DataError: none, or a task twice.
    """
    found: dict[str, Measurement] = {}
    for measurement in measurements:
        if measurement.task in found:
            raise DataError(
                f"{measurement.task!r} was measured twice", path=model, mend="Name one evaluation of a model."
            )
        found[measurement.task] = measurement
    if not found:
        raise DataError("no measurement", path=model, mend="accord evaluate --model M --suite S --out DIR makes one.")
    return found


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ: dotted name, first value, second value; `None` where one has none."""
    for key in dict.fromkeys((*before, *after)):
        one, other = before.get(key), after.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{prefix}{key}.")
        elif msgspec.to_builtins(one) != msgspec.to_builtins(other):
            yield f"{prefix}{key}", one, other


def _require_same_settings(before: Measurement, after: Measurement, despite: Collection[str]) -> None:
    where = f"{before.model} and {after.model}"
    if before.axes != after.axes:
        names = [", ".join(axis.name for axis in measurement.axes) for measurement in (before, after)]
        detail = f" ({names[0]}; {names[1]})" if names[0] != names[1] else ""
        mend = "Measure both with the same version of the task."
        raise ConfigError(f"the axes of {before.task!r} differ{detail}", where=where, mend=mend)
    found = [
        (name, one, other)
        for name, one, other in differences(before.settings, after.settings)
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in (ITEMS, *despite))
    ]
    if found:
        despite_them = " ".join(name for name, _, _ in found)
        told = "; ".join(f"{name} is {_brief(one)} and {_brief(other)}" for name, one, other in found)
        raise ConfigError(
            f"not the same {before.task!r}: {told}",
            where=where,
            mend=f"Measure both alike, or compare nevertheless with --despite {despite_them}.",
        )


def _by_id(measurement: Measurement) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for item in measurement.items:
        if item.id in found:
            mend = "Give every item an id of its own."
            raise DataError(f"item {item.id!r} of {measurement.task!r} occurs twice", path=measurement.model, mend=mend)
        found[item.id] = item
    return found


def _brief(value: object) -> str:
    text = "not set" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
