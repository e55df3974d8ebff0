"""What is wrong with a row: a kind, how bad it is, where it stands, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from accord.errors import DataError
from accord.record import Origin

Severity = Literal["error", "warning", "info"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finding about one row (or, without `line`, about a whole file).

    Attributes:
        kind: a short stable name, e.g. `"empty response"`; findings are counted by it.
        severity: `error` keeps the row from being used, `warning` deserves a look, `info` is good to know.
        message: one sentence.
        path: the file.
        line: its line; in Parquet, Arrow and hub data the row's number, from 1.
        lost: whether the row gave no Group.
    """

    kind: str
    severity: Severity
    message: str
    path: str | None = None
    line: int | None = None
    lost: bool = False

    @property
    def where(self) -> str:
        """`file:line`, as far as it is known."""
        return "" if self.path is None else str(Origin(self.path, self.line))


def problem_at(origin: Origin | None, kind: str, severity: Severity, message: str, *, lost: bool = False) -> Problem:
    """A Problem at the place a Group was read from."""
    path, line = (None, None) if origin is None else (origin.path, origin.line)
    return Problem(kind, severity, message, path, line, lost)


def references(places: Sequence[str], *, limit: int = 5, total: int | None = None) -> str:
    """The first places as text, each file named once: `a.jsonl:3, 9, b.jsonl:4 and 12 more`.

    Args:
        places: as `file:line`.
        limit: how many to name.
        total: how many there are, when `places` are not all of them.
    """
    shown: list[str] = []
    before = ""
    for place in places[:limit]:
        path, _, line = place.rpartition(":")
        shown.append(line if path and path == before and line.isdigit() else place)
        before = path
    rest = max(len(places), total or 0) - len(shown)
    more = f" and {rest:,} more" if rest > 0 and shown else ""
    return ", ".join(shown) + more


class Malformed:
    """Collects rows that cannot be read, so that one message names them all; gives up at `limit`."""

    def __init__(self, limit: int = 20) -> None:
        self.errors: list[DataError] = []
        self.limit = limit

    def add(self, error: DataError) -> None:
        """Remember a malformed row.

        Raises:
            DataError: it is the last one that is tolerated before reading stops.
        """
        self.errors.append(error)
        if len(self.errors) >= self.limit:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise the first error, followed by the number and the places of the others."""
        if not self.errors:
            return
        first, others = self.errors[0], self.errors[1:]
        if not others:
            raise first
        stopped = ", where reading stopped" if len(self.errors) >= self.limit else ""
        places = references([str(Origin(str(error.path), error.line)) for error in others])
        count = f"{len(self.errors)} rows are malformed{stopped} (also {places})"
        raise DataError(
            f"{first.what}; {count}",
            path=first.path,
            line=first.line,
            mend=first.mend,
        )
