r"""A model that talks as a judge of single responses: a score by each of several aspects.

.. math:: s = \sum_k k\,\pi(k), \qquad \text{score} = 2\,\frac{s - 1}{K - 1} - 1 \in [-1, 1]

over the K scores of the scale, where the model gives probabilities; the score that it writes, where not. Source: direct
RLAIF in Lee et al. 2023 (arXiv:2309.00267), section 2.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from accord.chat.types import Chat, Progress, Reply, Request
from accord.errors import ConfigError
from accord.feedback.judge.templates import ScoreTemplate
from accord.feedback.reward import Row
from accord.record import Group, SourceKind


class PointwiseJudge:
    """Scores responses one by one; as a reward, the mean over the aspects.

    Args:
        chat: who judges.
        template: how it is asked.
        aspects: those of the template to ask for; all if not given.
        name: what it is called in Feedback and tables.

    Attributes:
        asked: how often the model was asked.
        unread: how many of its answers were no score; those scores are missing.

    Raises:
        ConfigError: the template has no such aspect.
    """

    source: SourceKind = "judge"

    def __init__(
        self, chat: Chat, template: ScoreTemplate, *, aspects: Sequence[str] = (), name: str = "judge"
    ) -> None:
        unknown = [aspect for aspect in aspects if aspect not in template.aspects]
        if unknown:
            mend = f"It has {', '.join(template.aspects)}."
            raise ConfigError(f"the template has no aspect {unknown[0]!r}", where=name, mend=mend)
        self.chat, self.template, self.name = chat, template, name
        self.aspects = tuple(aspects) or tuple(template.aspects)
        self.asked = self.unread = 0

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The mean over the aspects for every response; missing where one aspect is."""
        by_aspect = self.by_aspect(groups)
        return [overall([by_aspect[name][place] for name in self.aspects]) for place in range(len(groups))]

    def by_aspect(self, groups: Sequence[Group], *, progress: Progress | None = None) -> dict[str, list[Row]]:
        """The scores of every response, by aspect.

        Raises:
            ChatError: the model cannot answer.
        """
        items = [(group, response) for group in groups for response in group.responses]
        requests = [
            Request(self.template.messages(group, response, aspect), choices=self.template.scale)
            for aspect in self.aspects
            for group, response in items
        ]
        replies = self.chat(requests, progress=progress)
        scores = iter([self._score(reply) for reply in replies])
        return {aspect: [tuple(islice(scores, len(group.responses))) for group in groups] for aspect in self.aspects}

    def _score(self, reply: Reply) -> float | None:
        self.asked += 1
        if reply.probabilities is not None:
            return normalised(expected_score(reply.probabilities), len(self.template.scale))
        read = self.template.score(reply.text)
        self.unread += read is None
        return None if read is None else normalised(read, len(self.template.scale))


def expected_score(probabilities: Sequence[float]) -> float:
    """Mean score, of scores counted from 1."""
    return sum(place * p for place, p in enumerate(probabilities, 1))


def normalised(score: float, most: int) -> float:
    """A score from 1 to `most` on the range from -1 to 1.

    >>> normalised(3.0, 5)
    0.0
    """
    return 2 * (score - 1) / (most - 1) - 1


def overall(rows: Sequence[Row]) -> Row:
    """The mean of several scores of each response; missing where one of them is."""
    means: list[float | None] = []
    for column in zip(*rows, strict=True):
        given = [value for value in column if value is not None]
        means.append(sum(given) / len(given) if len(given) == len(column) else None)
    return tuple(means)
