"""Groups as JSON Lines: one Group a line, UTF-8, written beside and renamed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from accord.errors import DataError
from accord.record.types import Group, Origin

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Group)


def group_to_json(group: Group) -> bytes:
    """One Group as one line of JSON, without the newline."""
    return _encoder.encode(group)


def group_from_json(line: bytes | str) -> Group:
    """The Group of one line; raises `msgspec.ValidationError`, which names the field, or `msgspec.DecodeError`."""
    return _decoder.decode(line)


def read_groups(path: str | Path) -> Iterator[Group]:
    """Read Groups that Accord wrote, one a line; blank lines are skipped.

    Raises:
        DataError: the file cannot be opened, or a line is not a Group; names file and line.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - the generator closes it below
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path=path) from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                group = group_from_json(line)
            except msgspec.DecodeError as error:
                raise DataError(f"not a Group: {error}", path=path, line=number) from error
            if group.origin is None:
                group = msgspec.structs.replace(group, origin=Origin(str(path), number))
            yield group


def write_groups(path: str | Path, groups: Iterable[Group]) -> int:
    """Write Groups one a line and return their number. The file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with open(beside, "wb") as file:
            for group in groups:
                file.write(group_to_json(group) + b"\n")
                count += 1
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return count
