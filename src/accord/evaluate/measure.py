"""Put a task to a model: its items' numbers, what they amount to, by slice, and what degenerate models get."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from msgspec.structs import replace

from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate.ask import name_of
from accord.evaluate.subject import Subject
from accord.evaluate.summary import summarise
from accord.evaluate.task import Task, Values
from accord.record import Estimate, Group, group_to_json
from accord.record.measurement import Item, Measurement


def measure(task: Task, subject: Subject) -> Measurement:
    """Measure a model on a task.

    Raises:
        ConfigError: the model lacks an ability that the task needs; no item has a column that an axis is made from.
        DataError: two items have the same id, or asking or scoring loses items.
        NumericsError: an item's number is not finite; names the item.
    """
    asked = _with_ids(task)
    items = _measured(task, subject, asked)
    estimates = _estimates(task, items)
    if not estimates:
        names = ", ".join(one.name for one in task.axes)
        mend = "The names that the scorer returns are the columns; an axis is made from those it names."
        raise ConfigError(f"no item has the columns of any axis ({names})", where=f"task {task.name}", mend=mend)
    controls = {control.name: _estimates(task, _measured(task, control, asked)) for control in task.controls}
    return Measurement(
        task=task.name,
        model=subject.name,
        identity=subject.identity,
        axes=tuple(task.axes),
        estimates=estimates,
        items=tuple(items),
        slices=_by_slice(task, items),
        controls=controls,
        settings={**task.settings, "items": _digest(asked)},
        notes=tuple(task.notes),
    )


def _with_ids(task: Task) -> list[Group]:
    """The items with an id each: their own, or their place."""
    items = [item if item.id else replace(item, id=str(place)) for place, item in enumerate(task.items)]
    seen: set[str] = set()
    for place, item in enumerate(items):
        if str(item.id) in seen:
            mend = "Ids pair the results of two models: give every item its own, or none."
            raise DataError(f"another item has the id {item.id!r}", path=f"task {task.name}, item {place}", mend=mend)
        seen.add(str(item.id))
    return items


def _measured(task: Task, subject: Subject, asked: Sequence[Group]) -> list[Item]:
    """The items with a model's numbers."""
    answered = task.ask(subject, asked)
    if [item.id for item in answered] != [item.id for item in asked]:
        raise DataError("asking changed the items or their order", path=f"task {task.name}")
    scored = task.score(answered)
    if len(scored) != len(answered):
        raise DataError(f"{len(answered)} items got {len(scored)} rows of numbers", path=f"task {task.name}")
    return [
        Item(
            id=str(item.id),
            values=_numbers(values, item, place),
            cluster=str(item.meta.get(task.cluster, item.id)) if task.cluster is not None else str(item.id),
            slices={name: str(item.meta[name]) for name in task.slices if item.meta.get(name) is not None},
            prompt=item.prompt_text(),
            answers=tuple(response.text for response in item.responses),
        )
        for place, (item, values) in enumerate(zip(answered, scored, strict=True))
    ]


def _numbers(values: Values, item: Group, place: int) -> dict[str, float | None]:
    """An item's values as plain numbers."""
    numbers = {name: None if value is None else float(value) for name, value in values.items()}
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            mend = "Return None where a number does not apply."
            raise NumericsError(f"its {name!r} is {number}", where=name_of(item, place), mend=mend)
    return numbers


def _estimates(task: Task, items: Sequence[Item]) -> dict[str, Estimate]:
    found = {one.name: summarise(one, items) for one in task.axes}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _by_slice(task: Task, items: Sequence[Item]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """The axes by each slice and value, in the order in which they first occur."""
    slices: dict[str, dict[str, dict[str, Estimate]]] = {}
    for name in task.slices:
        values = dict.fromkeys(item.slices[name] for item in items if name in item.slices)
        if len(values) > 1:
            slices[name] = {
                value: _estimates(task, [item for item in items if item.slices.get(name) == value]) for value in values
            }
    return slices


def _digest(items: Sequence[Group]) -> str:
    """What was asked, by content, wherever it was read from."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(group_to_json(replace(item, origin=None)) + b"\n")
    return digest.hexdigest()
