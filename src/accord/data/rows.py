"""A row of a data file, and typed access to its columns with errors that name file, line and column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from accord.errors import DataError
from accord.record import Origin


def kind_of(value: Any) -> str:
    """What a value is, in words: `text`, `a number`, `a list`, ..."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return "true or false"
    for types, words in _KINDS:
        if isinstance(value, types):
            return words
    return f"of type {type(value).__name__}"


_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str,), "text"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    ((dict,), "an object"),
)


@dataclass(frozen=True)
class Row:
    """One record of a file.

    Attributes:
        values: column names to values, as the file has them.
        path: the file, directory or hub id.
        line: line of the file where the record starts; row number where there are no lines.
        renamed: whether --columns can say where fields stand.
    """

    values: dict[str, Any]
    path: str
    line: int
    renamed: bool = True

    @property
    def origin(self) -> Origin:
        """Where the row stands."""
        return Origin(self.path, self.line)

    def error(self, what: str, mend: str | None = None) -> DataError:
        """An error about this row."""
        return DataError(what, path=self.path, line=self.line, mend=mend)

    def value(self, column: str) -> Any:
        """The value of a column that must be there, of any type."""
        if column not in self.values:
            mend = f"Add it, or name the column that holds it with --columns {column}=NAME." if self.renamed else None
            raise self.error(f"column `{column}` is missing; the row has {names_of(self.values)}", mend)
        return self.values[column]

    def text(self, column: str) -> str:
        """A column of text."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.expected(column, value, "text")
        return value

    def optional_text(self, column: str) -> str:
        """A column of text that may be absent or null: then it is the empty string."""
        return "" if self.values.get(column) is None else self.text(column)

    def sequence(self, column: str) -> list[Any]:
        """A column that holds a list; in CSV, a list written as JSON."""
        value = self.value(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError) as error:
                raise self.error(f"`{column}` is not a list in JSON: {error}") from error
        if not isinstance(value, list):
            raise self.expected(column, value, "a list")
        return value

    def number(self, column: str) -> float | None:
        """A column with a finite number; absent, null and an empty cell are a missing value (`None`)."""
        return self.as_number(self.values.get(column), column)

    def as_number(self, value: Any, name: str) -> float | None:
        """`value` as a finite number or `None`; numbers written as text count, NaN and infinity are errors."""
        if value is None or value == "":
            return None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError as error:
                raise self.expected(name, value, "a number") from error
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.expected(name, value, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(
                f"`{name}` is {'NaN' if math.isnan(number) else 'infinite'}",
                "Correct the value, or write null where it is missing.",
            )
        return number

    def truth(self, column: str) -> bool:
        """A column with true or false, also written as 1/0, +1/-1 or text."""
        value = self.value(column)
        key = value.strip().lower() if isinstance(value, str) else value
        if isinstance(key, bool | int | float | str) and key in _TRUTHS:
            return _TRUTHS[key]
        raise self.expected(column, value, "true or false")

    def expected(self, column: str, value: Any, wanted: str) -> DataError:
        """The error for a value of another type than wanted."""
        shown = "" if value is None or isinstance(value, list | dict) else f" ({str(value)[:40]!r})"
        return self.error(f"`{column}` is {kind_of(value)}{shown}, {wanted} is expected")


_TRUTHS: dict[bool | int | float | str, bool] = {
    1: True,
    0: False,
    -1: False,
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "1": True,
    "0": False,
    "-1": False,
}


def names_of(columns: Any) -> str:
    """Column names as text, at most a dozen of them."""
    names = [str(name) for name in columns]
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no columns"
