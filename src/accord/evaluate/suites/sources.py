"""Where a suite's data are: what the user names, `$ACCORD_DATA`, or the local cache of a public data set."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from accord.data.files import is_data_file
from accord.data.rows import Row
from accord.data.sources import tables_of
from accord.errors import ConfigError, DataError

HOME = "ACCORD_DATA"
"""Variable of the environment that names a directory of suites' data."""


def located(
    name: str, data: str | None, *, hub: str, reads: str, files: Collection[str] = (), others: Collection[str] = ()
) -> str:
    """The file or directory of a suite's data, or the id of a public data set.

    A directory, the user's or `$ACCORD_DATA`, may hold the data of several suites: an entry that is named like the
    suite (`hhh.jsonl`, `hhh/`) is then the suite's.

    Args:
        name: the suite.
        data: what the user names.
        hub: id of its public data set, loaded from the local cache if nothing else is there.
        reads: its format, for the message.
        files: other names that an entry with its data may have.
        others: suites whose data a directory may hold as well.

    Raises:
        ConfigError: there is nothing to read.
    """
    names = (name, *files)
    if data is not None:
        found = _entry(Path(data), names)
        beside = [other for other in others if _entry(Path(data), [other])]
        if found is None and beside:
            mend = f"It has those of {', '.join(beside)}: add {name}, or name the file. It reads: {reads}."
            raise ConfigError(f"{data} holds no data of the suite {name!r}", where="--data", mend=mend)
        return found or data
    home = os.environ.get(HOME)
    found = _entry(Path(home), names) if home else None
    if found is None and not hub:
        mend = f"Give --data PATH, or put it into ${HOME}/{name}. It reads: {reads}."
        raise ConfigError(f"the suite {name!r} has no data", where="--data", mend=mend)
    return found or hub


def rows_of(source: str, *, split: str = "test") -> Iterator[Row]:
    """The rows of a file, of the files of a directory, or of a public data set.

    Of a directory in which files are named like the split, those are read.

    Raises:
        DataError: a row or the source cannot be read; names file and line.
    """
    path = Path(source)
    named = sorted(file for file in path.rglob("*") if is_data_file(file) and split in file.name)
    tables = [table for one in named or [path] for table in tables_of(str(one), split=split)[0]]
    for table in tables:
        for row in table.rows():
            if isinstance(row, DataError):
                raise row
            yield replace(row, renamed=False)


def files_of(source: str, suffixes: Sequence[str]) -> list[Path]:
    """A file, or the files of a directory that end with one of the suffixes, in the order of their names.

    Raises:
        DataError: there are none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        raise DataError(f"there is no file to read ({', '.join(suffixes)})", path=source, mend="Check --data.")
    return found


def _entry(directory: Path, names: Sequence[str]) -> str | None:
    """What in a directory goes by one of these names, an earlier one before a later."""
    if not directory.is_dir():
        return None
    entries = sorted(directory.iterdir())
    for name in names:
        for path in entries:
            if path.name.partition(".")[0] == name and (path.is_dir() or is_data_file(path) or path.suffix == ".txt"):
                return str(path)
    return None
