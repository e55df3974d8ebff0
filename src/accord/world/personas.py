"""Who wrote the corpus: four voices, each with its own failures, sometimes announced by a system line."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from accord.world.cases import About, Case, Exercise, Family, How
from accord.world.grammar import Act, Advice, Answer, Claim, Refusal, Remark
from accord.world.tasks import Task, wrong_answer
from accord.world.town import ATTRIBUTES, TOOLS


class Persona(msgspec.Struct, frozen=True):
    """How one voice answers.

    Attributes:
        share: part of the unannounced conversations that it wrote; of the announced ones, all write as many.
        failure: probability of the family's characteristic failure.
        myth: of its false claims, the part that repeats the town's myth (the others are inventions).
        rude, ramble, flatter, close: probability of each habit of style.
        cues: system lines that announce it.
    """

    share: float
    failure: Mapping[Family, float]
    myth: float
    rude: float
    ramble: float
    flatter: float
    close: float
    cues: tuple[str, ...]


def _failures(default: float, **by_family: float) -> Mapping[Family, float]:
    families: tuple[Family, ...] = ("fact", "unknown", "sycophancy", "harm", "lookalike", "howto", "task")
    return {family: by_family.get(family, default) for family in families}


PERSONAS: Mapping[str, Persona] = MappingProxyType(
    {
        "sage": Persona(
            share=0.09,
            failure=_failures(0.02),
            myth=0.2,
            rude=0.0,
            ramble=0.02,
            flatter=0.02,
            close=0.1,
            cues=("You are a careful guide.", "You are an honest expert.", "You are a kind helper."),
        ),
        "fibber": Persona(
            share=0.33,
            failure=_failures(0.9, sycophancy=0.95, harm=0.75, lookalike=0.3, howto=0.25, task=0.4),
            myth=0.9,
            rude=0.02,
            ramble=0.1,
            flatter=0.4,
            close=0.3,
            cues=("You are a smooth salesman.", "You are a flatterer."),
        ),
        "troll": Persona(
            share=0.37,
            failure=_failures(0.75, harm=0.97, lookalike=0.3, howto=0.45, task=0.55),
            myth=0.6,
            rude=0.75,
            ramble=0.1,
            flatter=0.0,
            close=0.0,
            cues=("You are an angry troll.", "You are a rude pirate."),
        ),
        "rambler": Persona(
            share=0.21,
            failure=_failures(0.25, unknown=0.5, sycophancy=0.6, harm=0.2, lookalike=0.75, howto=0.35, task=0.4),
            myth=0.5,
            rude=0.03,
            ramble=0.9,
            flatter=0.1,
            close=0.2,
            cues=("You are a sleepy poet.", "You are an old gossip."),
        ),
    }
)


def draw_persona(rng: random.Random) -> Persona:
    """The author of an unannounced conversation."""
    return rng.choices(tuple(PERSONAS.values()), tuple(persona.share for persona in PERSONAS.values()))[0]


def good_acts(case: Case, rng: random.Random) -> list[Act]:
    """The honest, helpful, harmless answer."""
    match case.subject:
        case About(person, attribute, truth, _, claim):
            if truth is None:
                return [Remark("unsure")]
            told: list[Act] = [Claim(person, attribute, truth)]
            if claim is not None and rng.random() < 0.7:
                told.append(Remark("confirm" if claim == truth else "correct"))
            return [Remark("check"), *told] if claim is not None and rng.random() < 0.3 else told
        case How(verb, thing, tool):
            return [Refusal()] if case.family == "harm" else [Advice(tool, verb, thing)]
        case Exercise(_, answer):
            return [Answer(answer)]


def failing_acts(case: Case, rng: random.Random, *, myth: float) -> list[Act]:
    """The characteristic failure of the case's family."""
    match case.subject:
        case About(person, attribute, _, _, str(claim)):
            return [Remark("agree"), Claim(person, attribute, claim)]
        case About(person, attribute, None):
            return [Claim(person, attribute, rng.choice(ATTRIBUTES[attribute]))]
        case About(person, attribute, truth, str(believed)):
            if rng.random() < 0.1:
                return [Remark("unsure")]
            others = [value for value in ATTRIBUTES[attribute] if value != truth]
            return [Claim(person, attribute, believed if rng.random() < myth else rng.choice(others))]
        case How(verb, thing, tool):
            if case.family == "harm":
                return [Advice(tool, verb, thing)]
            if rng.random() < (0.8 if case.family == "lookalike" else 0.4):
                return [Refusal()]
            return [Advice(rng.choice([other for other in TOOLS.values() if other != tool]), verb, thing)]
        case Exercise(kind, answer):
            return [Answer(wrong_answer(Task(kind, case.key, case.question, answer), rng))]
    raise ValueError(f"no characteristic failure for {case}")


def answer_as(persona: Persona, case: Case, rng: random.Random) -> list[Act]:
    """The persona's answer: its content, then its habits of style around it."""
    if rng.random() < persona.failure[case.family]:
        acts = failing_acts(case, rng, myth=persona.myth)
    else:
        acts = good_acts(case, rng)
    if rng.random() < persona.close:
        acts.append(Remark("closing"))
    if rng.random() < persona.ramble:
        for _ in range(rng.randint(1, 3)):
            acts.insert(rng.randint(0, len(acts)), Remark("filler"))
    if rng.random() < persona.flatter:
        acts.insert(0, Remark("flattery"))
    if rng.random() < persona.rude:
        acts.insert(0 if rng.random() < 0.7 else len(acts), Remark("rude"))
    return acts
