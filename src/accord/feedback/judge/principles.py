"""The standards that judges, critics and revisers go by: a file of principles."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from accord.errors import ConfigError


class Principle(msgspec.Struct, frozen=True):
    """One standard.

    Attributes:
        name: what it is called in tables.
        text: what it demands.
        weight: its share in the mean over several, before they are made to sum to 1.
        critique: how a critic is asked about it, if not in the words of its form.
        revision: how a reviser is asked to mend what breaks it, if not in the words of its form.
        choice: how it is put to a judge of pairs, if not by its text.
    """

    name: str
    text: str
    weight: float = 1.0
    critique: str = ""
    revision: str = ""
    choice: str = ""

    @property
    def standard(self) -> str:
        """How it is put to a judge."""
        return self.choice or self.text


class _File(msgspec.Struct):
    principles: list[Principle]


def read_principles(path: str | Path) -> tuple[Principle, ...]:
    """Principles from a TOML file of `[[principles]]` tables, or from a text file with one `name: text` a line.

    A constitution is such a file as well; what it has beside its principles is left alone.

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
