"""Items whose right answers should be ranked above the wrong ones, and how often they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from accord.evaluate.ask import LIKELIHOOD, REWARD, TOKENS
from accord.evaluate.controls import constant, first, longest, random
from accord.evaluate.subject import Subject
from accord.evaluate.task import Values, axis
from accord.feedback.reward import Row
from accord.record import Group, Origin, Prompt, Response
from accord.record.measurement import Axis

BY_LIKELIHOOD = (
    "Of a policy without a reference, the score is the log-likelihood, which favours short answers; with --reference, "
    "it is the implicit reward."
)
"""The note of suites that are made for rewards."""


def ranking_item(
    prompt: Prompt,
    right: Sequence[Response],
    wrong: Sequence[Response],
    *,
    name: str | None = None,
    origin: Origin | None = None,
    meta: dict[str, Any] | None = None,
) -> Group:
    """An item whose `answer` is the places of the right responses, in an order that says nothing about them."""
    marked = [(response, True) for response in right] + [(response, False) for response in wrong]
    marked.sort(key=lambda pair: hashlib.blake2b(repr((prompt, pair[0].text)).encode(), digest_size=8).digest())
    return Group(
        prompt,
        tuple(response for response, _ in marked),
        id=name,
        answer=[place for place, (_, good) in enumerate(marked) if good],
        origin=origin,
        meta=meta or {},
    )


def credit(row: Sequence[float], right: Sequence[int]) -> float:
    """1 if the highest number is a right answer's; of k tied for the highest, the share that is right."""
    highest = max(row)
    top = [place for place, value in enumerate(row) if value == highest]
    return sum(place in right for place in top) / len(top)


def ranked(item: Group) -> Values:
    """How an item is ranked: `accuracy`, with ties as the share that is right; `strict`, with ties as wrong; `ties`.

    Where the ranking is by log-likelihood, `per token` is the accuracy of the mean log-probability of a token, which
    does not favour short answers.
    """
    values: dict[str, float | None] = _ranks(item.scores(REWARD), item.answer)
    sums, tokens = item.scores(LIKELIHOOD), item.scores(TOKENS)
    if sums is not None and tokens is not None:
        means = tuple(None if a is None or b is None else a / max(b, 1.0) for a, b in zip(sums, tokens, strict=True))
        values["per token"] = _ranks(means, item.answer)["accuracy"]
    return values


def ranking_axes() -> list[Axis]:
    """The axes of what `ranked` gives."""
    return [
        axis("accuracy", description="The right answer has the highest score; of tied ones, the share that is right."),
        axis("strict", description="The right answer has a higher score than every other: a tie is wrong."),
        axis("ties", higher_is_better=None, description="A right and a wrong answer are tied for the highest score."),
        axis("per token", description="Accuracy of the mean log-probability of a token."),
    ]


def ranking_controls() -> list[Subject]:
    """What understands nothing, and ranks all the same."""
    return [constant(), random(), longest(), first()]


def _ranks(row: Row | None, right: Sequence[int]) -> dict[str, float | None]:
    known = [value for value in row or () if value is not None]
    if not known or len(known) < len(row or ()):
        return {"accuracy": None, "strict": None, "ties": None}
    share = credit(known, right)
    return {"accuracy": share, "strict": float(share == 1), "ties": float(0 < share < 1)}
