"""The figures of the comparison as they come: a file for each objective, one training a line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from accord.errors import DataError
from accord.recipes.comparison_cells import Cell, StartCell
from accord.recipes.comparison_entries import ConditionName, Entry
from accord.recipes.comparison_start import Budget

STARTS = "starts.jsonl"

Kind = TypeVar("Kind", Cell, StartCell)


class Store:
    """Cells in a directory.

    Args:
        directory: where the files are.
        budget: cells of another budget are not seen.
    """

    def __init__(self, directory: Path, budget: Budget) -> None:
        self.directory, self.budget = directory, budget
        self.starts = {start.name: start for start in _read(directory / STARTS, StartCell)}
        self._cells: dict[tuple[str, str, int], Cell] = {}
        for path in sorted(directory.glob("*.jsonl")):
            if path.name != STARTS:
                self._cells |= {(cell.entry, cell.condition, cell.seed): cell for cell in _read(path, Cell)}

    def find(self, entry: Entry, condition: ConditionName, seed: int) -> Cell | None:
        """The cell, if it was trained with the settings of today."""
        cell = self._cells.get((entry.name, condition, seed))
        if cell is None or cell.budget != self.budget or cell.start not in self.starts:
            return None
        same = cell.hyperparameters == entry.hyperparameters and cell.learning_rate == entry.learning_rate
        return cell if same else None

    def seeds(self, entry: Entry, condition: ConditionName) -> list[Cell]:
        """All cells of an entry under a condition, by seed."""
        seeds = sorted({seed for _, _, seed in self._cells})
        return [cell for seed in seeds if (cell := self.find(entry, condition, seed)) is not None]

    def add_start(self, start: StartCell) -> None:
        """Keep a start."""
        self.starts[start.name] = start
        _write(self.directory / STARTS, [self.starts[name] for name in sorted(self.starts)])

    def add(self, cell: Cell) -> None:
        """Keep a cell, in the place of an older one."""
        self._cells[cell.entry, cell.condition, cell.seed] = cell
        objective = cell.entry.split()[0]
        kept = [one for key, one in sorted(self._cells.items()) if key[0].split()[0] == objective]
        _write(self.directory / f"{objective}.jsonl", kept)


def _read(path: Path, kind: type[Kind]) -> list[Kind]:
    if not path.exists():
        return []
    try:
        return [msgspec.json.decode(line, type=kind) for line in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"is damaged ({error})", path=path, mend="Delete it, and run the comparison again.") from error


def _write(path: Path, lines: Iterable[Cell] | Iterable[StartCell]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    os.replace(beside, path)
