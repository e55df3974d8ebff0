"""`benchmarks/RESULTS.md` from the records: tables, aims, and the command behind each table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.cells import ACCORD, CELLS, Cell
from benchmarks.lines import Line, lines_of
from benchmarks.speed import Record, Records

PAIR_HEADER = (
    "model, prompt:response",
    "library",
    "s / step",
    "x Accord (spread)",
    "x floor",
    "whole run",
    "net MiB",
    "Accord's share",
    "aims",
)
GROUP_HEADER = (
    "model, prompt:response",
    "library",
    "s / step",
    "sampling + update",
    "step, x Accord (spread)",
    "update, x Accord (spread)",
    "update, x floor",
    "net MiB",
    "Accord's share",
    "aims",
)
HEAD = """# Speed and memory, Accord beside TRL

Written by `python -m benchmarks page` from `results/`; `make bench` measures the small models again
(minutes), `make bench-all` everything (hours). Measure a part by its name, and go on where a run ended, by

    .venv-bench/bin/python -m benchmarks speed --cell "M32 dpo 512:128" --resume

**How.** The same model with random weights, rows, order, batch, precision (float32 unless a row says bf16),
optimiser (AdamW, gradients clipped) and learning rate on one thread of a CPU, through `accord train`'s own
calls and TRL's trainers. Every figure comes from a process of its own; contenders take turns. Seconds are the
processor's, so that waiting does not count; still the machine was shared, and what else ran took caches and
memory bandwidth. That only adds time: of several turns each contender's fastest counts, and the spread shows the
smallest and largest ratio within a turn (one figure where there was one turn; it may be a tenth off). The first
step of a process warms up and is not counted; of the others the median is. No GPU was measured.

**Who.** *Reference in every step* is TRL's default. *Reference ahead* computes it once before training, with
all rows of the batch at once or one by one with gradient accumulation; the faster of the two is **TRL at its
best**, set in bold. *Label rows only* is the same with TRL told to do what it does on a GPU: only trained
positions meet the output head. It predicts what is left of the difference where TRL has its kernels. TRL
never checkpoints activations here, which would cost it time. Accord runs with its default settings; the
reference is computed before training and is not in its steps, but in the *whole run*: from reading the data
to the last step (a few steps, so what happens once weighs more than in a real run).

**The floor** is the time that the matrix products of a step take at this machine's best rate, with each
distinct token once forward and twice backward and each trained token three times through the head. The rate
is that of a 1024 x 1024 product by PyTorch's library or oneDNN, whichever is faster, measured before each contender
of each turn; the best of those counts.
It counts all layers for all tokens; Accord leaves out what the last layer makes of tokens that nobody asks for,
such as a prompt's.

**Memory** is the highest resident size less what the imports took; the weights count.

**Models.** {models}
"""
TAIL = """## Beside these

* [Losses](results/losses.md): every loss that both libraries have, on random batches, with its gradient
  (`python -m benchmarks losses`).
* [Agreement](results/agreement.md): 20 steps of training through both, step by step (`python -m benchmarks agreement`).
* [Architectures](../docs/architectures.md): which way through each causal model is exact
  (`python -m benchmarks.architectures`).
