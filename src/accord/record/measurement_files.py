"""Measurements as files: one JSON file a task, in a directory of a model's measurements."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from accord.errors import DataError
from accord.record.measurement import Measurement

NAME = "measurement.json"


def measurement_path(directory: str | Path, task: str) -> Path:
    """Where a task's measurement stands in a directory of measurements."""
    return Path(directory) / (re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task") / NAME


def write_measurement(path: str | Path, measurement: Measurement) -> None:
    """Write a measurement. The file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(measurement)) + b"\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_measurement(path: str | Path) -> Measurement:
    """A measurement from its file.

    Raises:
        DataError: the file cannot be opened or is no measurement; names it.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Measurement)
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path=path) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is no measurement: {error}", path=path, mend="Write it with accord evaluate.") from error


def measurements_in(path: str | Path) -> list[Path]:
    """The measurements of a directory in the order of their names, or the one that is named itself.

    Raises:
        DataError: there are none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    found = sorted(path.rglob(NAME))
    if not found:
        raise DataError(
            f"holds no {NAME}", path=path, mend="Measure a model: accord evaluate --model M --suite S --out DIR."
        )
    return found
