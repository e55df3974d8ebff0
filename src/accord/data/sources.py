"""What a user names (a file, a directory, a saved data set, a hub id) to tables of rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accord.data.files import Rows, is_data_file, read_file
from accord.data.rows import Row
from accord.errors import DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
_SPLITS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev", "eval"},
    "test": {"test", "testing"},
}


@dataclass(frozen=True)
class Table:
    """A named stream of rows that share a format; `rows()` starts reading it."""

    name: str
    rows: Callable[[], Rows]


def tables_of(source: str, *, split: str = "train") -> tuple[list[Table], list[str]]:
    """The tables behind one source, in the order of their names, and notes on what was left out.

    A path that exists is read as a file, as a directory that `datasets` saved, or as a directory of files; of the files
    whose names tell a split (`train`, `validation`, `test`), only those of `split` are read. Anything else that looks
    like `owner/name` or `owner/name:configuration` is loaded from the hub or its local cache.

    Raises:
        DataError: there is nothing of that name, or nothing to read in it.
    """
    path = Path(source)
    if path.is_file():
        return [Table(source, partial(read_file, path))], []
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            return [_saved_table(source, split)], []
        return _directory_tables(path, split)
    # A name below a directory that exists is a mistyped path, not a hub id.
    if _HUB_ID.fullmatch(source) and not is_data_file(path) and not path.parent.is_dir():
        return [_hub_table(source, split)], []
    raise DataError("does not exist", path=source, mend="Name a file, a directory or a hub id (owner/name).")


def _directory_tables(path: Path, split: str) -> tuple[list[Table], list[str]]:
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and is_data_file(file)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise DataError("the directory holds no data file", path=path, mend="Accord reads JSON, JSONL, CSV, Parquet.")
    splits = {file: _split_of(file.relative_to(path)) for file in files}
    told = {name for name in splits.values() if name is not None}
    if not told:
        return [Table(str(file), partial(read_file, file)) for file in files], []
    if split not in told:
        raise DataError(f"has no split {split!r}, its splits are {', '.join(sorted(told))}", path=path)
    chosen = [file for file in files if splits[file] == split]
    left_out = [str(file.relative_to(path)) for file in files if splits[file] != split]
    notes = [f"{path}: split {split!r} is read; left out: {', '.join(left_out)}"] if left_out else []
    return [Table(str(file), partial(read_file, file)) for file in chosen], notes


def _split_of(relative: Path) -> str | None:
    """The split that a file's name or folder tells, the name first."""
    for part in reversed(relative.parts):
        words = set(re.split(r"[^a-z]+", part.lower()))
        for split, names in _SPLITS.items():
            if words & names:
                return split
    return None


def _saved_table(source: str, split: str) -> Table:
    import datasets  # type: ignore[import-untyped]

    try:
        saved = datasets.load_from_disk(source)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot be read as a saved data set ({_first_line(error)})", path=source) from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"has no split {split!r}, its splits are {', '.join(saved)}", path=source)
        return _arrow_table(f"{source}[{split}]", saved[split])
    return _arrow_table(source, saved)


def _hub_table(source: str, split: str) -> Table:
    import datasets

    name, _, configuration = source.partition(":")
    try:
        loaded = datasets.load_dataset(name, configuration or None, split=split)
    # The loader lets errors of every library below it through (HTTP client, hub client, file systems, Arrow), and all
    # of them mean the same to the reader: this data set cannot be had.
    except Exception as error:
        raise DataError(
            f"is no local file, and the hub data set cannot be loaded ({_first_line(error)})",
            path=source,
            mend="Check the name and the network; offline, only a data set in the local cache or a path can be read.",
        ) from error
    return _arrow_table(f"{source}[{split}]", loaded)


def _arrow_table(name: str, rows: Any) -> Table:
    """A table over a `datasets.Dataset`, whose rows are numbered from 1."""

    def read() -> Rows:
        count = 0
        try:
            for count, values in enumerate(rows, start=1):
                yield Row(values, name, count)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read ({_first_line(error)})", path=name, line=count + 1) from error
        if count == 0:
            raise DataError("the data set has no rows", path=name)

    return Table(name, read)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
