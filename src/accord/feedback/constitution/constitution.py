"""A constitution: a TOML file of principles that a person would like to edit.

```toml
name = "House rules"
form = "plain"                       # how models are asked; another name, or a file

[[principles]]
name = "kind"
text = "The answer insults nobody."
weight = 2.0                         # optional, as is what follows
critique = "Which words of the answer would hurt someone?"
revision = "Say the same without the words that hurt."
choice = "It is kinder."

[[examples]]                         # optional: shown to critics and revisers first
prompt = "Is my poem good?"
response = "It is dreadful."
critique = "'Dreadful' hurts and helps nobody."
revision = "The second verse is strong; the first could lose its last line."
```
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import ConfigError
from accord.feedback.constitution.released import read_released
from accord.feedback.judge.principles import Principle

SHIPPED = Path(__file__).parent / "files"
DEFAULT = "default"

WHOLE = "the whole constitution"
"""The name under which all principles are put at once."""

_TABLE = re.compile(r"^\s*\[\[\s*(\w+)\s*\]\]")


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A critique and a revision to imitate."""

    prompt: str
    response: str
    critique: str
    revision: str


class Constitution(msgspec.Struct, frozen=True):
    """Principles, and how models are asked about them.

    Attributes:
        name: what it is called.
        principles: the standards, in the order of the file.
        examples: shown to critics and revisers before what they are asked.
        form: name or file of the form in which they are asked.
    """

    name: str
    principles: tuple[Principle, ...]
    examples: tuple[Example, ...] = ()
    form: str = "plain"

    @property
    def fingerprint(self) -> str:
        """What tells it from every other constitution."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()

    def whole(self) -> Principle:
        """All principles as one, numbered."""
        own_words = any(one.critique or one.revision for one in self.principles)
        return Principle(
            WHOLE,
            _numbered([one.text for one in self.principles]),
            critique=_numbered([one.critique or one.text for one in self.principles]) if own_words else "",
            revision=_numbered([one.revision or one.text for one in self.principles]) if own_words else "",
        )


def load_constitution(name: str | Path) -> Constitution:
    """A constitution that ships with Accord, by its name, or one of the user's, by its file.

    A `.json` file holds pairs of a critique and a revision request, as they were released with Bai et al. 2022
    (arXiv:2212.08073) and by those who followed them.

    Raises:
        ConfigError: there is none, or it cannot be used; the message names file and line, and the principle.
    """
    path = SHIPPED / f"{name}.toml" if re.fullmatch(r"[\w-]+", str(name)) else Path(name)
    where = f"--constitution {name}" if path.parent == SHIPPED else str(path)
    if not path.is_file():
        shipped = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
        raise ConfigError("there is no such constitution", where=where, mend=f"Name a file, or one of {shipped}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=where, mend="Name a text file.") from error
    if path.suffix == ".json":
        return Constitution(path.stem, _checked(read_released(text, where), text, where))
    return _parsed(text, where, default_name=path.stem)


def _parsed(text: str, where: str, default_name: str) -> Constitution:
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = f"{where}:{line[1]}" if line else where
        raise ConfigError(f"is not TOML: {error}", where=place, mend=_look_at_default()) from error
    _known(content, {"name", "form", "principles", "examples"}, where)
    principles = tuple(
        _entry(one, Principle, f"{where}:{line}")
        for one, line in zip(_tables(content, "principles", where), _lines(text, "principles"), strict=False)
    )
    examples = tuple(
        _entry(one, Example, f"{where}:{line}")
        for one, line in zip(_tables(content, "examples", where), _lines(text, "examples"), strict=False)
    )
    for key in ("name", "form"):
        if not isinstance(content.get(key, ""), str):
            raise ConfigError(f"{key} must be a text", where=where)
    name, form = content.get("name", default_name), content.get("form", "plain")
    return Constitution(name, _checked(principles, text, where), examples, form)


def _entry(content: Any, kind: Any, where: str) -> Any:
    called = f" of the principle {content['name']!r}" if isinstance(content, dict) and content.get("name") else ""
    _known(content, set(kind.__struct_fields__), where, called)
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        mend = f"It takes {', '.join(kind.__struct_fields__)}."
        raise ConfigError(f"a key{called} is wrong: {error}", where=where, mend=mend) from error


def _checked(principles: tuple[Principle, ...], text: str, where: str) -> tuple[Principle, ...]:
    if not principles:
        raise ConfigError("has no principle", where=where, mend=_look_at_default())
    seen: set[str] = set()
    lines: list[int | None] = [*_lines(text, "principles")]
    for one, line in zip(principles, lines or [None] * len(principles), strict=False):
        place = where if line is None else f"{where}:{line}"
        if not one.name.strip() or not one.text.strip():
            raise ConfigError(f"the principle {one.name!r} has no name or no text", where=place)
        if one.name in seen:
            mend = "Give each principle a name of its own."
            raise ConfigError(f"names the principle {one.name!r} twice", where=place, mend=mend)
        if not 0 < one.weight < float("inf"):
            what = f"the principle {one.name!r} has the weight {one.weight:g}"
            raise ConfigError(what, where=place, mend="Give a weight above 0, or take the principle out.")
        seen.add(one.name)
    return principles


def _tables(content: dict[str, Any], key: str, where: str) -> list[Any]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{key} is no list of tables", where=where, mend=f"Begin each with [[{key}]].")
    return found


def _known(content: Any, allowed: set[str], where: str, called: str = "") -> None:
    for key in content:
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            mend = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(sorted(allowed))}."
            raise ConfigError(f"has the unknown key {key!r}{called}", where=where, mend=mend)


def _lines(text: str, key: str) -> list[int]:
    """The lines on which the tables of a name begin."""
    rows = enumerate(text.splitlines(), 1)
    return [number for number, row in rows if (found := _TABLE.match(row)) and found[1] == key]


def _numbered(texts: list[str]) -> str:
    return "\n".join(f"{place}. {text}" for place, text in enumerate(texts, 1))


def _look_at_default() -> str:
    return f"Take {SHIPPED / (DEFAULT + '.toml')} as an example."
