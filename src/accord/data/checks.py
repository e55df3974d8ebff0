"""What can be wrong with Groups: each check yields faults, which say what is wrong, where, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accord.data.problems import Problem, Severity, problem_at
from accord.record import Encoded, Group, Origin, Preference

Effect = Literal["keep", "drop", "remove response", "remove preference"]


@dataclass(frozen=True)
class Fault:
    """A problem of a Group, and what training does about it.

    Attributes:
        problem: what is wrong, and where.
        group: index of the Group.
        effect: whether the Group stays as it is, goes, or loses `responses` or the preferences between them.
        responses: indices of the responses concerned.
    """

    problem: Problem
    group: int
    effect: Effect = "keep"
    responses: tuple[int, ...] = ()


def fault(
    index: int,
    group: Group,
    kind: str,
    severity: Severity,
    message: str,
    *,
    effect: Effect = "keep",
    responses: tuple[int, ...] = (),
) -> Fault:
    """A fault at the place the Group was read from."""
    return Fault(problem_at(group.origin, kind, severity, message), index, effect, responses)


def check_groups(groups: Sequence[Group], encoded: Sequence[Encoded | None]) -> Iterator[Fault]:
    """All checks that need no length limit."""
    for index, (group, ids) in enumerate(zip(groups, encoded, strict=True)):
        yield from _empty(index, group)
        yield from _identical(index, group, ids)
        yield from _not_finite(index, group)
    yield from _repeated(groups)
    yield from _across_files(groups)
    yield from _contradictory(groups)


def _empty(index: int, group: Group) -> Iterator[Fault]:
    if not group.prompt_text().strip():
        yield fault(index, group, "empty prompt", "warning", "the prompt is empty")
    for place, response in enumerate(group.responses):
        if not response.text.strip() and not response.tokens:
            message = f"response {place + 1} is empty"
            yield fault(
                index, group, "empty response", "warning", message, effect="remove response", responses=(place,)
            )


def _identical(index: int, group: Group, ids: Encoded | None) -> Iterator[Fault]:
    """Preferences between responses that read the same, or whose tokens (after cutting) are the same."""
    for pair in {(min(p.better, p.worse), max(p.better, p.worse)) for p in group.preferences()}:
        first, second = (group.responses[place] for place in pair)
        same_text = (first.text, first.context) == (second.text, second.context)
        if same_text or (ids is not None and ids.responses[pair[0]] == ids.responses[pair[1]]):
            how = "are identical" if same_text else "are identical as the model reads them"
            yield fault(
                index,
                group,
                "identical pair",
                "warning",
                f"the preferred and the rejected response {how}",
                effect="remove preference",
                responses=pair,
            )


def _not_finite(index: int, group: Group) -> Iterator[Fault]:
    for feedback in group.feedback:
        for name, values in feedback.scores.items():
            if not all(value is None or math.isfinite(value) for value in values):
                message = f"score {name!r} is NaN or infinite; give None where it is missing"
                yield fault(index, group, "score not finite", "error", message, effect="drop")


def _repeated(groups: Sequence[Group]) -> Iterator[Fault]:
    seen: dict[object, Origin | None] = {}
    for index, group in enumerate(groups):
        feedback = tuple(_content(one.preferences, one.labels, one.scores) for one in group.feedback)
        key = (group.prompt, tuple((one.text, one.context) for one in group.responses), feedback, str(group.answer))
        if key in seen:
            yield fault(index, group, "duplicate", "info", f"the row repeats {seen[key] or 'an earlier one'}")
        else:
            seen[key] = group.origin


def _content(
    preferences: tuple[Preference, ...],
    labels: tuple[bool | None, ...] | None,
    scores: dict[str, tuple[float | None, ...]],
) -> object:
    return tuple((p.better, p.worse, p.weight) for p in preferences), labels, tuple(sorted(scores.items()))


def _across_files(groups: Sequence[Group]) -> Iterator[Fault]:
    """Prompts that stand in more than one file: a leak, if one of them is held out."""
    first: dict[object, Origin] = {}
    told: set[object] = set()
    for index, group in enumerate(groups):
        if group.origin is None:
            continue
        origin = first.setdefault(group.prompt, group.origin)
        if origin.path != group.origin.path and (group.prompt, group.origin.path) not in told:
            told.add((group.prompt, group.origin.path))
            yield fault(index, group, "prompt in several files", "info", f"the prompt stands in {origin} too")


def _contradictory(groups: Sequence[Group]) -> Iterator[Fault]:
    """The same two responses to the same prompt, preferred one way here and the other way there.

    A preference of weight 0.5 or less is one side of a tie or of a soft label.
    """
    winners: dict[object, Group] = {}
    for index, group in enumerate(groups):
        for preference in group.preferences():
            if preference.weight <= 0.5:
                continue
            better, worse = (
                (group.responses[place].context, group.responses[place].text)
                for place in (preference.better, preference.worse)
            )
            opposite = winners.get((group.prompt, worse, better))
            if opposite is not None and better != worse:
                message = f"the pair is preferred the other way at {opposite.origin or 'an earlier row'}"
                yield fault(index, group, "contradictory pair", "warning", message)
            winners.setdefault((group.prompt, better, worse), group)
