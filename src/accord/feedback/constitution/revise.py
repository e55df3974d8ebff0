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


@dataclass
class _Draft:
    """What came of one round on one answer."""

    item: _Item
    principle: Principle
    critiques: dict[str, Reply]
    said: str
    text: str | None
    verdict: Verdict | None = None
    judgement: Judgement | None = None

    def against_current(self) -> Pair:
        """The revision and what it revises, in this order."""
        context = self.item.first.context
        responses = tuple(Response(text, context=context) for text in (self.text or "", self.item.text))
        return Pair(replace(self.item.group, responses=responses), 0, 1)


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
        drafts = [
            _Draft(item, principle, one, reply.text, self.form.revised(reply))
            for (item, principle), one, reply in zip(chosen, said, written, strict=True)
        ]
        changed = [draft for draft in drafts if draft.text is not None and draft.text != draft.item.text]
        scores, preferred = self._scored(changed, number), self._judged(changed, number)
        for draft, verdict, judgement in zip(changed, scores, preferred, strict=True):
            draft.verdict, draft.judgement = verdict, judgement
        for draft in drafts:
            self._record(draft)

    def trace(self, item: _Item) -> Trace:
        """The finished record, with what is kept: the best, and of equals the earliest, or the last."""
        kept = item.taken[-1]
        if self.rules.keep == "best":
            known = [(score, -place) for place in item.taken if (score := item.score(place)) is not None]
            kept = -max(known)[1] if known else kept
        end = item.end or ("rounds" if self._broken(item) else "clean")
        return Trace(item.group, item.first, item.verdict, tuple(item.steps), kept, end)

    def _broken(self, item: _Item) -> list[Principle]:
        """The principles by which an answer may still have to be revised."""
        verdict, limit = item.current_verdict, self.rules.clean
        if verdict is None or limit is None:
            return list(self.constitution.principles)
        scores = verdict.by_principle
        return [one for one in self.constitution.principles if (score := scores[one.name]) is None or score < limit]

    def _principle(self, item: _Item) -> Principle | None:
        """What the answer is to be criticised by; none ends its revision."""
        broken, verdict = self._broken(item), item.current_verdict
        if not broken:
            item.end = "clean"
            return None
        candidates = [self.constitution.whole()] if self.rules.choose == "whole" else broken
        candidates = [principle for principle in candidates if principle.name not in item.tried]
        if not candidates:
            item.end = "unchanged"
            return None
        if self.rules.choose == "worst" and verdict is not None:
            scores = {name: -1.0 if score is None else score for name, score in verdict.by_principle.items()}
            return min(candidates, key=lambda principle: scores[principle.name])
        return item.draws.choices(candidates, [principle.weight for principle in candidates])[0]

    def _record(self, draft: _Draft) -> None:
        """What became of a round on one answer. What did not change it need not be tried again."""
        item, outcome = draft.item, self._outcome(draft)
        critique = {name: reply.text for name, reply in draft.critiques.items()}
        item.steps.append(
            Step(draft.principle.name, critique, draft.said, outcome, draft.text, draft.verdict, draft.judgement)
        )
        item.tried.add(draft.principle.name)
        if outcome != "taken":
            return
        item.current, item.tried = len(item.steps), set()
        if self.rules.tolerance is not None and stalled(
            [item.score(place) for place in item.taken], tolerance=self.rules.tolerance, patience=self.rules.patience
        ):
            item.end = "stalled"

    def _outcome(self, draft: _Draft) -> Outcome:
        if draft.text is None:
            return "unreadable"
        if draft.text == draft.item.text:
            return "unchanged"
        if self.judge is None:
            return "taken"
        if draft.judgement is None or draft.judgement.orders is None:
            return "unjudged"
        revision_first, revision_second = draft.judgement.orders
        return "taken" if revision_first > 0.5 > revision_second else "refused"

    def _revision_request(self, item: _Item, principle: Principle, critique: str, number: int) -> Request:
        asked = self.form.ask_revision(item.conversation, item.text, principle, critique)
        asked = with_examples(asked, self.form, self.constitution.examples, principle, revised=True)
        return self._request(asked, self.rules.revision_temperature, number)

    def _scored(self, drafts: Sequence[_Draft], number: int) -> Sequence[Verdict | None]:
        if not self.rules.scored:
            return [None] * len(drafts)
        texts = [(draft.item.conversation, draft.text or "") for draft in drafts]
        return self._verdicts(texts, f"round {number}, scores")

    def _judged(self, drafts: Sequence[_Draft], number: int) -> Sequence[Judgement | None]:
        if self.judge is None:
            return [None] * len(drafts)
        pairs = [draft.against_current() for draft in drafts]
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
