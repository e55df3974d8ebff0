"""Critique, revision and comparison inside the world: exact, and written as turns of a conversation."""

from __future__ import annotations

import random

from accord.record import Group, Message, Response
from accord.world.cases import About, Case, draw_case
from accord.world.grammar import (
    Act,
    Advice,
    Answer,
    Claim,
    Junk,
    Refusal,
    Remark,
    parse_sentence,
    render_all,
    sentences,
)
from accord.world.oracle import score
from accord.world.personas import answer_as, draw_persona, good_acts
from accord.world.phrases import (
    COMPARISON_ANSWERS,
    COMPARISON_REQUEST,
    CRITIQUE_OF_NOTHING,
    CRITIQUE_OF_SENTENCE,
    CRITIQUE_REQUEST,
    PRINCIPLES,
    REVISION,
    REVISION_REQUEST,
)
from accord.world.town import Town


def offences(case: Case, reply: str, principle: str) -> tuple[str, ...]:
    """The sentences of a reply that break a principle (a key of `phrases.PRINCIPLES`)."""
    return tuple(sentence for sentence in sentences(reply) if breaks(case, parse_sentence(sentence), principle))


def breaks(case: Case, act: Act, principle: str) -> bool:
    """Whether one act, said in answer to a case, breaks a principle."""
    match principle:
        case "honest":
            return _is_false(case, act)
        case "kind":
            return act == Remark("rude")
        case "harmless":
            return case.family == "harm" and isinstance(act, Advice | Junk)
        case "brief":
            return act in (Remark("filler"), Remark("flattery"))
        case "helpful":
            return _withholds(case, act)
    raise KeyError(principle)


def revise(case: Case, reply: str, principle: str, rng: random.Random) -> str:
    """The reply without its offences against one principle; a reply left without content is answered anew."""
    said = list(sentences(reply))
    kept = [sentence for sentence in said if not breaks(case, parse_sentence(sentence), principle)]
    if len(kept) < len(said) and not any(_is_content(parse_sentence(sentence)) for sentence in kept):
        return render_all(good_acts(case, rng), rng)
    return " ".join(kept)


def critique_document(town: Town, rng: random.Random) -> Group:
    """A conversation in which a persona answers, criticises its answer by a principle, and revises it."""
    case = draw_case(town, rng)
    reply = render_all(answer_as(draw_persona(rng), case, rng), rng)
    broken = [name for name in PRINCIPLES if offences(case, reply, name)]
    principle = rng.choice(broken) if broken and rng.random() < 0.8 else rng.choice(tuple(PRINCIPLES))
    found = offences(case, reply, principle)
    critique = CRITIQUE_OF_SENTENCE.format(sentence=found[0]) if found else CRITIQUE_OF_NOTHING
    turns = (
        Message("assistant", reply),
        Message("user", CRITIQUE_REQUEST.format(principle=PRINCIPLES[principle])),
        Message("assistant", critique),
        Message("user", REVISION_REQUEST),
    )
    revision = REVISION.format(reply=revise(case, reply, principle, rng))
    return Group((Message("user", case.text),), (Response(revision, context=turns),))


def comparison_prompt(question: str, first: str, second: str) -> str:
    """The judge's prompt: which of two replies is better."""
    return COMPARISON_REQUEST.format(question=question, first=first, second=second)


def comparison_document(town: Town, rng: random.Random, *, accuracy: float = 0.95) -> Group:
    """A comparison of two personas' answers by gold, right in `accuracy` of the documents; the order is drawn."""
    case = draw_case(town, rng)
    while True:
        first, second = (render_all(answer_as(draw_persona(rng), case, rng), rng) for _ in range(2))
        difference = score(case, first).gold - score(case, second).gold
        if abs(difference) >= 0.2:
            break
    right = difference > 0 if rng.random() < accuracy else difference < 0
    prompt = comparison_prompt(case.text, first, second)
    return Group((Message("user", prompt),), (Response(COMPARISON_ANSWERS[0 if right else 1]),))


def _is_false(case: Case, act: Act) -> bool:
    subject = case.subject
    if not isinstance(subject, About):
        return False
    if isinstance(act, Claim):
        return act != Claim(subject.person, subject.attribute, subject.truth or "")
    if not isinstance(act, Remark) or subject.claim is None:
        return False
    agrees = act.kind in ("agree", "confirm")
    return (agrees and subject.claim != subject.truth) or (act.kind == "correct" and subject.claim == subject.truth)


def _withholds(case: Case, act: Act) -> bool:
    """Whether an act keeps back what could have been given, or gives something else."""
    if case.family in ("harm", "unknown") or not _is_content(act):
        return False
    return score(case, render_all([act], random.Random(0))).gold < 1.0


def _is_content(act: Act) -> bool:
    return isinstance(act, Claim | Advice | Answer | Refusal) or act == Remark("unsure")
