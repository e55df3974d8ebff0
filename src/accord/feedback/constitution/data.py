"""What is learned from revisions: demonstrations, preferences in their honest direction, and what they achieved."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from accord.feedback.constitution.critics import log_odds_label
from accord.feedback.constitution.trace import Revised, Step, Trace
from accord.record import Feedback, Group, Preference, Response

Imitate = Literal["kept", "clean"]
"""Every kept answer, or those alone that keep every principle by the critics' own scores."""

SATISFIED = 0.5
"""The score from which an answer keeps a principle."""


def demonstrations(revised: Revised, *, imitate: Imitate = "kept") -> list[Group]:
    """The kept answers, to fine-tune on; what was cut off or is empty is never imitated."""
    return [
        replace(trace.group, responses=(Response(trace.answer, context=trace.first.context),), meta=_meta(trace))
        for trace in revised.traces
        if _is_whole(trace) and (imitate == "kept" or _is_clean(trace))
    ]


def preferences(revised: Revised) -> list[Group]:
    """The pairs that were compared, with soft labels in the direction in which they are.

    A Group has the first answer and every revision that was read, and for each revision two preferences between it and
    what it revises, with weights that sum to 1: the judge's probabilities where a judge compared them, else from the
    critics' scores. A revision that made it worse loses; where nobody compared, there is no preference.
    """
    return [group for trace in revised.traces if (group := _preferred(trace)) is not None]


class Satisfied(msgspec.Struct, frozen=True):
    """Whether an answer keeps a principle, before revision and after, as 0 or 1.

    Attributes:
        prompt: of the answer.
        before: the first answer.
        after: what was kept.
    """

    prompt: str
    before: float
    after: float


def satisfied(revised: Revised) -> dict[str, list[Satisfied]]:
    """By principle, every answer that the critics could score before and after; nothing where the rules ask for no
    scores."""
    found: dict[str, list[Satisfied]] = {}
    for trace in revised.traces:
        if trace.verdict is None or trace.kept_verdict is None:
            continue
        for name, before in trace.verdict.by_principle.items():
            after = trace.kept_verdict.by_principle[name]
            if before is not None and after is not None:
                told = Satisfied(trace.group.prompt_text(), float(before >= SATISFIED), float(after >= SATISFIED))
                found.setdefault(name, []).append(told)
    return found


def _preferred(trace: Trace) -> Group | None:
    texts, weights = [trace.first.text], dict[tuple[int, int], float]()
    current = trace.first.text
    before = trace.verdict
    for step in trace.steps:
        if step.revision is None or step.outcome == "unchanged":
            continue
        p = _label(step, None if before is None else before.score)
        if step.revision not in texts:
            texts.append(step.revision)
        if p is not None:
            better, worse = texts.index(step.revision), texts.index(current)
            weights.setdefault((better, worse), p)
            weights.setdefault((worse, better), 1 - p)
        if step.outcome == "taken":
            current, before = step.revision, step.verdict
    if not weights or not trace.first.finished:
        return None
    given = tuple(Preference(*pair, weight) for pair, weight in weights.items() if weight > 0)
    judged = any(step.judgement is not None for step in trace.steps)
    feedback = Feedback("judge", "constitution", preferences=given, meta={"by": "judge" if judged else "critics"})
    responses = tuple(Response(text, context=trace.first.context) for text in texts)
    return replace(trace.group, responses=responses, feedback=(feedback,), meta=_meta(trace))


def _label(step: Step, before: float | None) -> float | None:
    """Probability that a revision is better than what it revises."""
    if step.judgement is not None:
        return step.judgement.p
    after = None if step.verdict is None else step.verdict.score
    return None if before is None or after is None else log_odds_label(before, after)


def _is_whole(trace: Trace) -> bool:
    return bool(trace.answer.strip()) and (trace.kept > 0 or trace.first.finished)


def _is_clean(trace: Trace) -> bool:
    verdict = trace.kept_verdict
    return verdict is not None and all(
        score is not None and score >= SATISFIED for score in verdict.by_principle.values()
    )


def _meta(trace: Trace) -> dict[str, object]:
    taken = [step.principle for step in trace.steps[: trace.kept] if step.outcome == "taken"]
    return {**trace.group.meta, "revised_by": taken}
