"""The standards that a judge goes by: a file of principles."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from accord.errors import ConfigError


class Principle(msgspec.Struct, frozen=True):
    """One standard.

    Attributes:
        name: what it is called in tables.
        text: how it is put to the judge.
        weight: its share in the mean over several, before they are made to sum to 1.
    """

    name: str
    text: str
    weight: float = 1.0


class _File(msgspec.Struct):
    principles: list[Principle]


def read_principles(path: str | Path) -> tuple[Principle, ...]:
    """Principles from a TOML file of `[[principles]]` tables, or from a text file with one `name: text` a line.

    Keys of a table other than name, text and weight are for other readers, and left alone.

    Raises:
        ConfigError: the file cannot be read, holds no principle, names one twice, or has a weight that is not positive.
    """
    where, file = f"--principles {path}", Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        toml = file.suffix == ".toml"
        found = msgspec.convert(tomllib.loads(text), type=_File).principles if toml else _lines(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        mend = 'Write [[principles]] with name = "..." and text = "...", or "name: text" on each line of a .txt file.'
        raise ConfigError(f"cannot be read ({error})", where=where, mend=mend) from error
    names = [principle.name for principle in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice or any(principle.weight <= 0 for principle in found):
        what = (
            "has no principle" if not found else f"names {twice[0]!r} twice" if twice else "has a weight of 0 or less"
        )
        raise ConfigError(what, where=where, mend="Give each principle a name of its own and a weight above 0.")
    return tuple(found)


def _lines(text: str) -> list[Principle]:
    principles = []
    for line in text.splitlines():
        name, colon, standard = (part.strip() for part in line.partition(":"))
        if line.strip() and not line.lstrip().startswith("#"):
            principles.append(Principle(name, standard) if colon else Principle(line.strip()[:40], line.strip()))
    return principles
