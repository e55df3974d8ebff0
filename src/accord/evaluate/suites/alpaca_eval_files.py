"""AlpacaEval's files: a baseline's outputs, and annotations, which are other models' comparisons with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from accord.data.rows import Row
from accord.errors import DataError
from accord.evaluate.length_control import instruction_difficulty
from accord.evaluate.suites.sources import files_of, rows_of
from accord.record.measurement import Measurement

PREFERENCE, DIFFERENCE = "win_rate", "shorter_by"
"""Columns of a measured item: probability that the judge prefers the model; characters that it is shorter by."""


@dataclass(frozen=True)
class Baseline:
    """What a model is compared with on one instruction.

    Attributes:
        instruction: what is asked.
        output: the baseline's answer.
        dataset: where the instruction comes from; may be empty.
        row: where it was read from.
    """

    instruction: str
    output: str
    dataset: str
    row: Row


@dataclass(frozen=True)
class Compared:
    """A model's comparison with a baseline on one instruction: the judge's preference, and the characters less."""

    preference: float
    difference: float


def read_baseline(data: str) -> list[Baseline]:
    """The baseline's outputs: instruction, output, perhaps dataset.

    Raises:
        DataError: a row cannot be used, or an instruction is there twice; names file and line.
    """
    found: dict[str, Baseline] = {}
    for row in rows_of(data):
        instruction = row.text("instruction")
        if instruction in found:
            raise row.error(f"the instruction of line {found[instruction].row.line} is there again")
        found[instruction] = Baseline(instruction, row.text("output"), row.optional_text("dataset"), row)
    return list(found.values())


def read_compared(path: Path) -> dict[str, Compared]:
    """A model's comparisons by instruction, from AlpacaEval's `annotations.json` or from a measurement of Accord's.

    A preference is 1 for output_1, the baseline, and 2 for output_2, the model; 0 and 1.5 are ties, null is unread.

    Raises:
        DataError: a row cannot be used, or the file is of several models; names file and line.
    """
    measured = _measurement(path)
    if measured is not None:
        return {
            item.prompt: Compared(preference, difference)
            for item in measured.items
            if (preference := item.values.get(PREFERENCE)) is not None
            and (difference := item.values.get(DIFFERENCE)) is not None
        }
    found: dict[str, Compared] = {}
    models = set()
    for row in rows_of(str(path)):
        models.add(row.optional_text("generator_2"))
        if len(models) > 1:
            raise row.error(f"has comparisons of {' and '.join(sorted(models))}", "Give each model a file of its own.")
        preference = row.number("preference")
        if preference is None:
            continue
        if not (1 <= preference <= 2 or preference == 0):
            raise row.error(f"`preference` is {preference:g}, 1 to 2 is expected")
        difference = len(row.text("output_1")) - len(row.text("output_2"))
        found[row.text("instruction")] = Compared(0.5 if preference == 0 else preference - 1, float(difference))
    return found


def read_all(source: str) -> list[dict[str, Compared]]:
    """The comparisons of several models: a file each, of a directory or of one file."""
    return [read_compared(path) for path in files_of(source, (".json", ".jsonl"))]


def fitted_difficulty(models: Sequence[dict[str, Compared]], instructions: Sequence[str]) -> dict[str, float]:
    """The difficulty of each instruction that two models or more were compared on.

    Raises:
        DataError: there are fewer than two models.
    """
    known = [name for name in instructions if sum(name in model for model in models) > 1]
    if len(models) < 2 or not known:
        mend = "Give the comparisons of two other models or more on these instructions, a file each."
        raise DataError("the difficulty of instructions cannot be fitted", mend=mend)
    preference = np.asarray(
        [[model[name].preference if name in model else np.nan for name in known] for model in models]
    )
    difference = np.asarray([[model[name].difference if name in model else 0.0 for name in known] for model in models])
    return dict(zip(known, instruction_difficulty(preference, difference).tolist(), strict=True))


def _measurement(path: Path) -> Measurement | None:
    """A file of Accord's own, if it is one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Measurement)
    except (OSError, msgspec.DecodeError):
        return None
