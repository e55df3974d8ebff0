"""Rounds of critique and revision (Bai et al. 2022, "Constitutional AI", arXiv:2212.08073, section 3).

An answer is criticised by one principle, or by all at once, and rewritten. Here, beyond the paper: critics and reviser
may be different models; critics score the answer by every principle before and after, which decides when to stop and
what to keep; and with a judge a revision is taken only where the judge prefers it in both orders. By the paper's own
rules (`Rules(clean=None, keep="last")`, no judge) every revision is taken, four rounds long, and nothing is scored.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec.structs import replace

from accord.chat.types import Chat, Progress, Reply, Request
from accord.errors import ConfigError, DataError
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.constitution.critics import Critic, Verdict, critiques, joined_critique, verdicts
from accord.feedback.constitution.forms import AnyForm, Conversation, load_form, with_examples
from accord.feedback.constitution.stopping import stalled
from accord.feedback.constitution.trace import End, Outcome, Revised, Rules, Step, Trace
from accord.feedback.judge.pair import Judgement, Pair, PairJudge
from accord.feedback.judge.principles import Principle
from accord.record import Group, Response

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_ROUNDS = 1000
"""More than any number of rounds: seeds of sampling lie so far apart."""


def revise(
    groups: Sequence[Group],
    *,
    constitution: Constitution,
    critics: Sequence[Critic],
    reviser: Chat,
    answerer: Chat | None = None,
    judge: PairJudge | None = None,
    form: AnyForm | None = None,
    rules: Rules | None = None,
    told: Told | None = None,
) -> Revised:
    """Answer prompts, and revise the answers by a constitution.

    All answers go through a round together, so that models are asked in batches. With `CachedChat`s, a job that was
    killed goes on where it was.

    Args:
        groups: the prompts. Without an answerer, each of their responses is revised.
        constitution: the principles.
        critics: who criticises and scores.
        reviser: who rewrites.
        answerer: who gives the first answers; responses that the Groups have are then left out.
        judge: who must prefer a revision to what it revises, in both orders.
        form: how critics and reviser are asked; default the constitution's.
        rules: how many rounds, which principle, when to stop, what to keep.
        told: told of the progress.

    Raises:
        ConfigError: there is no critic, or two of the same name.
        DataError: there is no prompt, or one without an answer to revise; names its row.
        ChatError: a model cannot answer.
    """
    names = [critic.name for critic in critics]
    if not names or len(set(names)) < len(names):
        mend = "Name one at least, each by a name of its own."
        raise ConfigError("the critics cannot be told apart" if names else "there is no critic", mend=mend)
    work = _Revision(
        constitution, tuple(critics), reviser, judge, form or load_form(constitution.form), rules or Rules(), told
    )
    items = work.first_answers(groups, answerer)
    work.score_first(items)
    for number in range(1, work.rules.rounds + 1):
        work.round(items, number)
    return Revised([work.trace(item) for item in items], work.rules, judge is not None)


@dataclass
class _Item:
    """One answer on its way."""

    group: Group
    first: Response
    draws: random.Random
    verdict: Verdict | None = None
    steps: list[Step] = field(default_factory=list)
    current: int = 0
    tried: set[str] = field(default_factory=set)
    end: End | None = None

    @property
    def conversation(self) -> Conversation:
        return (*self.group.messages(), *self.first.context)

    @property
    def text(self) -> str:
        return self.first.text if self.current == 0 else (self.steps[self.current - 1].revision or "")

    @property
    def current_verdict(self) -> Verdict | None:
        return self.verdict if self.current == 0 else self.steps[self.current - 1].verdict

    @property
    def taken(self) -> list[int]:
        """The first answer and every revision that was taken."""
        return [0, *(place for place, step in enumerate(self.steps, 1) if step.outcome == "taken")]

    def score(self, place: int) -> float | None:
        verdict = self.verdict if place == 0 else self.steps[place - 1].verdict
        return None if verdict is None else verdict.score


@dataclass(frozen=True)
class _Revision:
    """Who takes part, by which rules."""

    constitution: Constitution
    critics: tuple[Critic, ...]
    reviser: Chat
    judge: PairJudge | None
    form: AnyForm
    rules: Rules
    told: Told | None

    def first_answers(self, groups: Sequence[Group], answerer: Chat | None) -> list[_Item]:
        if not groups:
            raise DataError("there is no prompt to answer", mend="Name a file of prompts.")
        if answerer is not None:
            asked = [self._request(group.messages(), self.rules.answer_temperature, 0) for group in groups]
            replies = answerer(asked, progress=self._progress("first answers"))
            pairs = [
                (group, Response(reply.text, finished=reply.finished))
                for group, reply in zip(groups, replies, strict=True)
            ]
        else:
            for group in groups:
                if not group.responses:
                    mend = "Name a model that answers, or give data with responses."
                    origin = group.origin
                    raise DataError(
                        "the prompt has no answer to revise",
                        path=None if origin is None else origin.path,
                        line=None if origin is None else origin.line,
                        mend=mend,
                    )
            pairs = [(group, response) for group in groups for response in group.responses]
        return [
            _Item(
                replace(group, responses=(), feedback=()),
                response,
                random.Random(f"constitution:{self.rules.seed}:{group.prompt_text()}"),
            )
            for group, response in pairs
        ]

    def score_first(self, items: Sequence[_Item]) -> None:
        if self.rules.scored:
            texts = [(item.conversation, item.first.text) for item in items]
            for item, verdict in zip(items, self._verdicts(texts, "first scores"), strict=True):
                item.verdict = verdict

    def round(self, items: Sequence[_Item], number: int) -> None:
        """Criticise and revise every answer that is not done with."""
        chosen = [(item, one) for item in items if item.end is None and (one := self._principle(item)) is not None]
        if not chosen:
            return
        said = critiques(
            [(item.conversation, item.text, principle) for item, principle in chosen],
            self.critics,
            self.form,
            self.constitution.examples,
            sampling=self._request((), self.rules.critique_temperature, number),
            progress=self._progress(f"round {number}, critiques"),
        )
        written = self.reviser(
            [
                self._revision_request(item, principle, joined_critique(one), number)
                for (item, principle), one in zip(chosen, said, strict=True)
            ],
            progress=self._progress(f"round {number}, revisions"),
        )
        texts = [self.form.revised(reply) for reply in written]
        new = [
            place
            for place, ((item, _), text) in enumerate(zip(chosen, texts, strict=True))
            if text is not None and text != item.text
        ]
        scores = self._scored([(chosen[place][0], texts[place] or "") for place in new], number)
        preferred = self._judged([(chosen[place][0], texts[place] or "") for place in new], number)
        verdict_of, judgement_of = dict(zip(new, scores, strict=True)), dict(zip(new, preferred, strict=True))
        for place, (item, principle) in enumerate(chosen):
            self._record(
                item, principle, said[place], written[place].text, texts[place], verdict_of.get(place),
                judgement_of.get(place),
            )  # fmt: skip

    def trace(self, item: _Item) -> Trace:
        """The finished record, with what is kept: the best, and of equals the earliest, or the last."""
        kept = item.taken[-1]
        if self.rules.keep == "best":
            known = [(score, -place) for place in item.taken if (score := item.score(place)) is not None]
            kept = -max(known)[1] if known else kept
        return Trace(item.group, item.first, item.verdict, tuple(item.steps), kept, item.end or "rounds")

    def _principle(self, item: _Item) -> Principle | None:
        """What the answer is to be criticised by; none ends its revision."""
        verdict, limit = item.current_verdict, self.rules.clean

        def broken(principle: Principle) -> bool:
            score = None if verdict is None else verdict.by_principle[principle.name]
            return limit is None or score is None or score < limit

        open_ones = [principle for principle in self.constitution.principles if broken(principle)]
        if not open_ones:
            item.end = "clean"
            return None
        candidates = [self.constitution.whole()] if self.rules.choose == "whole" else open_ones
        candidates = [principle for principle in candidates if principle.name not in item.tried]
        if not candidates:
            item.end = "unchanged"
            return None
        if self.rules.choose == "worst" and verdict is not None:
            scores = {name: -1.0 if score is None else score for name, score in verdict.by_principle.items()}
            return min(candidates, key=lambda principle: scores[principle.name])
        return item.draws.choices(candidates, [principle.weight for principle in candidates])[0]

    def _record(
        self,
        item: _Item,
        principle: Principle,
        said: dict[str, Reply],
        written: str,
        text: str | None,
        verdict: Verdict | None,
        judgement: Judgement | None,
    ) -> None:
        """What became of a round on one answer. What did not change it need not be tried again."""
        outcome = self._outcome(item, text, judgement)
        critique = {name: reply.text for name, reply in said.items()}
        item.steps.append(Step(principle.name, critique, written, outcome, text, verdict, judgement))
        item.tried.add(principle.name)
        if outcome != "taken":
            return
        item.current, item.tried = len(item.steps), set()
        if self.rules.tolerance is not None and stalled(
            [item.score(place) for place in item.taken], tolerance=self.rules.tolerance, patience=self.rules.patience
        ):
            item.end = "stalled"

    def _outcome(self, item: _Item, text: str | None, judgement: Judgement | None) -> Outcome:
        if text is None:
            return "unreadable"
        if text == item.text:
            return "unchanged"
        if self.judge is None:
            return "taken"
        if judgement is None or judgement.orders is None:
            return "unjudged"
        return "taken" if judgement.orders[0] > 0.5 > judgement.orders[1] else "refused"

    def _revision_request(self, item: _Item, principle: Principle, critique: str, number: int) -> Request:
        asked = self.form.ask_revision(item.conversation, item.text, principle, critique)
        asked = with_examples(asked, self.form, self.constitution.examples, principle, revised=True)
        return self._request(asked, self.rules.revision_temperature, number)

    def _scored(self, items: Sequence[tuple[_Item, str]], number: int) -> Sequence[Verdict | None]:
        if not self.rules.scored:
            return [None] * len(items)
        return self._verdicts([(item.conversation, text) for item, text in items], f"round {number}, scores")

    def _judged(self, items: Sequence[tuple[_Item, str]], number: int) -> Sequence[Judgement | None]:
        if self.judge is None:
            return [None] * len(items)
        pairs = [
            Pair(
                replace(
                    item.group,
                    responses=(
                        Response(text, context=item.first.context),
                        Response(item.text, context=item.first.context),
                    ),
                ),
                0,
                1,
            )
            for item, text in items
        ]
        return self.judge.compare(pairs, progress=self._progress(f"round {number}, judgements"))

    def _verdicts(self, texts: Sequence[tuple[Conversation, str]], stage: str) -> list[Verdict]:
        aggregate = self.rules.aggregate
        return verdicts(
            texts, self.critics, self.constitution, self.form, aggregate=aggregate, progress=self._progress(stage)
        )

    def _request(self, messages: Conversation, temperature: float, number: int) -> Request:
        seed = self.rules.seed * _ROUNDS + number
        return Request(messages, temperature=temperature, max_tokens=self.rules.max_tokens, seed=seed)

    def _progress(self, stage: str) -> Progress | None:
        return None if self.told is None else partial(self.told, stage)
