"""Models of the world on held-out prompts: answers at temperature 0.7, the oracle's axes, paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from accord.evaluate.statistics import compare
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Comparison, Evaluation, Group, Message
from accord.rollout import rollout
from accord.world.cases import Case
from accord.world.oracle import AXES, DESCRIPTIONS, HIGHER_IS_BETTER, UNITS, judge

TEMPERATURE = 0.7
LONGEST_ANSWER = 48
SUITE = "Tidewater, held-out prompts answered at temperature 0.7"
LAST_STEP = "gold since sft"
"""The axis that compares the final model with the fine-tuned one, not with the base."""


def answer(policy: Policy, held_out: Sequence[Case], *, seed: int, system: str | None = None) -> list[Group]:
    """One judged answer to each held-out prompt, sampled at temperature 0.7, perhaps behind a system line."""
    opening = () if system is None else (Message("system", system),)
    groups = [case.group() for case in held_out]
    groups = [msgspec.structs.replace(group, prompt=(*opening, *group.messages())) for group in groups]
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=LONGEST_ANSWER, seed=seed)
    return [judge(group) for group in rollout(policy, groups, n=1, sampling=sampling)]


def scores(judged: Sequence[Group], axis: str) -> list[float]:
    """The axis's score of every answer whose prompt tests it, in order."""
    return [score for group in judged if (score := _score(group, axis)) is not None]


def evaluate(
    held_out: Sequence[Case],
    before: Sequence[Group],
    after: Sequence[Group],
    between: Sequence[Group] | None = None,
) -> Evaluation:
    """Compare judged answers to the same prompts axis by axis; prompts about the same thing are one cluster.

    With answers of the model `between`, its gain is not credited to what came after it: where the last step made gold
    worse, that carries the verdict, however far the base model is left behind.
    """
    stages = {} if between is None else {"sft": between}
    comparisons = [_compare(axis, held_out, before, after, stages) for axis in AXES]
    primary = "gold"
    if between is not None:
        last = msgspec.structs.replace(
            _compare("gold", held_out, between, after, {}),
            axis=LAST_STEP,
            description="The same from the fine-tuned model on: what DPO alone did.",
        )
        comparisons.insert(1, last)
        primary = LAST_STEP if last.verdict == "worse" else "gold"
    return Evaluation(
        suite=SUITE,
        comparisons=tuple(comparisons),
        primary=primary,
        judge={"name": "the world's exact oracle"},
        notes=()
        if between is None
        else ("All axes but one start from the base model; DPO started from the tuned one.",),
        examples=_examples(before, after),
    )


def _compare(
    axis: str,
    held_out: Sequence[Case],
    before: Sequence[Group],
    after: Sequence[Group],
    stages: Mapping[str, Sequence[Group]],
) -> Comparison:
    tested = [case.key for case, group in zip(held_out, before, strict=True) if _score(group, axis) is not None]
    return compare(
        axis,
        scores(before, axis),
        scores(after, axis),
        clusters=tested,
        higher_is_better=HIGHER_IS_BETTER[axis],
        unit=UNITS.get(axis, "share"),
        stages={name: scores(groups, axis) for name, groups in stages.items()},
        description=DESCRIPTIONS[axis],
    )


def _score(group: Group, axis: str) -> float | None:
    row = group.scores(axis)
    return row[0] if row else None


def _examples(before: Sequence[Group], after: Sequence[Group], count: int = 8) -> tuple[dict[str, Any], ...]:
    """Answers that drive the verdict: those whose gold changed most, worst first."""

    def change(pair: tuple[Group, Group]) -> float:
        return (_score(pair[1], "gold") or 0.0) - (_score(pair[0], "gold") or 0.0)

    ordered = sorted(zip(before, after, strict=True), key=change)
    return tuple(
        {
            "prompt": first.prompt_text(),
            "before": first.responses[0].text,
            "after": second.responses[0].text,
            "scores": {"before": _score(first, "gold"), "after": _score(second, "gold")},
        }
        for first, second in (*ordered[: count // 2], *ordered[-count // 2 :])
    )
