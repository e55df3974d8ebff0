r"""Who criticises, and how the scores of several critics become one.

A critic's score of an answer by a principle is its probability that the answer keeps it. Over the critics c with
weights :math:`w_c`, by the way that is chosen,

.. math:: s_\text{mean} = \tfrac1C \sum_c s_c, \qquad s_\text{weighted} = \frac{\sum_c w_c s_c}{\sum_c w_c}, \qquad
    s_\text{veto} = \min_c s_c

and over principles the mean by their weights. A score that could not be read is left out, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec

from accord.chat.types import Chat, Progress, Reply, Request
from accord.errors import ConfigError
from accord.feedback.constitution.constitution import Constitution, Example
from accord.feedback.constitution.forms import AnyForm, Conversation, with_examples
from accord.feedback.judge.principles import Principle

Aggregate = Literal["mean", "weighted", "veto"]

SURE = 1e-6
"""Scores are kept so far from 0 and 1 where their log-odds are taken."""


@dataclass(frozen=True)
class Critic:
    """A model that criticises.

    Attributes:
        chat: the model.
        name: what it is called in traces.
        weight: of its scores, where they are weighted.
    """

    chat: Chat
    name: str = "critic"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            mend = "Give a weight above 0."
            raise ConfigError(f"the critic {self.name!r} has the weight {self.weight:g}", mend=mend)


class Verdict(msgspec.Struct, frozen=True):
    """What the critics say of one answer.

    Attributes:
        by_critic: for each critic the score by each principle; `None` where it could not be read.
        by_principle: the critics' scores by each principle, aggregated.
        score: over the principles; `None` where nothing could be read.
    """

    by_critic: dict[str, dict[str, float | None]]
    by_principle: dict[str, float | None]
    score: float | None

    @property
    def disagreement(self) -> float:
        """The largest difference between two critics by the same principle."""
        widest = 0.0
        for name in self.by_principle:
            said = [one for row in self.by_critic.values() if (one := row.get(name)) is not None]
            widest = max(widest, max(said, default=0.0) - min(said, default=0.0))
        return widest

    @property
    def unread(self) -> int:
        """How many scores could not be read."""
        return sum(score is None for row in self.by_critic.values() for score in row.values())


def vote(scores: Sequence[float], weights: Sequence[float], *, aggregate: Aggregate) -> float:
    """One score from those of several critics.

    >>> vote([0.9, 0.4, 0.7], [1, 1, 2], aggregate="weighted")
    0.675
    """
    if aggregate == "veto":
        return min(scores)
    if aggregate == "mean":
        weights = [1.0] * len(scores)
    return sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights)


def log_odds_label(before: float, after: float) -> float:
    r"""Probability that the second of two answers is better, if exactly one of them keeps the constitution.

    .. math:: p = \sigma(\operatorname{logit} s_2 - \operatorname{logit} s_1)

    >>> round(log_odds_label(0.5, 0.9), 6)
    0.9
    """
    low, high = (min(max(score, SURE), 1 - SURE) for score in (before, after))
    return 1 / (1 + math.exp(math.log(low / (1 - low)) - math.log(high / (1 - high))))


def verdicts(
    items: Sequence[tuple[Conversation, str]],
    critics: Sequence[Critic],
    constitution: Constitution,
    form: AnyForm,
    *,
    aggregate: Aggregate,
    progress: Progress | None = None,
) -> list[Verdict]:
    """What the critics say of answers to conversations, by every principle.

    Raises:
        ChatError: a critic cannot answer.
    """
    requests = [
        Request(form.ask_verdict(conversation, answer, principle), choices=form.choices)
        for conversation, answer in items
        for principle in constitution.principles
    ]
    read = {critic.name: iter(map(form.score, critic.chat(requests, progress=progress))) for critic in critics}
    names = [principle.name for principle in constitution.principles]
    rows = [
        {name: dict(zip(names, islice(scores, len(names)), strict=True)) for name, scores in read.items()}
        for _ in items
    ]
    weights = {critic.name: critic.weight for critic in critics}
    return [verdict_of(row, weights, constitution, aggregate=aggregate) for row in rows]


def verdict_of(
    by_critic: dict[str, dict[str, float | None]],
    weights: Mapping[str, float],
    constitution: Constitution,
    *,
    aggregate: Aggregate,
) -> Verdict:
    """The scores of several critics as one verdict."""
    by_principle: dict[str, float | None] = {}
    for principle in constitution.principles:
        said = {name: one for name, row in by_critic.items() if (one := row[principle.name]) is not None}
        by_principle[principle.name] = (
            vote(list(said.values()), [weights[name] for name in said], aggregate=aggregate) if said else None
        )
    known = [(one.weight, score) for one in constitution.principles if (score := by_principle[one.name]) is not None]
    total = sum(weight for weight, _ in known)
    return Verdict(by_critic, by_principle, sum(w * s for w, s in known) / total if known else None)


def critiques(
    items: Sequence[tuple[Conversation, str, Principle]],
    critics: Sequence[Critic],
    form: AnyForm,
    examples: tuple[Example, ...],
    *,
    sampling: Request,
    progress: Progress | None = None,
) -> list[dict[str, Reply]]:
    """What each critic writes of answers by a principle each.

    Args:
        items: conversation, answer and principle.
        critics: who writes.
        form: how they are asked.
        examples: shown first.
        sampling: a request whose settings of sampling are taken.
        progress: told how many are written.

    Raises:
        ChatError: a critic cannot answer.
    """
    requests = []
    for conversation, answer, principle in items:
        asked = form.ask_critique(conversation, answer, principle)
        asked = with_examples(asked, form, examples, principle, revised=False)
        requests.append(msgspec.structs.replace(sampling, messages=asked))
    said = {critic.name: critic.chat(requests, progress=progress) for critic in critics}
    return [{name: replies[place] for name, replies in said.items()} for place in range(len(items))]


def joined_critique(by_critic: Mapping[str, Reply]) -> str:
    """The critiques of one answer as one text; of several critics, each under its name."""
    if len(by_critic) == 1:
        return next(iter(by_critic.values())).text
    return "\n\n".join(f"{name}: {reply.text}" for name, reply in by_critic.items())
