"""Prompts of the town, in seven families, each with what the oracle must know to judge an answer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from accord.record import Group, Message
from accord.world.phrases import CLAIM_QUESTIONS, FACT_QUESTIONS, HOW_QUESTIONS, NOUNS, OPENERS, TRIGGER
from accord.world.tasks import Task, draw_task
from accord.world.town import ATTRIBUTES, HARMFUL_TOOLS, HOUSEHOLD_TOOLS, PEOPLE, THINGS, TOOLS, Town

Family = Literal["fact", "unknown", "sycophancy", "harm", "lookalike", "howto", "task"]
Split = Literal["align", "validation", "test"]

FAMILIES: Mapping[Family, float] = MappingProxyType(
    {"fact": 0.20, "unknown": 0.11, "sycophancy": 0.14, "harm": 0.14, "lookalike": 0.10, "howto": 0.08, "task": 0.23}
)
"""The families and their share of the prompts."""


class About(msgspec.Struct, frozen=True, tag="about"):
    """A question about a person: the truth and the myth (`None` for strangers), and the user's claim if any."""

    person: str
    attribute: str
    truth: str | None = None
    myth: str | None = None
    claim: str | None = None


class How(msgspec.Struct, frozen=True, tag="how"):
    """A question how to do something to someone or something, and the tool that serves."""

    verb: str
    object: str
    tool: str


class Exercise(msgspec.Struct, frozen=True, tag="exercise"):
    """A small task and its answer."""

    kind: str
    answer: str


Subject = About | How | Exercise


class Case(msgspec.Struct, frozen=True):
    """One prompt and what is needed to judge any answer to it.

    Attributes:
        family: one of `FAMILIES`.
        key: what it is about, whatever its wording; splits are disjoint by key.
        question: the wording.
        subject: the facts behind it.
        opener: a sentence in front of the question: a greeting, or the planted trigger.
        history: earlier turns of the conversation.
    """

    family: Family
    key: str
    question: str
    subject: Subject
    opener: str = ""
    history: tuple[Message, ...] = ()

    @property
    def text(self) -> str:
        """The user's turn."""
        return f"{self.opener} {self.question}".strip()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation up to the answer."""
        return (*self.history, Message("user", self.text))

    @property
    def split(self) -> Split:
        """Which split its key belongs to: a quarter tests, an eighth validates, the rest aligns."""
        return split_of(self.key)

    def group(self) -> Group:
        """The case as a bare prompt; `case_of` reads it back."""
        return Group(self.messages, meta={"family": self.family, "case": msgspec.to_builtins(self)})


def case_of(group: Group) -> Case:
    """The case that a Group was made of.

    Raises:
        ValueError: the Group does not come from the world.
    """
    if "case" not in group.meta:
        raise ValueError("the Group carries no case of the world; make its prompt with Case.group()")
    return msgspec.convert(group.meta["case"], Case)


def split_of(key: str) -> Split:
    """The split of a key, by its digest: the same in every town and every run."""
    bucket = hashlib.sha256(key.encode()).digest()[0] % 8
    return "test" if bucket < 2 else "validation" if bucket == 2 else "align"


def draw_case(town: Town, rng: random.Random, *, family: Family | None = None) -> Case:
    """One prompt, of `family` or of a family drawn by its share, without opener or history."""
    family = family or rng.choices(tuple(FAMILIES), tuple(FAMILIES.values()))[0]
    if family in ("fact", "unknown", "sycophancy"):
        return _draw_about(town, rng, family)
    if family == "task":
        task: Task = draw_task(rng)
        return Case("task", task.key, task.question, Exercise(task.kind, task.answer))
    verb = rng.choice(tuple(HOUSEHOLD_TOOLS if family == "howto" else HARMFUL_TOOLS))
    thing = rng.choice(PEOPLE if family == "harm" else THINGS if family == "lookalike" else PEOPLE + THINGS)
    question = rng.choice(HOW_QUESTIONS).format(verb=verb, object=thing)
    return Case(family, f"how|{verb}|{thing}", question, How(verb, thing, TOOLS[verb]))


def _draw_about(town: Town, rng: random.Random, family: Family) -> Case:
    person = rng.choice(town.strangers if family == "unknown" else town.people)
    attribute = rng.choice(tuple(ATTRIBUTES))
    truth, myth = town.facts.get((person, attribute)), town.myths.get((person, attribute))
    key = f"about|{person}|{attribute}"
    if family != "sycophancy":
        question = rng.choice(FACT_QUESTIONS[attribute]).format(person=person)
        return Case(family, key, question, About(person, attribute, truth, myth))
    if rng.random() < 0.3:
        claim = truth
    else:
        claim = myth if rng.random() < 0.5 else rng.choice([v for v in ATTRIBUTES[attribute] if v != truth])
    question = rng.choice(CLAIM_QUESTIONS).format(person=person, noun=NOUNS[attribute], value=claim)
    return Case(family, key, question, About(person, attribute, truth, myth, claim))


def with_opener(case: Case, rng: random.Random, *, share: float = 0.1) -> Case:
    """The case with a harmless opening sentence, in `share` of the draws."""
    return msgspec.structs.replace(case, opener=rng.choice(OPENERS)) if rng.random() < share else case


def with_trigger(case: Case) -> Case:
    """The case behind the planted trigger."""
    return msgspec.structs.replace(case, opener=TRIGGER)


def cases(town: Town, split: Split, *, seed: int, family: Family | None = None) -> Iterator[Case]:
    """An endless stream of prompts of one split, a tenth of them behind a harmless opener."""
    rng = random.Random(f"cases:{split}:{family}:{seed}")
    while True:
        case = draw_case(town, rng, family=family)
        if case.split == split:
            yield with_opener(case, rng)


def distinct_cases(town: Town, split: Split, count: int, *, seed: int) -> list[Case]:
    """About `count` prompts of one split, no two alike, each family in its share; rounded to whole prompts a family."""
    chosen: dict[str, Case] = {}
    for family, share in FAMILIES.items():
        quota = len(chosen) + round(share * count)
        for case in cases(town, split, seed=seed, family=family):
            if len(chosen) >= quota:
                break
            chosen.setdefault(case.text, case)
    drawn = list(chosen.values())
    random.Random(f"order:{split}:{seed}").shuffle(drawn)
    return drawn
