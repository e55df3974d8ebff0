"""A model that talks as a judge of pairs: by the probability of its verdict, or by what it writes."""

from __future__ import annotations

from collections.abc import Sequence

from accord.chat.types import Chat, Progress, Reply, Request
from accord.errors import ConfigError
from accord.feedback.judge.pair import UNDECIDED, Judgement, Orders, Pair, clamped, joined
from accord.feedback.judge.principles import Principle
from accord.feedback.judge.templates import PairTemplate
from accord.record import Message

CLAMP = (0.4, 0.6)
"""Limits of the probabilities of a judge that has reasoned, which is too sure of itself."""

LONGEST = 512
"""Tokens that a judge may reason for."""


class ChatJudge:
    """Asks a model which of two responses is better, in both orders, by one or several principles.

    Args:
        chat: who judges.
        template: how it is asked.
        principles: what it goes by; the template's own if none are given.
        name: what it is called in Feedback and tables.
        temperature: what the log-odds of its judgements are divided by; above 1 it becomes less sure.
        clamp: limits of its probabilities; those of `CLAMP` where it reasons first, none otherwise.
        max_tokens: that it may reason or write its verdict in.

    Raises:
        ConfigError: principles for a template that takes none, or a temperature or limits that are none.
    """

    def __init__(
        self,
        chat: Chat,
        template: PairTemplate,
        *,
        principles: Sequence[Principle] = (),
        name: str = "judge",
        temperature: float = 1.0,
        clamp: tuple[float, float] | None = None,
        max_tokens: int = LONGEST,
    ) -> None:
        if principles and not template.takes_principles:
            raise ConfigError(
                "the template has no place for principles", where="--principles", mend="Add {principle} to its prompt."
            )
        limits = clamp or (CLAMP if template.conclusion else (0.0, 1.0))
        if not temperature > 0 or not 0 <= limits[0] <= 0.5 <= limits[1] <= 1:
            mend = "Give a temperature above 0, and limits on both sides of one half."
            raise ConfigError("cannot judge in this way", where=name, mend=mend)
        self.chat, self.template, self.name = chat, template, name
        self.principles = tuple(principles) or (Principle("overall", template.principle),)
        self.temperature, self.clamp, self.max_tokens = temperature, limits, max_tokens

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        """A judgement of each pair; what the model has not said in a readable way is counted, never guessed.

        Raises:
            ChatError: the model cannot answer.
        """
        asked = [pair for pair in pairs if not pair.same]
        prompts = [messages for pair in asked for messages in self._prompts(pair)]
        answers = self._answers(prompts, progress)
        each = 2 * len(self.principles)
        judged = iter([self._judgement(answers[start : start + each]) for start in range(0, len(answers), each)])
        return [UNDECIDED if pair.same else next(judged) for pair in pairs]

    def _prompts(self, pair: Pair) -> list[tuple[Message, ...]]:
        first, second = pair.responses
        return [
            self.template.messages(pair.group, *order, principle.standard)
            for principle in self.principles
            for order in ((first, second), (second, first))
        ]

    def _answers(self, prompts: Sequence[tuple[Message, ...]], progress: Progress | None) -> list[Reply]:
        template = self.template
        if template.written:
            return self.chat([Request(one, max_tokens=self.max_tokens) for one in prompts], progress=progress)
        if template.conclusion:
            reasons = self.chat([Request(one, max_tokens=self.max_tokens) for one in prompts], progress=progress)
            prompts = [
                (*one, Message("assistant", reason.text), Message("user", template.conclusion))
                for one, reason in zip(prompts, reasons, strict=True)
            ]
        return self.chat([Request(one, choices=template.choices) for one in prompts], progress=progress)

    def _judgement(self, answers: Sequence[Reply]) -> Judgement:
        shown = [self._first(reply) for reply in answers]
        by_principle: dict[str, Orders] = {
            principle.name: (shown[2 * k], shown[2 * k + 1]) for k, principle in enumerate(self.principles)
        }
        masses = [reply.mass for reply in answers if reply.mass is not None]
        return joined(
            by_principle,
            weights={principle.name: principle.weight for principle in self.principles},
            temperature=self.temperature,
            mass=min(masses) if masses else None,
            asked=len(answers),
        )

    def _first(self, reply: Reply) -> float | None:
        """Probability of what was shown first."""
        if reply.probabilities is None:
            read = self.template.verdict(reply.text)
            return None if read is None else clamped(read, self.clamp)
        return clamped(reply.probabilities[0], self.clamp)
