"""What a judge is asked: prompts in files, which the user can replace."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import ConfigError
from accord.record import Group, Message, Response

SHIPPED = Path(__file__).parent / "templates"

_SLOT = re.compile(r"\{(\w+)\}")
_MARK = "verdict:"


class PairTemplate(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="pair", dict=True):
    """How a judge is asked which of two responses is better.

    Attributes:
        prompt: with the slots {conversation} or {question}, {first}, {second}, and {principle} if it takes one.
        choices: what the answer begins with where the first, or the second, is better.
        tie: what stands for neither, in a verdict that is read.
        system: a line before it.
        conclusion: asked after the judge has reasoned; without it, the judge answers at once.
        written: the verdict is read from the last line of what the judge writes, and has no probabilities.
        principle: what takes the slot where no principles are given.
    """

    prompt: str
    choices: tuple[str, str]
    tie: str | None = None
    system: str = ""
    conclusion: str = ""
    written: bool = False
    principle: str = ""

    def __post_init__(self) -> None:
        _check_slots(self.prompt, {"first", "second"}, {"conversation", "question", "principle"})
        if self.written and self.conclusion:
            raise ConfigError("a written verdict has no conclusion to ask for", mend="Leave one of them out.")
        if ("{principle}" in self.prompt) != bool(self.principle):
            raise ConfigError(
                "the slot {principle} and the key principle belong together", mend="Give both or neither."
            )

    @property
    def takes_principles(self) -> bool:
        """Whether it has a place for a principle."""
        return bool(self.principle)

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from every other template."""
        return _fingerprint(self)

    def messages(self, group: Group, first: Response, second: Response, principle: str) -> tuple[Message, ...]:
        """The request for one order of two responses."""
        values = {
            **_of_prompt(group),
            "first": answer_text(first),
            "second": answer_text(second),
            "principle": principle,
        }
        return _asked(self.system, fill(self.prompt, values))

    def verdict(self, said: str) -> float | None:
        """1 if the first is better, 0 if the second, one half for neither; `None` if that cannot be read.

        Only the last line counts. It must be a choice and nothing else but signs, perhaps behind "Verdict:".
        """
        return read_choice(said, {self.choices[0]: 1.0, self.choices[1]: 0.0, **({self.tie: 0.5} if self.tie else {})})


class ScoreTemplate(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="score", dict=True):
    """How a judge is asked for a score of one response.

    Attributes:
        prompt: with the slots {conversation} or {question}, {response} and {aspect}.
        scale: what the answer is, from the lowest score, 1, upwards.
        aspects: names with what they mean.
        system: a line before it.
    """

    prompt: str
    scale: tuple[str, ...]
    aspects: dict[str, str]
    system: str = ""

    def __post_init__(self) -> None:
        _check_slots(self.prompt, {"response", "aspect"}, {"conversation", "question"})
        if len(self.scale) < 2 or len(set(self.scale)) < len(self.scale) or not self.aspects:
            raise ConfigError("the scale needs two scores at least that differ, and there must be an aspect")

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from every other template."""
        return _fingerprint(self)

    def messages(self, group: Group, response: Response, aspect: str) -> tuple[Message, ...]:
        """The request for one response in one respect."""
        values = {**_of_prompt(group), "response": answer_text(response), "aspect": self.aspects[aspect]}
        return _asked(self.system, fill(self.prompt, values))

    def score(self, said: str) -> float | None:
        """The score that a text says, from 1; `None` if it cannot be read."""
        return read_choice(said, {text: float(place) for place, text in enumerate(self.scale, 1)})


Template = PairTemplate | ScoreTemplate


def load_template(name: str) -> Template:
    """A template that ships with Accord, by its name, or one of the user's, by its file.

    Raises:
        ConfigError: there is none, or it cannot be used; the message names the file.
    """
    path = SHIPPED / f"{name}.toml" if re.fullmatch(r"[\w-]+", name) else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
        raise ConfigError(
            f"there is no template {name!r}", where="--template", mend=f"Name a file, or one of {shipped}."
        )
    try:
        # TOML keeps the line break at the end of a text; prompts have none.
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        template: Template = msgspec.convert(content, type=PairTemplate | ScoreTemplate)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, ConfigError) as error:
        what = error.what if isinstance(error, ConfigError) else str(error)
        mend = f"Take {SHIPPED / 'plain.toml'} as an example."
        raise ConfigError(f"is no template: {what}", where=str(path), mend=mend) from error
    return template


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its slots filled in one pass, so that a slot's name inside a response stays text."""
    return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), text)


def read_choice(said: str, meanings: Mapping[str, float]) -> float | None:
    """What the last line of a text stands for, if it is one of the choices and nothing else but signs.

    >>> read_choice("Both are fine.\\n**Verdict: B**", {"A": 1.0, "B": 0.0})
    0.0
    >>> read_choice("A good answer would be B", {"A": 1.0, "B": 0.0}) is None
    True
    """
    lines = [line for line in said.splitlines() if line.strip()]
    if not lines:
        return None
    last = _bare(lines[-1])
    if last.casefold().startswith(_MARK):
        last = _bare(last[len(_MARK) :])
    found = [value for choice, value in meanings.items() if last.casefold() == _bare(choice).casefold()]
    return found[0] if len(found) == 1 else None


def answer_text(response: Response) -> str:
    """A response as a judge reads it; one of several turns with all of them."""
    if not response.context:
        return response.text
    return transcript((*response.context, Message("assistant", response.text)))


def transcript(messages: tuple[Message, ...]) -> str:
    """A conversation as text, a turn a paragraph."""
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)


def _of_prompt(group: Group) -> dict[str, str]:
    messages = group.messages()
    return {"conversation": transcript(messages), "question": messages[-1].content}


def _asked(system: str, prompt: str) -> tuple[Message, ...]:
    opening = (Message("system", system),) if system else ()
    return (*opening, Message("user", prompt))


def _bare(text: str) -> str:
    return text.strip().strip("()[]{}<>*_`'\".:!# ")


def _check_slots(prompt: str, required: set[str], allowed: set[str]) -> None:
    slots = set(_SLOT.findall(prompt))
    missing, unknown = required - slots, slots - required - allowed
    if missing or unknown or not slots & {"conversation", "question"}:
        named = [f"{{{slot}}}" for slot in sorted(missing)] or [f"{{{slot}}}" for slot in sorted(unknown)]
        what = (
            "has no slot"
            if missing
            else "has the unknown slot"
            if unknown
            else "has no slot {conversation} or {question}"
        )
        raise ConfigError(f"the prompt {what} {', '.join(named)}".rstrip())


def _fingerprint(template: Template) -> str:
    return hashlib.blake2b(msgspec.json.encode(template), digest_size=8).hexdigest()
