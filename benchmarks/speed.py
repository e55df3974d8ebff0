"""Time and memory of an optimiser step, Accord beside TRL, and both beside the machine's floor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.agreement import in_training_order
from benchmarks.floor import peak_flops_per_second, step_flops
from benchmarks.measurement import Job, Library, Seen, measure
from benchmarks.workload import ModelSpec, Row, Shape, build_model, make_rows, write_rows

MODEL = ModelSpec("llama-small", "llama", hidden=256, layers=4, intermediate=704, heads=4, kv_heads=4, vocabulary=16384)
STEPS = 3  # the first of them warms up and is not counted


@dataclass(frozen=True)
class Contender:
    """A library with a way to run it."""

    name: str
    library: Library
    precompute: bool = False


ACCORD = Contender("accord", "accord")
TRL = Contender("trl", "trl")
TRL_PRECOMPUTED = Contender("trl, precomputed", "trl", precompute=True)

CASES: tuple[tuple[str, dict[str, Any], Shape, tuple[Contender, ...]], ...] = (
    ("dpo", {"beta": 0.1}, Shape("pairs", prompt=256, response=64, batch=4), (ACCORD, TRL, TRL_PRECOMPUTED)),
    ("dpo", {"beta": 0.1}, Shape("pairs", prompt=64, response=128, batch=4), (ACCORD, TRL, TRL_PRECOMPUTED)),
    (
        "dpo",
        {"beta": 0.1},
        Shape("pairs", prompt=128, response=64, batch=4, spread=0.6),
        (ACCORD, TRL, TRL_PRECOMPUTED),
    ),
    ("sft", {}, Shape("demonstrations", prompt=128, response=128, batch=8), (ACCORD, TRL)),
)


def compare(work: Path, console: Console, *, rounds: int) -> list[dict[str, Any]]:
    """Measure every contender on every case, alternating, `rounds` times each; print the table, return its lines."""
    model = build_model(MODEL, work)
    peak = peak_flops_per_second()
    console.print(f"{MODEL.name}: one thread, float32, matrix products at {peak / 1e9:.0f} GFLOP/s")
    lines = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=rounds * sum(len(case[3]) for case in CASES))
        for number, (objective, hyper, shape, contenders) in enumerate(CASES):
            rows = make_rows(MODEL, shape, STEPS * shape.batch)
            ordered = in_training_order(rows, STEPS, shape.batch, seed=0)
            data = {
                "accord": write_rows(work / f"{number}-accord.jsonl", rows),
                "trl": write_rows(work / f"{number}-trl.jsonl", ordered),
            }
            seen: dict[str, list[Seen]] = {contender.name: [] for contender in contenders}
            for round_ in range(rounds):
                for contender in contenders if round_ % 2 == 0 else reversed(contenders):
                    job = Job(
                        library=contender.library,
                        objective=objective,
                        hyper=hyper,
                        model=str(model),
                        data=str(data[contender.library]),
                        directory=str(
                            work / f"{number}-{round_}-{contender.name.replace(', ', '-').replace(' ', '-')}"
                        ),
                        steps=STEPS,
                        batch=shape.batch,
                        lr=1e-5,
                        precompute=contender.precompute,
                    )
                    seen[contender.name].append(measure(job))
                    progress.advance(task)
            floor = _floor(ordered, shape.batch) / peak
            lines += [_line(objective, shape, contender.name, seen, floor) for contender in contenders]
    console.print(_table(lines))
    return lines


def _floor(ordered: Sequence[Row], batch: int) -> float:
    """Median operations of the counted steps."""
    steps = [ordered[start : start + batch] for start in range(batch, len(ordered), batch)]
    return statistics.median(step_flops(MODEL, step) for step in steps)


def _line(objective: str, shape: Shape, name: str, seen: dict[str, list[Seen]], floor: float) -> dict[str, Any]:
    own, accord = seen[name], seen[ACCORD.name]
    # Paired by round: both ran within the same minute.
    ratios = [_step(theirs) / _step(ours) for theirs, ours in zip(own, accord, strict=True)]
    totals = [theirs.total_cpu / ours.total_cpu for theirs, ours in zip(own, accord, strict=True)]
    memory = statistics.median(one.peak for one in own)
    return {
        "objective": objective,
        "shape": str(shape),
        "lengths": asdict(shape),
        "contender": name,
        "seconds": statistics.median(_step(one) for one in own),
        "wall_seconds": statistics.median(statistics.median(one.wall) for one in own),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "total_seconds": statistics.median(one.total_cpu for one in own),
        "total_ratio": statistics.median(totals),
        "floor_seconds": floor,
        "memory_mib": memory,
        "memory_share": statistics.median(one.peak for one in accord) / memory,
        "rounds": len(own),
        "versions": own[0].versions,
    }


def _step(seen: Seen) -> float:
    return statistics.median(seen.cpu)


def _table(lines: Sequence[dict[str, Any]]) -> Table:
    table = Table(*HEADER, caption=CAPTION)
    for line in lines:
        table.add_row(*cells(line), style="bold" if line["contender"] == ACCORD.name else "", end_section=False)
    return table


HEADER = (
    "objective",
    "prompt:response x batch",
    "library",
    "s / step",
    "x Accord (spread)",
    "x floor",
    "s, whole run",
    "x Accord",
    "peak MiB",
)
CAPTION = (
    f"Processor seconds, median of {STEPS - 1} steps and all rounds; ratios are paired by round, with the smallest and "
    f"largest. 'Whole run' is everything from reading the data to the end of {STEPS} steps. Peak memory is "
    "net of imports."
)


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table, as text."""
    ours = line["contender"] == ACCORD.name
    return (
        line["objective"],
        line["shape"],
        line["contender"],
        f"{line['seconds']:.2f}",
        "1" if ours else f"{line['ratio']:.2f} ({line['ratio_low']:.2f}-{line['ratio_high']:.2f})",
        f"{line['seconds'] / line['floor_seconds']:.1f}",
        f"{line['total_seconds']:.1f}",
        "1" if ours else f"{line['total_ratio']:.2f}",
        f"{line['memory_mib']:.0f}",
    )
