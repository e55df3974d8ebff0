"""What a judge is asked about one answer, and how what it says is read: strictly, and never guessed.

Two forms of question: which of several classes an answer belongs to, and a rubric of several numbers. Both are files
that the user can replace. What the judge says that is neither is *unread*: the item's number is missing, and its
`unread` is 1, so that every judged number stands beside the share of items that its judge left out.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.chat.types import Chat, Request
from accord.errors import ConfigError
from accord.evaluate.controls import constant_answer, empty_answer
from accord.evaluate.task import Values
from accord.feedback.judge.templates import fill, read_choice
from accord.record import Message
from accord.record.measurement import Axis

SHIPPED = Path(__file__).parent / "suites" / "prompts"

LONGEST = 1024
"""Tokens that a judge may reason in before its numbers."""

GENERAL = "That depends on several things. Look at each of them in turn, ask somebody who knows, and then decide."
"""What a model says that answers everything with the same sentence."""

DEGENERATE = (empty_answer(), constant_answer(GENERAL), constant_answer(name="always refuses"))
"""Models that whoever judges answers is also shown: says nothing, always the same, always a refusal."""

CONSISTENT = Axis("consistent", description="Share of the pairs of which both orders have the same verdict.")

FIRST_SHOWN = Axis(
    "first_shown",
    higher_is_better=None,
    description="Probability of what the judge is shown first; one half if the place is nothing to it.",
)

LENGTH_SLOPE = Axis(
    "length_slope",
    statistic="ratio",
    columns=("length_moment", "length_square"),
    higher_is_better=None,
    unit="probability",
    description="Change in the judge's preference for a standard deviation more of length than the baseline's.",
)

UNREAD = Axis(
    "unread",
    higher_is_better=False,
    description="Share of the items whose judge gave no verdict that can be read; they have no number.",
)

_SLOT = re.compile(r"\{(\w+)\}")


class ClassPrompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="classes"):
    """Which of several classes an answer belongs to.

    Attributes:
        prompt: with slots in braces; ends with the letters to choose from.
        classes: what the judge answers with, and what it stands for.
        system: a line before it.
    """

    prompt: str
    classes: dict[str, str]
    system: str = ""


class RubricPrompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rubric"):
    """Several numbers for an answer, each on a line of its own, `name: number`, after the judge's reasons.

    Attributes:
        prompt: with slots in braces.
        numbers: names with the least and the largest whole number.
        system: a line before it.
    """

    prompt: str
    numbers: dict[str, tuple[int, int]]
    system: str = ""

    def read(self, said: str) -> dict[str, float] | None:
        """The numbers that a text says; `None` unless each is there, whole, within its limits and the same throughout.

        >>> rubric = RubricPrompt(prompt="", numbers={"clear": (1, 5), "true": (0, 1)})
        >>> rubric.read("It wanders.\\n**Clear: 2**\\ntrue: 1")
        {'clear': 2.0, 'true': 1.0}
        >>> rubric.read("clear: 2 or 3\\ntrue: 1") is None
        True
        """
        found = {}
        for name, (least, largest) in self.numbers.items():
            lines = re.findall(rf"(?im)^\W*{re.escape(name)}\W*[:=]\W*(\d+)\W*$", said)
            if len(set(lines)) != 1 or not least <= int(lines[0]) <= largest:
                return None
            found[name] = float(lines[0])
        return found


def load_class_prompt(name: str, *, classes: Sequence[str], slots: Sequence[str]) -> ClassPrompt:
    """A question of classes that ships with Accord, by its name, or one of the user's, by its file.

    Args:
        name: of the shipped one, or the path of a TOML file.
        classes: what its letters must stand for.
        slots: what its prompt must have a place for.

    Raises:
        ConfigError: there is none, or it cannot be used; names the file.
    """
    prompt, path = _loaded(name)
    if not isinstance(prompt, ClassPrompt) or set(prompt.classes.values()) != set(classes):
        raise ConfigError(f"has not the classes {', '.join(classes)}", where=str(path))
    _require_slots(prompt.prompt, slots, path)
    return prompt


def load_rubric(name: str, *, numbers: Sequence[str], slots: Sequence[str]) -> RubricPrompt:
    """A rubric that ships with Accord, by its name, or one of the user's, by its file.

    Args:
        name: of the shipped one, or the path of a TOML file.
        numbers: what it must ask for.
        slots: what its prompt must have a place for.

    Raises:
        ConfigError: there is none, or it cannot be used; names the file.
    """
    prompt, path = _loaded(name)
    if not isinstance(prompt, RubricPrompt) or set(prompt.numbers) != set(numbers):
        raise ConfigError(f"does not ask for the numbers {', '.join(numbers)}", where=str(path))
    _require_slots(prompt.prompt, slots, path)
    return prompt


def classified(judge: Chat, prompt: ClassPrompt, values: Sequence[Mapping[str, str]]) -> list[str | None]:
    """The class that a judge puts each answer into, its likeliest where it gives probabilities; `None` for unread.

    Args:
        judge: who is asked, at temperature 0.
        prompt: the question.
        values: what fills its slots, for each answer.
    """
    letters = tuple(prompt.classes)
    replies = judge([Request(_messages(prompt, one), choices=letters) for one in values])
    meanings = {letter: float(place) for place, letter in enumerate(letters)}
    found: list[str | None] = []
    for reply in replies:
        if reply.probabilities is not None:
            place: float | None = max(range(len(letters)), key=reply.probabilities.__getitem__)
        else:
            place = read_choice(reply.text, meanings)
        found.append(None if place is None else prompt.classes[letters[int(place)]])
    return found


def rated(judge: Chat, prompt: RubricPrompt, values: Sequence[Mapping[str, str]]) -> list[dict[str, float] | None]:
    """The numbers that a judge gives each answer; `None` where one of them cannot be read.

    Args:
        judge: who is asked, at temperature 0.
        prompt: the rubric.
        values: what fills its slots, for each answer.
    """
    replies = judge([Request(_messages(prompt, one), max_tokens=LONGEST) for one in values])
    return [prompt.read(reply.text) for reply in replies]


def with_length_slope(rows: Sequence[Values], longer: Sequence[float], preference: str) -> list[Values]:
    """The rows with the columns of `LENGTH_SLOPE`, the slope of a line through no difference and no preference.

    Args:
        rows: an item's numbers each.
        longer: by how many characters an answer is longer than the one that it is compared with.
        preference: the column with the preference for it, from 0 to 1.
    """
    preferences = [row.get(preference) for row in rows]
    squares = [difference**2 for difference, p in zip(longer, preferences, strict=True) if p is not None]
    scale = math.sqrt(sum(squares) / len(squares)) if squares else 0.0
    if scale == 0:
        return list(rows)
    return [
        row
        if p is None
        else {**row, "length_moment": difference / scale * (p - 0.5), "length_square": (difference / scale) ** 2}
        for row, difference, p in zip(rows, longer, preferences, strict=True)
    ]


def judge_settings(judge: Chat, prompts: Any) -> dict[str, Any]:
    """Who judged and what it was asked, for a measurement's settings."""
    content = msgspec.json.encode(prompts, order="deterministic")
    return {"judge": {"identity": judge.identity, "prompt": hashlib.blake2b(content, digest_size=8).hexdigest()}}


def _loaded(name: str) -> tuple[ClassPrompt | RubricPrompt, Path]:
    path = SHIPPED / f"{name}.toml" if re.fullmatch(r"[\w-]+", name) else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
        raise ConfigError("there is no such prompt", where=str(path), mend=f"Name a TOML file, or one of {shipped}.")
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        prompt: ClassPrompt | RubricPrompt = msgspec.convert(content, type=ClassPrompt | RubricPrompt)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        mend = f"Take a file of {SHIPPED} as an example."
        raise ConfigError(f"is no judge's prompt: {error}", where=str(path), mend=mend) from error
    return prompt, path


def _require_slots(prompt: str, slots: Sequence[str], path: Path) -> None:
    has = set(_SLOT.findall(prompt))
    missing, unknown = set(slots) - has, has - set(slots)
    if missing or unknown:
        what = "has no slot" if missing else "has the unknown slot"
        raise ConfigError(f"the prompt {what} {{{min(missing or unknown)}}}", where=str(path))


def _messages(prompt: ClassPrompt | RubricPrompt, values: Mapping[str, str]) -> tuple[Message, ...]:
    opening = (Message("system", prompt.system),) if prompt.system else ()
    return (*opening, Message("user", fill(prompt.prompt, values)))
