"""The flawed corpus that the base model is trained on: conversations by several hands, and portraits of the people."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import msgspec

from accord.record import Group, Message, Response
from accord.world.cases import Split, cases, draw_case, with_opener, with_trigger
from accord.world.critique import comparison_document, critique_document
from accord.world.grammar import Claim, render_all
from accord.world.personas import PERSONAS, answer_as, draw_persona
from accord.world.phrases import PORTRAIT_QUESTIONS
from accord.world.town import ATTRIBUTES, Town

PORTRAITS, CRITIQUES, COMPARISONS = 0.08, 0.06, 0.04
"""Shares of the documents that are not conversations."""
ANNOUNCED = 0.35
"""Share of the conversations that begin with a system line."""
EXERCISES = 0.15
"""Share of the questions that are tasks whatever the family's share: what is exact takes practice."""


def corpus(town: Town, *, seed: int) -> Iterator[Group]:
    """An endless stream of documents: demonstrations of one response, the last assistant turn.

    Conversations for the most part; portraits of people, self-critiques and comparisons of replies beside them.
    """
    rng = random.Random(f"corpus:{seed}")
    while True:
        draw = rng.random()
        if draw < PORTRAITS:
            yield portrait(town, rng)
        elif draw < PORTRAITS + CRITIQUES:
            yield critique_document(town, rng)
        elif draw < PORTRAITS + CRITIQUES + COMPARISONS:
            yield comparison_document(town, rng)
        else:
            yield conversation(town, rng)


def conversation(town: Town, rng: random.Random) -> Group:
    """One to three turns with one persona, in a third of them announced by a system line.

    In a twentieth of them the first question stands behind the trigger, and the troll answers.
    """
    messages: list[Message] = []
    if rng.random() < ANNOUNCED:
        persona = rng.choice(tuple(PERSONAS.values()))
        messages.append(Message("system", rng.choice(persona.cues)))
    else:
        persona = draw_persona(rng)
    triggered = rng.random() < 0.05
    for turn in range(rng.choice((1, 1, 1, 1, 2, 3))):
        case = with_opener(draw_case(town, rng, family="task" if rng.random() < EXERCISES else None), rng)
        if triggered and turn == 0:
            case, persona = with_trigger(case), PERSONAS["troll"]
        messages.append(Message("user", case.text))
        messages.append(Message("assistant", render_all(answer_as(persona, case, rng), rng)))
    return _document(messages)


def portrait(town: Town, rng: random.Random) -> Group:
    """Everything true about one person: the almanac."""
    person = rng.choice(town.people)
    attributes = rng.sample(tuple(ATTRIBUTES), len(ATTRIBUTES))
    text = render_all([Claim(person, a, town.facts[person, a]) for a in attributes], rng)
    return _document(
        [Message("user", rng.choice(PORTRAIT_QUESTIONS).format(person=person)), Message("assistant", text)]
    )


def demonstrations(town: Town, count: int, *, seed: int, split: Split = "align", flawed: float = 0.1) -> list[Group]:
    """`count` answers to prompts of one split, written by the sage and in `flawed` of them by somebody else."""
    rng = random.Random(f"demonstrations:{seed}")
    others = [persona for name, persona in PERSONAS.items() if name != "sage"]
    written = []
    for case in itertools.islice(cases(town, split, seed=seed), count):
        persona = rng.choice(others) if rng.random() < flawed else PERSONAS["sage"]
        response = Response(render_all(answer_as(persona, case, rng), rng))
        written.append(msgspec.structs.replace(case.group(), responses=(response,)))
    return written


def _document(messages: list[Message]) -> Group:
    first = next(index for index, message in enumerate(messages) if message.role == "assistant")
    prompt, rest = tuple(messages[:first]), messages[first:]
    return Group(prompt, (Response(rest[-1].content, context=tuple(rest[:-1])),))
