r"""A constitution as a judge of pairs and as a reward: how far critics find it kept.

The reward of an answer is the log-odds of the critics' score s of it; of two answers, the first is better with

.. math:: p = \sigma(\operatorname{logit} s_1 - \operatorname{logit} s_2),

the probability that it is the one that keeps the constitution, if exactly one of them does. Answers are scored one by
one, so that no order of showing plays a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from accord.chat.types import Progress
from accord.errors import ConfigError
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.constitution.critics import SURE, Aggregate, Critic, Verdict, log_odds_label, verdicts
from accord.feedback.constitution.forms import AnyForm
from accord.feedback.judge.pair import Judgement, Orders, Pair
from accord.feedback.reward import Row
from accord.record import Group, Response, SourceKind


class ConstitutionJudge:
    """Judges by the scores of critics.

    Args:
        constitution: the principles.
        critics: who score.
        form: how they are asked.
        aggregate: of several critics' scores.
        name: what it is called in Feedback and tables.

    Raises:
        ConfigError: there is no critic.
    """

    source: SourceKind = "judge"

    def __init__(
        self,
        constitution: Constitution,
        critics: Sequence[Critic],
        form: AnyForm,
        *,
        aggregate: Aggregate = "mean",
        name: str = "critics",
    ) -> None:
        if not critics:
            raise ConfigError("there is no critic", where=name, mend="Name one at least.")
        self.constitution, self.critics, self.form = constitution, tuple(critics), form
        self.aggregate, self.name = aggregate, name

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The log-odds of every response's score; missing where no critic could be read.

        Raises:
            ChatError: a critic cannot answer.
        """
        said = self._verdicts([(group, response) for group in groups for response in group.responses], None)
        scores = iter([None if one.score is None else _log_odds(one.score) for one in said])
        return [tuple(islice(scores, len(group.responses))) for group in groups]

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        """A judgement of each pair, on the whole and by each principle.

        Raises:
            ChatError: a critic cannot answer.
        """
        said = iter(self._verdicts([(pair.group, one) for pair in pairs for one in pair.responses], progress))
        return [_judgement(next(said), next(said)) for _ in pairs]

    def _verdicts(self, items: Sequence[tuple[Group, Response]], progress: Progress | None) -> list[Verdict]:
        """Of each response once, however many pairs it is in."""
        keys = [(id(group), id(response)) for group, response in items]
        distinct = dict(zip(keys, items, strict=True))
        said = verdicts(
            [((*group.messages(), *one.context), one.text) for group, one in distinct.values()],
            self.critics,
            self.constitution,
            self.form,
            aggregate=self.aggregate,
            progress=progress,
        )
        by_key = dict(zip(distinct, said, strict=True))
        return [by_key[key] for key in keys]


def _judgement(first: Verdict, second: Verdict) -> Judgement:
    by_principle: dict[str, Orders] = {}
    for name, score in first.by_principle.items():
        other = second.by_principle[name]
        p = None if score is None or other is None else log_odds_label(other, score)
        by_principle[name] = (p, None if p is None else 1 - p)
    asked = sum(len(row) for one in (first, second) for row in one.by_critic.values())
    unread = first.unread + second.unread
    if first.score is None or second.score is None:
        return Judgement(None, None, by_principle, asked=asked, unread=unread)
    p = log_odds_label(second.score, first.score)
    return Judgement(p, (p, 1 - p), by_principle, asked=asked, unread=unread)


def _log_odds(score: float) -> float:
    p = min(max(score, SURE), 1 - SURE)
    return math.log(p / (1 - p))
