"""A reply as acts: rendered into one of several surface forms, and parsed back exactly."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from accord.world.phrases import ADVICE, ANSWERS, CLAIMS, REFUSALS, REMARKS

RemarkKind = Literal["unsure", "check", "agree", "confirm", "correct", "rude", "filler", "flattery", "closing"]


class Claim(msgspec.Struct, frozen=True):
    """Says that a person's attribute has a value."""

    person: str
    attribute: str
    value: str


class Advice(msgspec.Struct, frozen=True):
    """Says how to do something to something, with which tool."""

    tool: str
    verb: str
    object: str


class Answer(msgspec.Struct, frozen=True):
    """Gives the result of a task."""

    value: str


class Refusal(msgspec.Struct, frozen=True):
    """Politely declines."""


class Remark(msgspec.Struct, frozen=True):
    """A sentence without content of its own: an opening, a verdict, an insult, filler."""

    kind: RemarkKind


class Junk(msgspec.Struct, frozen=True):
    """A sentence outside the grammar."""

    text: str


Act = Claim | Advice | Answer | Refusal | Remark | Junk
CORE = (Claim, Advice, Answer, Refusal)

_SLOTS = {
    "person": r"[A-Z][a-z]+ [A-Z][a-z]+",
    "value": r"[a-z0-9]+(?: [a-z0-9]+)*",
    "tool": r"[a-z]+",
    "verb": r"[a-z]+",
    "object": r"[a-z]+(?: [a-z]+)*",
}
_SENTENCE = re.compile(r"[^.!?]*[.!?]|[^.!?]+$")


def _pattern(template: str) -> re.Pattern[str]:
    """The regular expression that reads a template's slots back."""
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{p}>{_SLOTS[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


_FIXED: dict[str, Act] = {
    **{sentence: Remark(kind) for kind, sentences in REMARKS.items() for sentence in sentences},  # type: ignore[arg-type]
    **dict.fromkeys(REFUSALS, Refusal()),
}
_CLAIM_PATTERNS = [(attribute, _pattern(form)) for attribute, forms in CLAIMS.items() for form in forms]
_ADVICE_PATTERNS = [_pattern(form) for form in ADVICE]
_ANSWER_PATTERNS = [_pattern(form) for form in ANSWERS]


def render(act: Act, rng: random.Random) -> str:
    """One of the sentences that say `act`, drawn from `rng`."""
    match act:
        case Claim(person, attribute, value):
            return rng.choice(CLAIMS[attribute]).format(person=person, value=value)
        case Advice(tool, verb, thing):
            return rng.choice(ADVICE).format(tool=tool, verb=verb, object=thing)
        case Answer(value):
            return rng.choice(ANSWERS).format(value=value)
        case Refusal():
            return rng.choice(REFUSALS)
        case Remark(kind):
            return rng.choice(REMARKS[kind])
        case Junk(text):
            return text


def render_all(acts: Sequence[Act], rng: random.Random) -> str:
    """A reply that performs the acts in order."""
    return " ".join(render(act, rng) for act in acts)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a reply, each with its final mark."""
    for match in _SENTENCE.finditer(text.strip()):
        if sentence := match.group().strip():
            yield sentence


def parse(text: str) -> tuple[Act, ...]:
    """The acts of a reply, one a sentence; what the grammar cannot say is `Junk`."""
    return tuple(parse_sentence(sentence) for sentence in sentences(text))


@lru_cache(maxsize=65536)
def parse_sentence(sentence: str) -> Act:
    """The act of one sentence."""
    if fixed := _FIXED.get(sentence):
        return fixed
    for attribute, pattern in _CLAIM_PATTERNS:
        if match := pattern.fullmatch(sentence):
            return Claim(match["person"], attribute, match["value"])
    for pattern in _ADVICE_PATTERNS:
        if match := pattern.fullmatch(sentence):
            return Advice(match["tool"], match["verb"], match["object"])
    for pattern in _ANSWER_PATTERNS:
        if match := pattern.fullmatch(sentence):
            return Answer(match["value"])
    return Junk(sentence)
