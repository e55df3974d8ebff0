"""Put a task to a model: its items' numbers, what they amount to, by slice, and what degenerate models get."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import random
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
    asked = with_ids(task.items, task.name)
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


def with_ids(items: Sequence[Group], task: str) -> list[Group]:
    """Items with an id each: their own, or their place.

    Raises:
        DataError: two have the same.
    """
    named = [item if item.id else replace(item, id=str(place)) for place, item in enumerate(items)]
    seen: set[str] = set()
    for place, item in enumerate(named):
        if str(item.id) in seen:
            mend = "Ids pair the results of two models: give every item its own, or none."
            raise DataError(f"another item has the id {item.id!r}", path=f"task {task}, item {place}", mend=mend)
        seen.add(str(item.id))
    return named


def cluster_of(task: Task, item: Group) -> str:
    """What an item shares with others: the entry of its `meta` that the task names, or its own id."""
    own = str(item.id)
    return own if task.cluster is None else str(item.meta.get(task.cluster, own))


def subset(task: Task, most: int, *, seed: int = 0) -> Task:
    """A task with whole clusters of its items, drawn at random, together at most so many (one cluster at least).

    Items keep their order and ids, so that models are paired whatever part of a task each was measured on.

    Raises:
        ConfigError: not one item is asked for.
    """
    if most < 1:
        raise ConfigError("must be 1 or more", where="--limit")
    items = with_ids(task.items, task.name)
    clusters: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        clusters.setdefault(cluster_of(task, item), []).append(place)
    order = list(clusters)
    random.Random(f"subset:{seed}").shuffle(order)
    chosen: list[int] = []
    for name in order:
        if chosen and len(chosen) + len(clusters[name]) > most:
            break
        chosen += clusters[name]
    return dataclasses.replace(
        task, items=[items[place] for place in sorted(chosen)], settings={**task.settings, "subset seed": seed}
    )


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
            cluster=cluster_of(task, item),
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
