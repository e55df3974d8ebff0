"""Time and memory of an optimiser step, Accord beside TRL, and both beside the machine's floor.

Every figure comes from a process of its own on one thread. The contenders of a cell take turns, so that what else the
machine does meets all of them; what is kept is the processor's time, not the clock's.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from benchmarks.agreement import in_training_order
from benchmarks.cells import Cell, Contender
from benchmarks.floor import forward_flops, peak_flops_per_second, step_flops
from benchmarks.measurement import Job, Seen, measure
from benchmarks.workload import Row, build_model, make_rows, write_rows


class Round(msgspec.Struct, frozen=True):
    """One turn of all contenders.

    Attributes:
        peak: operations a second of the machine's matrix products, the best of those just before each contender.
        seen: what each contender measured, by its name.
        flops: operations of the floor of an optimiser step, by contender: samples differ in length.
    """

    peak: float
    seen: dict[str, Seen]
    flops: dict[str, float]


class Record(msgspec.Struct, frozen=True):
    """All that was measured of a cell.

    Attributes:
        machine: where.
        cell: its model, objective, hyperparameters, shape and steps.
        rounds: of measurement.
        note: what a reader of these figures must know.
    """

    machine: str
    cell: dict[str, Any]
    rounds: list[Round]
    note: str = ""


Records = dict[str, Record]
"""By the cell's key."""


def read_records(path: Path) -> Records:
    """What was measured so far; nothing where there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=Records) if path.exists() else {}


def measure_cells(
    cells: Sequence[Cell], path: Path, work: Path, console: Console, *, rounds: int | None, resume: bool
) -> Records:
    """Measure cells and write the records after every round.

    Args:
        cells: what is measured.
        path: the file of records; cells that are not measured keep theirs.
        work: where models and runs are written.
        console: where progress is shown.
        rounds: how often each contender is run; default by cell.
        resume: whether rounds that the file has count.
    """
    records = read_records(path)
    for number, cell in enumerate(cells):
        wanted, known = rounds or cell.rounds, records.get(cell.key)
        if known is None or not resume:
            known = Record(_machine(), _described(cell), [])
        for round_ in range(len(known.rounds), wanted):
            console.print(f"{cell.key}: round {round_ + 1} of {wanted}")
            known.rounds.append(_round(cell, round_, work / f"{number}-{round_}"))
            records = read_records(path) | {cell.key: known}
            path.write_bytes(msgspec.json.format(msgspec.json.encode(records)) + b"\n")
    return records


def _round(cell: Cell, round_: int, work: Path) -> Round:
    work.mkdir()
    model = build_model(cell.model, work, ending=cell.shape.ending)
    rows = make_rows(cell.model, cell.shape, cell.steps * cell.shape.batch)
    ordered = rows if cell.shape.samples else in_training_order(rows, cell.steps, cell.shape.batch, seed=0)
    data = {
        "accord": write_rows(work / "accord.jsonl", rows),
        "trl": write_rows(work / "trl.jsonl", ordered),
    }
    peak = 0.0  # what the machine can, not what it could while it was disturbed
    seen: dict[str, Seen] = {}
    for place, contender in enumerate(cell.contenders if round_ % 2 == 0 else reversed(cell.contenders)):
        job = Job(
            library=contender.library,
            objective=cell.objective,
            hyper=dict(cell.hyper),
            model=str(model),
            data=str(data[contender.library]),
            directory=str(work / str(place)),
            steps=cell.steps,
            batch=cell.shape.batch,
            lr=1e-5,
            dtype=cell.dtype,
            seed=round_ if cell.shape.samples else 0,
            samples=cell.shape.samples,
            max_tokens=cell.shape.response if cell.shape.samples else 0,
            **_own(contender),
        )
        peak = max(peak, peak_flops_per_second(cell.dtype))
        seen[contender.name] = measure(job)
    return Round(peak, seen, {name: _flops(cell, ordered, one) for name, one in seen.items()})


def _own(contender: Contender) -> dict[str, Any]:
    return {name: value for name, value in asdict(contender).items() if name not in ("name", "library")}


def _flops(cell: Cell, ordered: Sequence[Row], seen: Seen) -> float:
    """Operations of the counted steps' floor, the median; of sampled answers by the mean of their lengths."""
    shape, batch = cell.shape, cell.shape.batch
    if shape.samples:
        mean = statistics.median(min(words, shape.response) for words in seen.sampled)
        return 3 * forward_flops(cell.model, [(shape.prompt, [mean] * shape.samples)] * batch)
    steps = [ordered[start : start + batch] for start in range(batch, len(ordered), batch)]
    return statistics.median(step_flops(cell.model, step) for step in steps)


def _described(cell: Cell) -> dict[str, Any]:
    return {
        "model": asdict(cell.model),
        "objective": cell.objective,
        "hyper": dict(cell.hyper),
        "shape": asdict(cell.shape),
        "dtype": cell.dtype,
        "steps": cell.steps,
    }


def _machine() -> str:
    return f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
