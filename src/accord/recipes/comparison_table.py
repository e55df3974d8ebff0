"""The comparison as a table: all seeds of an objective together, with intervals, from the cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import msgspec

from accord.evaluate.statistics import compare, paired_difference
from accord.recipes.comparison_cells import AXES, Cell
from accord.recipes.comparison_entries import CONDITIONS, LEFT_OUT, ConditionName, Entry, entries
from accord.recipes.comparison_store import Store
from accord.record import Comparison, Estimate
from accord.world.oracle import DESCRIPTIONS, HIGHER_IS_BETTER, UNITS

BESIDE = "dpo"
"""The objective that the others are compared with under each annotator."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry under one annotator, all seeds together.

    Attributes:
        seeds: which.
        comparisons: the start against the trained model: `gold`, `over-refusal` and `words` of its answers, or the
            `accuracy` of a reward model.
        by_seed: the difference in gold (or accuracy) of each seed alone.
        beside: the differences in `gold` and `words` to `dpo` on the same seeds, prompt by prompt.
        kl: nats a response away from the start; `None` for a reward model.
        seconds: of processor time, a seed.
        memory: MiB that training added, a seed.
    """

    seeds: tuple[int, ...]
    comparisons: dict[str, Comparison]
    by_seed: tuple[float, ...]
    beside: dict[str, Estimate] = {}
    kl: float | None = None
    seconds: float
    memory: float

    @property
    def main(self) -> Comparison:
        """What the verdict is about."""
        return self.comparisons["gold" if "gold" in self.comparisons else "accuracy"]


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry.

    Attributes:
        entry: the objective and its flags.
        objective: its name.
        learning_rate: peak learning rate.
        hyperparameters: its own.
        results: by annotator.
        failure: why there are no figures, or fewer.
    """

    entry: str
    objective: str
    learning_rate: float
    hyperparameters: dict[str, Any]
    results: dict[ConditionName, Result] = {}
    failure: str | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A whole comparison.

    Attributes:
        budget: how much of everything.
        annotators: by condition.
        pairs: by condition, preferences that each training saw, a seed.
        starts: by condition, the fine-tuned models' figures, by axis.
        rows: one an entry.
        left_out: objectives that are not in it, and why.
    """

    budget: dict[str, Any]
    annotators: dict[ConditionName, dict[str, Any]]
    pairs: dict[ConditionName, int]
    starts: dict[ConditionName, dict[str, Estimate]]
    rows: tuple[Row, ...]
    left_out: dict[str, str]


def assemble(store: Store, failures: dict[str, str]) -> Table:
    """The table of all cells that are there."""
    found = {entry.name: _row(store, entry, failures.get(entry.name)) for entry in entries()}
    rows = tuple(row for row in found.values() if row.results or row.failure)
    longest = {condition: _longest(rows, condition) for condition in CONDITIONS}
    return Table(
        budget=msgspec.to_builtins(store.budget),
        annotators={condition: msgspec.to_builtins(annotator) for condition, annotator in CONDITIONS.items()},
        pairs={
            condition: round(fmean(cell.pairs for cell in store.seeds(Entry(row.objective), condition)))
            for condition, row in longest.items()
            if row is not None
        },
        starts={
            condition: {axis: one.before for axis, one in row.results[condition].comparisons.items()}
            for condition, row in longest.items()
            if row is not None
        },
        rows=rows,
        left_out=dict(LEFT_OUT),
    )


def _longest(rows: Sequence[Row], condition: ConditionName) -> Row | None:
    """A policy at its defaults with the most seeds under an annotator: it has seen every start."""
    there = [
        row
        for row in rows
        if row.entry == row.objective and condition in row.results and "gold" in row.results[condition].comparisons
    ]
    return max(there, key=lambda row: len(row.results[condition].seeds), default=None)


def _row(store: Store, entry: Entry, failure: str | None) -> Row:
    results = {}
    for condition in entry.conditions:
        cells = store.seeds(entry, condition)
        if cells:
            results[condition] = _result(store, entry, condition, cells)
    return Row(
        entry=entry.name,
        objective=entry.objective,
        learning_rate=entry.learning_rate,
        hyperparameters=entry.hyperparameters,
        results=results,
        failure=failure,
    )


def _result(store: Store, entry: Entry, condition: ConditionName, cells: Sequence[Cell]) -> Result:
    comparisons = {axis: _comparison(store, cells, axis) for axis in cells[0].values}
    main = "gold" if "gold" in comparisons else "accuracy"
    by_seed = []
    for cell in cells:
        one = _before_and_after(store, [cell], main)
        by_seed.append(fmean(one.after) - fmean(one.before))
    return Result(
        seeds=tuple(cell.seed for cell in cells),
        comparisons=comparisons,
        by_seed=tuple(by_seed),
        beside=_beside(store, entry, condition, cells),
        kl=None if main == "accuracy" else fmean(cell.kl or 0.0 for cell in cells),
        seconds=fmean(cell.seconds for cell in cells),
        memory=fmean(cell.memory for cell in cells),
    )


@dataclass(frozen=True)
class _Items:
    """Numbers before and after training, and what each is about: the same prompt under several seeds is one cluster."""

    before: list[float]
    after: list[float]
    clusters: list[int]


def _before_and_after(store: Store, cells: Sequence[Cell], axis: str) -> _Items:
    items = _Items([], [], [])
    for cell in cells:
        start = store.starts[cell.start]
        # A reward model's untrained head gives every response 0, and ranks no pair.
        items.before.extend(start.values.get(axis, [0.5] * len(cell.values[axis])))
        items.after.extend(cell.values[axis])
        items.clusters.extend(cell.clusters or start.clusters[axis])
    return items


def _comparison(store: Store, cells: Sequence[Cell], axis: str) -> Comparison:
    items = _before_and_after(store, cells, axis)
    known = axis in AXES
    return compare(
        axis,
        items.before,
        items.after,
        clusters=items.clusters,
        higher_is_better=HIGHER_IS_BETTER[axis] if known else True,
        unit=UNITS.get(axis, "share"),
        description=DESCRIPTIONS[axis] if known else "Held-out pairs that it ranks as the oracle does.",
    )


def _beside(store: Store, entry: Entry, condition: ConditionName, cells: Sequence[Cell]) -> dict[str, Estimate]:
    other = {cell.seed: cell for cell in store.seeds(Entry(BESIDE), condition)}
    both = [cell for cell in cells if cell.seed in other and cell.start == other[cell.seed].start]
    if not both or entry.learns_rewards or entry.name == BESIDE:
        return {}
    differences = {}
    for axis in ("gold", "words"):
        theirs = _before_and_after(store, [other[cell.seed] for cell in both], axis)
        ours = _before_and_after(store, both, axis)
        differences[axis] = paired_difference(theirs.after, ours.after, ours.clusters)
    return differences
