"""Bring Groups into the form that an objective needs, and say what was done and lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from accord.record.convert import (
    best_response,
    desirable_responses,
    distribution_from_preferences,
    labels_from_preferences,
    loses,
    main_scores,
    merge_prompts,
    preferences_from_labels,
    preferences_from_scores,
    score_name,
)
from accord.record.types import Feedback, Group
from accord.record.values import preferences_on, value_names


@dataclass(frozen=True)
class Adapted:
    """Groups in the form an objective needs.

    Attributes:
        groups: those that can be used, in their order.
        left_out: those that carry nothing the objective can use.
        notes: a sentence for each conversion, with what it lost.
    """

    groups: list[Group]
    left_out: list[Group]
    notes: list[str]


def adapt(groups: Sequence[Group], needs: Sequence[str], *, axis: str | None = None) -> Adapted:
    """Bring Groups into the form an objective needs, and say what was done and lost.

    Args:
        groups: the data.
        needs: names of the tensors that the objective takes (`accord.objectives.vocabulary`). `prefer` is taken from
            preferences, else scores, else labels; `label` from labels, else from what gives preferences; `score` from
            scores; `distribution` from probabilities, else from what gives preferences; `ratings`
            from every score and `named_prefer` from every axis of preferences; `step_score` from step scores between 0
            and 1; an objective that needs none of them trains on the best, the desirable or the only responses.
        axis: where a source judges several axes (`helpfulness`, `safety`), the one to use; default the first that has
            what is needed.
    """
    steps = [step for need, step in _STEPS.items() if need in needs] or [_demonstration]
    counts: Counter[Callable[..., object]] = Counter()
    total = len(groups)
    if "prefer" in needs or "distribution" in needs:
        groups = _with_counterparts(groups, counts)
    several_axes = 0
    kept: list[Group] = []
    left_out: list[Group] = []
    for group in groups:
        narrowed, conflicting = (group, False) if "named_prefer" in needs else _on_axis(group, axis)
        several_axes += conflicting
        adapted: Group | None = narrowed
        for step in steps:
            adapted = None if adapted is None else step(adapted, counts)
        if adapted is None:
            left_out.append(group)
        else:
            kept.append(adapted)
    return Adapted(kept, left_out, list(_notes(counts, several_axes, axis, total)))


def _notes(counts: Counter[Callable[..., object]], several_axes: int, axis: str | None, total: int) -> Iterator[str]:
    for conversion, count in counts.items():
        name = conversion.__name__.replace("_", " ")
        yield f"{name}: {count} of {total} groups; lost: {loses(conversion)}"
    if several_axes:
        used = axis or "the first"
        yield f"{several_axes} of {total} groups are judged on several axes; {used} is used, the others are left out"


def _preference(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    for conversion in (None, preferences_from_scores, preferences_from_labels):
        converted = group if conversion is None else conversion(group)
        if any(True for _ in converted.preferences()):
            if conversion is not None:
                counts[conversion] += 1
            return converted
    return None


def _label(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    if any(group.labels()):
        return group
    compared = _preference(group, counts)
    labelled = None if compared is None else labels_from_preferences(compared)
    if labelled is None or not any(labelled.labels()):
        return None
    counts[labels_from_preferences] += 1
    return labelled


def _score(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    name = score_name(group)
    values = main_scores(group)
    if name is None or all(value is None for value in values):
        return None
    if name == "overall":
        return group
    first = group.feedback[0]
    return replace(group, feedback=(*group.feedback, Feedback(first.source, name, scores={"overall": values})))


def _cost(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    """The Group if every scored response has a cost: a missing one would count as no cost at all."""
    costs, scores = group.scores("cost") or (), main_scores(group)
    missing = any(score is not None and cost is None for score, cost in zip(scores, costs, strict=False))
    return group if costs and not missing else None


def _distribution(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    if group.distribution() is not None:
        return group
    compared = _preference(group, counts)
    if compared is None:
        return None
    counts[distribution_from_preferences] += 1
    return distribution_from_preferences(compared)


def _step_labels(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    judged = [score for row in group.step_scores() or () for score in row if score is not None]
    return group if judged and all(0 <= score <= 1 for score in judged) else None


def _ratings(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    return (
        group
        if any(score is not None for one in group.feedback for row in one.scores.values() for score in row)
        else None
    )


def _named_preferences(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    return group if any(preferences_on(group, name) for name in value_names([group])) else None


def _demonstration(group: Group, counts: Counter[Callable[..., object]]) -> Group | None:
    if not group.responses:
        return None
    conversion: Callable[[Group], Group] | None = None
    if any(True for _ in group.preferences()):
        conversion = best_response
    elif any(group.labels()):
        conversion = desirable_responses
    elif any(score is not None for score in main_scores(group)):
        conversion = best_response
    if conversion is None:
        return replace(group, feedback=())
    converted = conversion(group)
    if len(converted.responses) < len(group.responses):
        counts[conversion] += 1
    return converted if converted.responses else None


_STEPS: dict[str, Callable[[Group, Counter[Callable[..., object]]], Group | None]] = {
    "prefer": _preference,
    "label": _label,
    "score": _score,
    "distribution": _distribution,
    "cost": _cost,
    "step_score": _step_labels,
    "ratings": _ratings,
    "named_prefer": _named_preferences,
}


def _with_counterparts(groups: Sequence[Group], counts: Counter[Callable[..., object]]) -> list[Group]:
    """Join single labelled responses to the same prompt: only together do they make a preference."""
    alone: dict[object, list[Group]] = {}
    for group in groups:
        if len(group.responses) == 1 and any(group.labels()):
            alone.setdefault(group.prompt, []).append(group)
    merged: list[Group] = []
    for group in groups:
        same = alone.get(group.prompt, []) if len(group.responses) == 1 and any(group.labels()) else [group]
        if same[0] is group:
            merged.extend(merge_prompts(same))
            if len(same) > 1:
                counts[merge_prompts] += len(same)
    return merged


def _on_axis(group: Group, axis: str | None) -> tuple[Group, bool]:
    """Keep the preferences, and the labels, of one axis each; feedback that names no axis always stays."""
    axes = [feedback.meta["axis"] for feedback in group.feedback if "axis" in feedback.meta]
    if not axes:
        return group, False
    ranked = [f.meta["axis"] for f in group.feedback if "axis" in f.meta and f.preferences]
    labelled = [f.meta["axis"] for f in group.feedback if "axis" in f.meta and f.labels is not None]
    for_preferences, for_labels = axis or (ranked or axes)[0], axis or (labelled or axes)[0]
    feedback = tuple(
        replace(
            one,
            preferences=one.preferences if one.meta.get("axis", for_preferences) == for_preferences else (),
            labels=one.labels if one.meta.get("axis", for_labels) == for_labels else None,
        )
        for one in group.feedback
    )
    return replace(group, feedback=feedback), len(set(ranked)) > 1
