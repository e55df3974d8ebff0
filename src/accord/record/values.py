"""Several named values: which ones data judge, and the preferences on each."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from accord.record.convert import preferences_from_scores
from accord.record.types import Feedback, Group, Preference

OVERALL = "overall"
"""The value that stands for all; a preference that names no axis is about it."""


def score_names(groups: Iterable[Group]) -> tuple[str, ...]:
    """The names of all scores in the data, in alphabetical order."""
    return tuple(sorted({name for group in groups for feedback in group.feedback for name in feedback.scores}))


def value_names(groups: Iterable[Group]) -> tuple[str, ...]:
    """The names of all scores and of all axes of preferences in the data, in alphabetical order."""
    names: set[str] = set()
    for group in groups:
        for feedback in group.feedback:
            names |= feedback.scores.keys()
            if feedback.preferences:
                names.add(str(feedback.meta.get("axis", OVERALL)))
    return tuple(sorted(names))


def preferences_on(group: Group, name: str) -> list[Preference]:
    """The preferences of one axis; where there are none, those that follow from the score of that name."""
    given = [
        preference
        for feedback in group.feedback
        if feedback.meta.get("axis", OVERALL) == name
        for preference in feedback.preferences
    ]
    scores = group.scores(name)
    if given or scores is None:
        return given
    return list(
        preferences_from_scores(replace(group, feedback=(Feedback("dataset", scores={name: scores}),))).preferences()
    )
