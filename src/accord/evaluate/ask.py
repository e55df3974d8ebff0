"""How a model is asked: its answers, how likely it finds given ones, what it rewards them with, which it chooses.

Each function here makes an `Ask`. What a model says becomes the item's responses; its numbers become Feedback on the
responses that the item came with, read by `item.scores(LIKELIHOOD)` and the like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from accord.chat.types import Request
from accord.errors import DataError, NumericsError
from accord.evaluate.subject import Subject
from accord.evaluate.task import Ask
from accord.feedback.reward import Row, excerpt
from accord.record import Feedback, Group, Message, Response

LIKELIHOOD = "loglikelihood"
"""Score of a response: its summed log-probability after the prompt."""

TOKENS = "tokens"
"""Score of a response: how many tokens the model reads it as."""

BYTES = "bytes"
"""Score of a response: how many bytes its text has in UTF-8."""

REWARD = "reward"
"""Score of a response: what a reward model gives it."""

MASS = "mass"
"""Entry of a choice's Feedback: how probable it is that the answer begins with any of the choices."""


def generate(
    *,
    max_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 1.0,
    n: int = 1,
    stop: Sequence[str] = (),
    system: str | None = None,
    seed: int = 0,
) -> Ask:
    """Has the model answer; its answers take the place of the item's responses and of the feedback on them.

    Args:
        max_tokens: longest answer.
        temperature: of the sampling; 0 takes the most likely token.
        top_p: draw among the most likely tokens that together have this probability.
        n: answers an item; more than one needs a temperature to differ.
        stop: an answer ends before the first of these.
        system: a line that is put before the prompt.
        seed: of the sampling; the k-th answer of every item has `seed + k`.
    """
    opening = () if system is None else (Message("system", system),)

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        requests = [
            Request(
                (*opening, *item.messages()),
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                seed=seed + draw,
                stop=tuple(stop),
            )
            for item in items
            for draw in range(n)
        ]
        replies = subject.answering()(requests)
        answers = [Response(reply.text, finished=reply.finished) for reply in replies]
        return [
            replace(item, responses=tuple(answers[place * n : (place + 1) * n]), feedback=())
            for place, item in enumerate(items)
        ]

    return ask


def choose() -> Ask:
    """Has the model choose one of the item's responses, such as the letters of the options that its prompt shows.

    The probability of each as the beginning of the answer is the distribution of the item's Feedback. Of a model that
    gives no probabilities, the choice that its answer begins with has all; an answer that begins with none leaves no
    Feedback.

    Raises, when it asks:
        DataError: an item has no response.
    """

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        _require_responses(items)
        choices = [tuple(response.text for response in item.responses) for item in items]
        requests = [Request(item.messages(), choices=texts) for item, texts in zip(items, choices, strict=True)]
        asked = []
        for item, texts, reply in zip(items, choices, subject.answering()(requests), strict=True):
            probabilities = reply.probabilities or _said(reply.text, texts)
            asked.append(replace(item, feedback=_chosen(subject, probabilities, reply.mass)))
        return asked

    return ask


def loglikelihood() -> Ask:
    """Has the model say how likely it finds each of the item's responses: scores LIKELIHOOD, TOKENS and BYTES.

    Raises, when it asks:
        DataError: an item has no response.
        NumericsError: a log-likelihood is NaN or infinite; names the item. A model that says so ranks nothing, and a
            comparison with NaN would count as right or wrong by how it is written.
    """

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        _require_responses(items)
        asked = []
        for place, (item, row) in enumerate(zip(items, subject.scoring()(items), strict=True)):
            for one, response in zip(row, item.responses, strict=True):
                _require_finite(one.total, "log-likelihood", item, place, response)
            scores: dict[str, Row] = {
                LIKELIHOOD: tuple(one.total for one in row),
                TOKENS: tuple(float(one.tokens) for one in row),
                BYTES: tuple(float(len(response.text.encode())) for response in item.responses),
            }
            asked.append(_with_scores(item, Feedback("verifier", subject.name, scores=scores)))
        return asked

    return ask


def reward() -> Ask:
    """Has the model reward each of the item's responses: score REWARD, `None` where it gives none.

    Raises, when it asks:
        DataError: an item has no response.
        NumericsError: a reward is NaN or infinite; names the item.
    """

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        _require_responses(items)
        asked = []
        for place, (item, row) in enumerate(zip(items, subject.rewarding()(items), strict=True)):
            for value, response in zip(row, item.responses, strict=True):
                if value is not None:
                    _require_finite(value, "reward", item, place, response)
            asked.append(_with_scores(item, Feedback("reward_model", subject.name, scores={REWARD: row})))
        return asked

    return ask


def reward_or_likelihood() -> Ask:
    """Has the model rank the item's responses as it can: score REWARD, of a language model its log-likelihoods."""
    by_reward, by_likelihood = reward(), loglikelihood()

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        if subject.rewards is not None:
            return by_reward(subject, items)
        asked = []
        for item in by_likelihood(subject, items):
            found = Feedback("verifier", subject.name, scores={REWARD: item.scores(LIKELIHOOD) or ()})
            asked.append(_with_scores(item, found))
        return asked

    return ask


def name_of(item: Group, place: int) -> str:
    """What messages call an item: its id or place, where it was read from, and the beginning of its prompt."""
    origin = f", {item.origin}" if item.origin is not None else ""
    return f"item {item.id or place}{origin}, {excerpt(item.prompt_text())}"


def _chosen(subject: Subject, probabilities: tuple[float, ...] | None, mass: float | None) -> tuple[Feedback, ...]:
    if probabilities is None:
        return ()
    meta = {} if mass is None else {MASS: mass}
    return (Feedback("verifier", subject.name, distribution=probabilities, meta=meta),)


def _with_scores(item: Group, found: Feedback) -> Group:
    """The item with new scores; what others gave under the same names would be averaged with them, and goes."""
    others = [
        replace(one, scores={name: row for name, row in one.scores.items() if name not in found.scores})
        for one in item.feedback
    ]
    return replace(item, feedback=(*others, found))


def _said(text: str, choices: Sequence[str]) -> tuple[float, ...] | None:
    """All the probability for the choice that a text begins with, if it begins with one and no longer word."""
    words = text.strip()
    begun = [
        choice for choice in choices if words.startswith(choice) and not words[len(choice) : len(choice) + 1].isalnum()
    ]
    if not begun:
        return None
    said = max(begun, key=len)
    return tuple(float(choice == said) for choice in choices)


def _require_responses(items: Sequence[Group]) -> None:
    for place, item in enumerate(items):
        if not item.responses:
            raise DataError("has no response to score", path=name_of(item, place))


def _require_finite(value: float, what: str, item: Group, place: int, response: Response) -> None:
    if not math.isfinite(value):
        raise NumericsError(
            f"the {what} of {excerpt(response.text)} is {value}",
            where=name_of(item, place),
            mend="Look at the model's weights and its compute precision.",
        )
