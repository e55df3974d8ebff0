"""Who gave which preference: annotator groups, as data for objectives that serve each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from accord.record import Feedback, Group, Preference


def annotator_of(group: Group, feedback: Feedback) -> str:
    """The annotator group a Feedback comes from.

    It is named by `group` in the Feedback's meta, or in the Group's, else by the Feedback's name, else by its source.
    """
    named = feedback.meta.get("group", group.meta.get("group"))
    return str(named if named is not None else feedback.name or feedback.source)


def annotator_groups(groups: Iterable[Group]) -> tuple[str, ...]:
    """The annotator groups that gave preferences, in alphabetical order."""
    return tuple(sorted({name for group in groups for name, _ in _preferences(group)}))


def annotator_tensor(groups: Sequence[Group], width: int, names: Sequence[str]) -> Tensor:
    """Share of each preference that each annotator group gave, `[B,G+1,n,n]`; 0 where there is no preference.

    Args:
        groups: the data.
        width: responses a group, padded.
        names: the annotator groups that are trained on; all others share the last place.
    """
    place = {name: index for index, name in enumerate(names)}
    given = torch.zeros(len(groups), len(names) + 1, width, width)
    for b, group in enumerate(groups):
        for name, preference in _preferences(group):
            given[b, place.get(name, len(names)), preference.better, preference.worse] += preference.weight
    total = given.sum(1, keepdim=True)
    return given / total.masked_fill(total == 0, 1.0)


def describe(trained: Sequence[Group], held_out: Sequence[Group]) -> str:
    """The annotator groups by number, as the metrics name them, in a sentence."""
    names = annotator_groups(trained)
    numbered = ", ".join(f"{index} is {name}" for index, name in enumerate(names))
    unseen = [name for name in annotator_groups(held_out) if name not in names]
    return f"annotator groups: {numbered}" + (f"; unseen in training: {', '.join(unseen)}" if unseen else "")


def _preferences(group: Group) -> Iterator[tuple[str, Preference]]:
    for feedback in group.feedback:
        for preference in feedback.preferences:
            yield annotator_of(group, feedback), preference
