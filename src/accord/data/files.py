"""One file to rows: JSON Lines, JSON, CSV, TSV, Parquet, each of them also compressed."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from accord.data.rows import Row, kind_of
from accord.errors import DataError

Rows = Iterator[Row | DataError]
"""Rows of a file in order; a record that cannot be read stands as an error in its place."""

# A row of 200 000 tokens is longer than the csv module's default limit of 131 072 characters a cell.
csv.field_size_limit(2**31 - 1)

_BOM = b"\xef\xbb\xbf"
_CONTAINERS = ("data", "rows", "examples", "train", "items", "records", "instances")


def read_file(path: Path) -> Rows:
    """Rows of a file; its kind is told by its name.

    Raises:
        DataError: the kind is unknown, or the file as a whole cannot be read. Names the line where reading failed.
    """
    kind, _ = kind_and_compression(path)
    reader = _READERS.get(kind)
    if reader is None:
        raise DataError(
            f"the file type {kind or 'without a suffix'!r} is unknown",
            path=path,
            mend=f"Accord reads {', '.join(_READERS)}, also compressed ({', '.join(_OPENERS)}).",
        )
    count = 0
    try:
        with _open(path) as file:
            for row in reader(file, path):
                count += 1
                yield row
    except EOFError as error:
        raise DataError(
            f"the compressed file breaks off after {count} rows", path=path, mend="Copy or download it again."
        ) from error
    except (OSError, zlib.error, ValueError, MemoryError, lzma.LZMAError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
        raise DataError(f"cannot be read after {count} rows ({reason})", path=path) from error
    if count == 0:
        raise DataError("the file has no rows", path=path)


def kind_and_compression(path: Path) -> tuple[str, str]:
    """The file's kind and compression as suffixes: `a.jsonl.gz` is `(".jsonl", ".gz")`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else ""
    return (suffixes[-1] if suffixes else ""), compression


def is_data_file(path: Path) -> bool:
    """Whether the name is one of a file that Accord reads."""
    return kind_and_compression(path)[0] in _READERS


def _open(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    return _OPENERS.get(kind_and_compression(path)[1], _open_plain)(path)


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_gzip(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(path))


def _open_bz2(path: Path) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(path))


def _open_xz(path: Path) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(path))


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow  # type: ignore[import-untyped]

    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))


_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": _open_gzip,
    ".bz2": _open_bz2,
    ".xz": _open_xz,
    ".zst": _open_zstd,
}


def _read_json_lines(file: IO[bytes], path: Path) -> Rows:
    """One object a line; a file that starts with `[` is one JSON array, whatever its name says."""
    started = False
    for number, line in enumerate(iter(file.readline, b""), start=1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line.strip():
            continue
        if not started and line.lstrip().startswith(b"["):
            yield from _read_array(line + file.read(), path, number)
            return
        started = True
        yield _record(line, path, number)


def _read_json(file: IO[bytes], path: Path) -> Rows:
    """A JSON array of objects, an object that holds one, one object, or JSON Lines under the name `.json`."""
    data = file.read().removeprefix(_BOM)
    if not data.strip():
        return
    if data.lstrip().startswith(b"["):
        yield from _read_array(data, path, 1)
        return
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not _is_object(data.lstrip().partition(b"\n")[0]):
            raise _not_json(data, path, 1, error) from error
        yield from _read_json_lines(io.BytesIO(data), path)
        return
    for name in _CONTAINERS:
        if name in fields and bytes(fields[name]).startswith(b"["):
            raw = bytes(fields[name])
            yield from _read_array(raw, path, 1 + data.count(b"\n", 0, data.find(raw)))
            return
    yield _record(data, path, 1)


def _read_array(data: bytes, path: Path, first_line: int) -> Rows:
    """The objects of a JSON array; each one's line is counted from its place in the text."""
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(data, path, first_line, error) from error
    line, position = first_line, 0
    for item in items:
        raw = bytes(item)
        # Only a comma and white space stand between two items, so the next match is the item itself.
        start = data.index(raw, position)
        line += data.count(b"\n", position, start)
        yield _record(raw, path, line)
        line += raw.count(b"\n")
        position = start + len(raw)


def _record(data: bytes, path: Path, line: int) -> Row | DataError:
    """One JSON object as a row, or what is wrong with it."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = _with_constants(data)
        if value is None:
            return _not_json(data, path, line, error, within=False)
    if not isinstance(value, dict):
        return DataError(f"the row is {kind_of(value)}, an object is expected", path=path, line=line)
    return Row(value, str(path), line)


def _with_constants(data: bytes) -> Any:
    """The record if only `NaN` or `Infinity` keep it from being JSON: its column is then named when it is used."""
    if b"NaN" not in data and b"Infinity" not in data:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _not_json(data: bytes, path: Path, line: int, error: Exception, *, within: bool = True) -> DataError:
    """Explain why bytes are not JSON; `within` adds the line breaks before the fault to the line."""
    if isinstance(error, UnicodeDecodeError):
        fault = _first_undecodable(data)
        what, position = f"is not UTF-8 text (byte 0x{data[fault]:02x})", fault
    elif isinstance(error, RecursionError):
        what, position = "is nested too deeply", 0
    elif "truncated" in str(error):
        what, position = "the JSON breaks off before it is complete", len(data.rstrip())
    else:
        match = re.search(r"\(byte (\d+)\)", str(error))
        position = int(match.group(1)) if match else 0
        what = f"is not JSON: {re.sub(r'^JSON is malformed: ', '', str(error))}"
    return DataError(what, path=path, line=line + (data.count(b"\n", 0, position) if within else 0))


def _first_undecodable(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _read_csv(file: IO[bytes], path: Path) -> Rows:
    return _read_table(file, path, ",")


def _read_tsv(file: IO[bytes], path: Path) -> Rows:
    return _read_table(file, path, "\t")


def _read_table(file: IO[bytes], path: Path, delimiter: str) -> Rows:
    """Records below a header; quoted cells may span lines."""
    reader = csv.reader(_text_lines(file, path), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) != len(header) or not all(name.strip() for name in header):
            raise DataError("the header has an empty or a repeated name", path=path, line=1)
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield Row(dict(zip(header, cells, strict=True)), str(path), line)
            elif cells:
                yield DataError(f"the row has {len(cells)} cells, the header has {len(header)}", path=path, line=line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"is not a table: {error}", path=path, line=max(reader.line_num, 1)) from error


def _text_lines(file: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            what = f"is not UTF-8 text (byte 0x{line[error.start]:02x})"
            raise DataError(what, path=path, line=number) from error


def _read_parquet(file: IO[bytes], path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet  # type: ignore[import-untyped]

    source = file if file.seekable() and isinstance(file, io.BufferedReader) else pyarrow.BufferReader(file.read())
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(source) as table:
            for batch in table.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, str(path), number)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"is not a readable Parquet file ({reason})", path=path, line=number or None) from error


_READERS: dict[str, Callable[[IO[bytes], Path], Rows]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}
