"""What a format is: how it is recognised, and how its rows become Groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accord.data.problems import Problem
from accord.data.rows import Row
from accord.errors import DataError
from accord.record import Group

Item = Group | Problem | DataError
"""What reading yields: a Group, a finding about a row that is left out or worth a look, or a malformed row."""

Reader = Callable[[Iterable[Row]], Iterator[Item]]


def _any_shape(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Format:
    """One shape of data.

    Attributes:
        name: what it is called when it is found.
        columns: the columns that make it recognisable; all must be there.
        reader: turns rows into Groups.
        shape: what else a row must look like, when names alone do not tell.
        why: the reason to give, beyond the columns.
    """

    name: str
    columns: tuple[str, ...]
    reader: Reader
    shape: Callable[[Mapping[str, Any]], bool] = _any_shape
    why: str = ""

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Whether a row of these columns and values is of this format."""
        return all(column in values for column in self.columns) and self.shape(values)

    @property
    def reason(self) -> str:
        """Why a file was taken for this format."""
        columns = ", ".join(self.columns)
        return f"columns {columns}; {self.why}" if self.why else f"columns {columns}"


def each(read: Callable[[Row], Group | Problem]) -> Reader:
    """A reader that handles every row by itself."""

    def read_all(rows: Iterable[Row]) -> Iterator[Item]:
        for row in rows:
            try:
                yield read(row)
            except DataError as error:
                yield error

    return read_all
