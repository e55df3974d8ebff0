"""`python -m benchmarks`: does Accord compute what TRL computes, and how fast? Writes `benchmarks/results/`."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from benchmarks import agreement, losses, page, policy_gradients, speed
from benchmarks.cells import CELLS, Cell

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", nargs="?", choices=["all", "losses", "agreement", "speed", "page"], default="all")
    parser.add_argument("--all", action="store_true", help="measure every model and shape, not the small model alone")
    parser.add_argument(
        "--cell", action="append", default=[], help="measure what has this in its name; can be repeated"
    )
    parser.add_argument("--rounds", type=int, help="how often each contender is measured")
    parser.add_argument("--resume", action="store_true", help="keep what was measured, and measure what is missing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where tables are written")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    arguments.results.mkdir(parents=True, exist_ok=True)
    agrees = True
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        work = Path(directory)
        if arguments.which in ("all", "losses"):
            lines = [*losses.compare(console), *policy_gradients.compare(console)]
            agrees = all(line["agrees"] for line in lines)
            caption = f"{losses.CAPTION}\n{policy_gradients.CAPTION}"
            _write(arguments.results / "losses", losses.HEADER, caption, losses.cells, lines)
        if arguments.which in ("all", "agreement"):
            lines = agreement.compare(work, console)
            agrees = agrees and all(line["agrees"] for line in lines)
            _write(arguments.results / "agreement", agreement.HEADER, agreement.CAPTION, agreement.cells, lines)
        records = arguments.results / "speed.json"
        if arguments.which in ("all", "speed"):
            cells = _chosen(arguments.cell, everything=arguments.all)
            speed.measure_cells(cells, records, work, console, rounds=arguments.rounds, resume=arguments.resume)
        if arguments.which in ("all", "speed", "page"):
            text = page.render(speed.read_records(records), arguments.results)
            (arguments.results.parent / "RESULTS.md").write_text(text, encoding="utf-8")
    console.print(f"written to {arguments.results.parent}")
    if not agrees:
        console.print("[red]a loss differs by more than its tolerance[/]")
    return 0 if agrees else 1


def _chosen(names: Sequence[str], *, everything: bool) -> list[Cell]:
    """The cells whose key has one of the names in it; without names all, or those of the small model."""
    if names:
        return [cell for cell in CELLS if any(name in cell.key for name in names)]
    return [cell for cell in CELLS if cell.small or everything]


def _write(path: Path, header: Sequence[str], caption: str, cells: Any, lines: list[dict[str, Any]]) -> None:
    """The lines as JSON with the machine, and as a Markdown table."""
    document = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "lines": lines,
    }
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    text = page.table(header, map(cells, lines))
    path.with_suffix(".md").write_text(f"{text}\n\n{caption}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
