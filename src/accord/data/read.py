"""Sources to Groups: what `--data` names is opened, recognised and converted, and nothing disappears unsaid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import msgspec

from accord.data.formats import COLUMNS, TEMPLATED, Format, recognise
from accord.data.problems import Malformed, Problem
from accord.data.rows import Row, names_of
from accord.data.sources import Table, tables_of
from accord.errors import ConfigError, DataError
from accord.record import Group

Template = Literal["messages", "instruction"]


class FormatFound(msgspec.Struct, frozen=True):
    """What one file was taken for, and why.

    Attributes:
        path: the file, or the data set with its split.
        name: name of the format.
        why: what it was recognised by.
        groups: how many Groups it gave.
    """

    path: str
    name: str
    why: str
    groups: int


@dataclass(frozen=True)
class Dataset:
    """Groups in the order of their sources, and what there is to say about reading them."""

    groups: list[Group] = field(default_factory=list)
    formats: list[FormatFound] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, groups: Iterable[Group]) -> Dataset:
        """A Dataset of Groups that are already in memory."""
        return cls(groups=list(groups))


def read(
    sources: Sequence[str],
    *,
    columns: str | None = None,
    split: str = "train",
    template: Template = "messages",
) -> Dataset:
    """Read Groups from files, directories, saved data sets or hub ids, one source after the other.

    Args:
        sources: paths or hub ids (`owner/name`, `owner/name:configuration`).
        columns: where fields stand in data of another shape, e.g. `prompt=question,chosen=good`.
        split: which split of a data set to read.
        template: how Alpaca's and Dolly's instructions are put: as a chat message, or as plain text in the
            `### Instruction:` template.

    Raises:
        ConfigError: `columns` cannot be understood.
        DataError: a source or a row cannot be read; up to 20 malformed rows are named together.
    """
    mapping = parse_columns(columns)
    dataset, malformed = Dataset(), Malformed()
    for source in sources:
        tables, notes = tables_of(source, split=split)
        dataset.notes.extend(notes)
        for table in tables:
            _read_table(table, mapping, template, dataset, malformed)
    malformed.raise_if_any()
    if not dataset.groups:
        raise _nothing_usable(sources, dataset.problems)
    return dataset


def parse_columns(columns: str | None) -> dict[str, str]:
    """`prompt=question,chosen=good` as a mapping from Accord's names to the file's."""
    mapping: dict[str, str] = {}
    for part in (columns or "").split(","):
        if not part.strip():
            continue
        target, equals, name = (piece.strip() for piece in part.partition("="))
        if not (target and equals and name):
            raise ConfigError(f"{part.strip()!r} is not NAME=COLUMN", where="--columns")
        if target not in COLUMNS:
            raise ConfigError(
                f"{target!r} is not a column that Accord knows",
                where="--columns",
                mend=f"Use {', '.join(sorted(COLUMNS))}.",
            )
        mapping[target] = name
    return mapping


def _read_table(
    table: Table, mapping: Mapping[str, str], template: Template, dataset: Dataset, malformed: Malformed
) -> None:
    rows = _readable(table, mapping, malformed)
    first = next(rows, None)
    if first is None:
        return
    found = _in_template(recognise(first), template)
    count = len(dataset.groups)
    for item in found.reader(chain([first], rows)):
        if isinstance(item, Group):
            dataset.groups.append(item)
        elif isinstance(item, Problem):
            dataset.problems.append(item)
        else:
            malformed.add(item)
    mapped = f"; mapped {', '.join(f'{name} to {target}' for target, name in mapping.items())}" if mapping else ""
    groups = len(dataset.groups) - count
    dataset.formats.append(FormatFound(table.name, found.name, found.reason + mapped, groups))


def _readable(table: Table, mapping: Mapping[str, str], malformed: Malformed) -> Iterator[Row]:
    """The rows of a table with their columns renamed; those that cannot be read are put aside."""
    for row in table.rows():
        if isinstance(row, DataError):
            malformed.add(row)
            continue
        missing = [name for name in mapping.values() if name not in row.values]
        if missing:
            what = f"column `{missing[0]}` of --columns is missing; the row has {names_of(row.values)}"
            malformed.add(row.error(what))
            continue
        yield _renamed(row, mapping) if mapping else row


def _renamed(row: Row, mapping: Mapping[str, str]) -> Row:
    taken = set(mapping.values())
    values = {name: value for name, value in row.values.items() if name not in taken}
    values.update({target: row.values[name] for target, name in mapping.items()})
    return replace(row, values=values)


def _in_template(found: Format, template: Template) -> Format:
    return TEMPLATED.get(found.name, found) if template == "instruction" else found


def _nothing_usable(sources: Sequence[str], problems: Iterable[Problem]) -> DataError:
    first = next(iter(problems), None)
    if first is None:
        return DataError("there is no row to train on", path=", ".join(sources))
    return DataError(f"no row can be used: {first.message}", path=first.path, line=first.line)
