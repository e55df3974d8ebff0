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

from benchmarks import agreement, losses, policy_gradients, speed

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", nargs="?", choices=["all", "losses", "agreement", "speed"], default="all")
    parser.add_argument("--rounds", type=int, default=2, help="how often each contender is measured")
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
        if arguments.which in ("all", "speed"):
            lines = speed.compare(work, console, rounds=arguments.rounds)
            _write(arguments.results / "speed", speed.HEADER, speed.CAPTION, speed.cells, lines)
    console.print(f"written to {arguments.results}")
    if not agrees:
        console.print("[red]a loss differs by more than its tolerance[/]")
    return 0 if agrees else 1


def _write(path: Path, header: Sequence[str], caption: str, cells: Any, lines: list[dict[str, Any]]) -> None:
    """The lines as JSON with the machine, and as a Markdown table."""
    document = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "lines": lines,
    }
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    rows = [header, ["---"] * len(header), *(cells(line) for line in lines)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    path.with_suffix(".md").write_text(f"{table}\n\n{caption}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
