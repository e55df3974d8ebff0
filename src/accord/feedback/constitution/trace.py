"""The rules of revision, and the record of what was done by them: every critique, every revision, and why it ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from accord.errors import ConfigError
from accord.feedback.constitution.critics import Aggregate, Verdict
from accord.feedback.judge.pair import Judgement
from accord.record import Group, Response

Choose = Literal["sampled", "worst", "whole"]
Keep = Literal["best", "last"]
End = Literal["clean", "stalled", "unchanged", "rounds"]
Outcome = Literal["taken", "refused", "unjudged", "unreadable", "unchanged"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are revised.

    Attributes:
        rounds: of critique and revision at most.
        choose: the principle of a round: drawn by weight, the one that the critics find broken most, or all at once.
        keep: what is kept of an answer and its revisions: what the critics score best, or the last that was taken.
        aggregate: of several critics' scores: their mean, the weighted mean, or the least (veto).
        clean: an answer whose aggregated score reaches this by every principle is left alone; `None` revises on.
        tolerance: smallest gain in score that counts; `None` never stops for want of gain.
        patience: rounds in a row without such a gain after which an answer is left alone.
        disagreement: difference between two critics by one principle from which a person should look.
        answer_temperature, critique_temperature, revision_temperature: of the sampling.
        max_tokens: longest answer, critique or revision.
        seed: of the draws of principles, and of the sampling.
    """

    rounds: int = 4
    choose: Choose = "sampled"
    keep: Keep = "best"
    aggregate: Aggregate = "mean"
    clean: float | None = 0.5
    tolerance: float | None = None
    patience: int = 1
    disagreement: float = 0.5
    answer_temperature: float = 0.7
    critique_temperature: float = 0.3
    revision_temperature: float = 0.3
    max_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("rounds", self.rounds >= 1, "1 or more"),
            ("patience", self.patience >= 1, "1 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
            ("seed", self.seed >= 0, "0 or more"),
            ("clean", self.clean is None or 0 < self.clean <= 1, "more than 0 and at most 1"),
            ("tolerance", self.tolerance is None or self.tolerance >= 0, "0 or more"),
            ("disagreement", 0 < self.disagreement <= 1, "more than 0 and at most 1"),
        ):
            if not fits:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{getattr(self, name)} is out of range", where=flag, mend=f"Give {allowed}.")

    @property
    def scored(self) -> bool:
        """Whether anything depends on the critics' scores."""
        return self.keep == "best" or self.choose == "worst" or self.clean is not None or self.tolerance is not None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One round on one answer.

    Attributes:
        principle: by which.
        critiques: by critic.
        said: what the reviser wrote.
        outcome: what became of it: taken; refused by the judge; unjudged, where the judge's verdict could not be read;
            unreadable, where what was written is no revision; or the same answer again.
        revision: the revised answer, where there is one.
        verdict: of the critics on it.
        judgement: of the judge, the revision first.
    """

    principle: str
    critiques: dict[str, str]
    said: str
    outcome: Outcome
    revision: str | None = None
    verdict: Verdict | None = None
    judgement: Judgement | None = None


class Trace(msgspec.Struct, frozen=True):
    """The whole history of one answer.

    Attributes:
        group: its prompt.
        first: the answer before any revision.
        verdict: of the critics on it.
        steps: the rounds.
        kept: what is kept: 0 for the first answer, n for the revision of step n.
        end: why it was left alone.
    """

    group: Group
    first: Response
    verdict: Verdict | None
    steps: tuple[Step, ...]
    kept: int
    end: End

    @property
    def answer(self) -> str:
        """The kept answer."""
        return self.first.text if self.kept == 0 else (self.steps[self.kept - 1].revision or "")

    @property
    def kept_verdict(self) -> Verdict | None:
        """Of the critics on the kept answer."""
        return self.verdict if self.kept == 0 else self.steps[self.kept - 1].verdict

    @property
    def disagreement(self) -> float:
        """The largest difference between critics over the first and the kept answer."""
        return max((one.disagreement for one in (self.verdict, self.kept_verdict) if one is not None), default=0.0)


class Revised(msgspec.Struct, frozen=True):
    """What revising came to.

    Attributes:
        traces: one an answer, in the order of the prompts.
        rules: by which it was done.
        judged: whether a judge had to prefer a revision in both orders.
    """

    traces: list[Trace]
    rules: Rules
    judged: bool

    @property
    def review(self) -> list[Trace]:
        """Where critics disagree so far that a person should look."""
        return [one for one in self.traces if one.disagreement >= self.rules.disagreement]

    def outcomes(self) -> dict[Outcome, int]:
        """How often each outcome of a round occurred."""
        counts: dict[Outcome, int] = dict.fromkeys(("taken", "refused", "unjudged", "unreadable", "unchanged"), 0)
        for trace in self.traces:
            for step in trace.steps:
                counts[step.outcome] += 1
        return counts