"""
ALONE: tuple[tuple[str, str, str], ...] = (
    (
        "breakdown",
        "Where the time goes",
        "A step of Accord by what it computes: matrix products with weights, attention between tokens, clipping with "
        "AdamW, and everything else (norms, rotary positions, the softmax of the head, sums, Python).",
    ),
    (
        "engine",
        "The log-prob engine alone",
        "Log-probs and their gradients without an optimiser: prompts shared by their responses beside a padded row for "
        "each. Memory (shared / padded) is net of the weights and their gradients.",
    ),
    (
        "sampler",
        "The sampler alone",
        "Beside transformers' `generate`; the gap is between the sampler's log-probs and the trainer's.",
    ),
)


def pair_cells(cell: Cell, line: Line) -> tuple[str, ...]:
    """A line of the table of pairs, as text."""
    return (
        f"{cell.model.name} {cell.objective}, {cell.shape}{'' if cell.dtype == 'fp32' else f', {cell.dtype}'}",
        _name(line),
        f"{line.step:.2f}",
        "1" if line.name == ACCORD.name else str(line.ratio),
        f"{line.floors:.2f}",
        f"{line.whole:.2f}",
        f"{line.memory:.0f}",
        f"{line.share:.2f}",
        "; ".join(map(str, line.aims)),
    )


def group_cells(cell: Cell, line: Line) -> tuple[str, ...]:
    """A line of the table of groups, as text."""
    ours = line.name == ACCORD.name
    return (
        f"{cell.model.name}, {cell.shape}",
        _name(line),
        f"{line.step:.2f}",
        f"{line.sampling:.2f} + {line.step - line.sampling:.2f}",
        "1" if ours else str(line.ratio),
        "1" if ours else str(line.update),
        f"{line.floors:.2f}",
        f"{line.memory:.0f}",
        f"{line.share:.2f}",
        "; ".join(map(str, line.aims)),
    )


SECTIONS = (
    ("Pairs", 'speed --cell "M32 dpo" --cell "M151 dpo"', False, False, PAIR_HEADER, pair_cells),
    ("Groups of eight", 'speed --cell "M32 grpo" --cell "M151 grpo"', False, True, GROUP_HEADER, group_cells),
    ("A small model: pairs, demonstrations", "speed", True, False, PAIR_HEADER, pair_cells),
    ("A small model: a group of eight", "speed", True, True, GROUP_HEADER, group_cells),
)
"""Title and command of each table, whether it is of the small model and of sampled answers, its columns and lines."""


def render(records: Records, results: Path) -> str:
    """The page.

    Args:
        records: of cells.
        results: the directory where the outputs of the other benchmarks lie.
    """
    measured = [(cell, lines_of(cell, records[cell.key])) for cell in CELLS if cell.key in records]
    specs = {cell.model.name: cell.model for cell, _ in measured}
    models = "; ".join(
        f"{spec.name} is a {spec.family} of {spec.layers} layers, {spec.hidden} wide, {spec.vocabulary:,} words"
        for spec in specs.values()
    )
    machines = sorted({record.machine for record in records.values()})
    versions = {name: version for record in records.values() for name, version in _versions(record).items()}
    parts = [
        HEAD.format(models=f"{models}. {'; '.join(machines)}; {', '.join(f'{k} {v}' for k, v in versions.items())}."),
        _aims_section(measured),
    ]
    for title, command, small, sampled, header, cells in SECTIONS:
        rows = [
            cells(cell, line)
            for cell, lines in measured
            if (cell.small, bool(cell.shape.samples)) == (small, sampled)
            for line in lines
        ]
        if rows:
            parts.append(f"## {title}\n\n`.venv-bench/bin/python -m benchmarks {command}`\n\n{table(header, rows)}\n")
    notes = [f"* {cell.key}: {records[cell.key].note}" for cell, _ in measured if records[cell.key].note]
    parts.append("\n".join(["**Notes.**\n", *notes, ""]) if notes else "")
    missing = [f"`{cell.key}`" for cell in CELLS if cell.key not in records]
    parts.append(f"**Not measured.** {', '.join(missing)}.\n" if missing else "")
    parts += [_alone(results / f"{name}.txt", name, title, caption) for name, title, caption in ALONE]
    return "\n".join([*(part for part in parts if part), TAIL])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def _aims_section(measured: Sequence[tuple[Cell, list[Line]]]) -> str:
    """How many aims are met, and where those stand that are not."""
    found = [(cell, line, aim) for cell, lines in measured for line in lines for aim in line.aims]
    missed = [f"{cell.key}, {line.name}: {aim.text}" for cell, line, aim in found if not aim.met]
    met = f"**Aims.** {len(found) - len(missed)} of {len(found)} are met"
    return met + (".\n" if not missed else "; not met are:\n\n" + "\n".join(f"* {one}" for one in missed) + "\n")


def _alone(path: Path, name: str, title: str, caption: str) -> str:
    """The last table that a benchmark printed."""
    if not path.exists():
        return ""
    printed = path.read_text(encoding="utf-8").rstrip()
    last = printed[printed.rindex("CPU seconds") :]
    text = "\n".join(line.rstrip() for line in last.splitlines())
    command = f"python -m benchmarks.{name} > benchmarks/results/{name}.txt"
    return f"## {title}\n\n`{command}`\n\n{caption}\n\n```text\n{text}\n```\n"


def _name(line: Line) -> str:
    return f"**{line.name}**" if line.best else line.name


def _versions(record: Record) -> Mapping[str, str]:
    return {
        name: version
        for round_ in record.rounds
        for seen in round_.seen.values()
        for name, version in seen.versions.items()
    }
