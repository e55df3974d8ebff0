"""The same training through both libraries gives the same loss, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from accord.train.plan import plan_steps
from benchmarks.measurement import Job, Library, measure
from benchmarks.workload import ModelSpec, Row, Shape, build_model, make_rows, write_rows

TOLERANCE = 1e-4
LIBRARIES: tuple[Library, ...] = ("accord", "trl")
STEPS = 20
EPOCHS = 4  # rows come back, so that what the updates did shows in the losses
MODELS = (
    ModelSpec("llama-tiny", "llama", hidden=64, layers=2, intermediate=128, heads=4, kv_heads=4, vocabulary=503),
    ModelSpec("qwen3-tiny", "qwen3", hidden=64, layers=2, intermediate=128, heads=4, kv_heads=2, vocabulary=503),
)
PAIRS = Shape("pairs", prompt=24, response=16, batch=4, spread=0.5)
DEMONSTRATIONS = Shape("demonstrations", prompt=24, response=16, batch=8, spread=0.5)
CASES: tuple[tuple[str, dict[str, Any], Shape], ...] = (
    ("sft", {}, DEMONSTRATIONS),
    ("dpo", {"beta": 0.1}, PAIRS),
    ("ipo", {"tau": 0.1}, PAIRS),
    ("simpo", {"beta": 2.0, "gamma": 0.5}, PAIRS),
)
HEADER = ("objective", "model", "loss, first step", "loss, last step", "largest difference", "agrees")
CAPTION = (
    f"{STEPS} steps ({EPOCHS} epochs) over the same rows in the same order, float32; agreement is a difference of at "
    f"most {TOLERANCE:g} at every step."
)


def in_training_order(rows: list[Row], steps: int, batch: int, seed: int) -> list[Row]:
    """The rows as Accord will meet them, for a library that reads them in the order of the file."""
    planned = plan_steps([1] * len(rows), seed=seed, epochs=1.0, steps=steps, tokens_per_step=1, batch_size=batch)
    return [rows[index] for step in planned for index in step]


def compare(work: Path, console: Console) -> list[dict[str, Any]]:
    """Train every case on every model through both, print the table, and return its lines."""
    table = Table(*HEADER, caption=CAPTION)
    lines = []
    cases = [(spec, case) for spec in MODELS for case in CASES]
    for spec, (objective, hyper, shape) in track(cases, "comparing losses", console=console, transient=True):
        model = build_model(spec, work)
        rows = make_rows(spec, shape, STEPS // EPOCHS * shape.batch)
        data = {
            "accord": write_rows(work / "accord.jsonl", rows),
            "trl": write_rows(work / "trl.jsonl", in_training_order(rows, STEPS, shape.batch, seed=0)),
        }
        losses = {}
        for library in LIBRARIES:
            job = Job(
                library=library,
                objective=objective,
                hyper=hyper,
                model=str(model),
                data=str(data[library]),
                directory=str(work / f"{spec.name}-{objective}-{library}"),
                steps=STEPS,
                batch=shape.batch,
                lr=1e-3,
            )
            losses[library] = measure(job).losses
        line = _line(objective, spec.name, losses["accord"], losses["trl"])
        lines.append(line)
        table.add_row(*cells(line), style="" if line["agrees"] else "red")
    console.print(table)
    return lines


def _line(objective: str, model: str, accord: list[float], trl: list[float]) -> dict[str, Any]:
    difference = max(abs(a - b) for a, b in zip(accord, trl, strict=True))
    return {
        "objective": objective,
        "model": model,
        "steps": len(accord),
        "first": accord[0],
        "last": accord[-1],
        "difference": difference,
        "agrees": difference <= TOLERANCE,
        "accord": accord,
        "trl": trl,
    }


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table, as text."""
    return (
        line["objective"],
        line["model"],
        f"{line['first']:.6f}",
        f"{line['last']:.6f}",
        f"{line['difference']:.1e}",
        "yes" if line["agrees"] else "no",
    )
