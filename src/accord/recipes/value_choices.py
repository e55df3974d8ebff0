"""Choices between responses as differences of values: what weights are learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.errors import DataError
from accord.evaluate.choices import Choices, numbered
from accord.evaluate.krippendorff import krippendorff_alpha
from accord.evaluate.statistics import Floats
from accord.feedback.reward import Part
from accord.feedback.score import Missing, score
from accord.record import Estimate, Group
from accord.train.annotators import annotator_of

Unit = tuple[object, str, str]
"""A prompt with two different texts in alphabetical order."""


@dataclass(frozen=True)
class ReadChoices:
    """The choices in data, each with its values and who made it.

    Attributes:
        names: of the values.
        choices: all of them; those on one prompt are one cluster.
        annotators: who made each.
        units: what was compared in each.
        first: whether it chose the first text of its unit.
        lowest, highest: extremes of each value over all responses.
        unscored: choices left out because a value is missing.
    """

    names: tuple[str, ...]
    choices: Choices
    annotators: tuple[str, ...]
    units: tuple[Unit, ...]
    first: tuple[bool, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    unscored: int

    def by_annotator(self) -> dict[str, NDArray[np.intp]]:
        """The rows of each annotator, in alphabetical order."""
        named = np.asarray(self.annotators)
        return {name: np.flatnonzero(named == name) for name in sorted(set(self.annotators))}

    def agreement(self, *, seed: int = 0) -> Estimate | None:
        """Krippendorff's alpha (nominal) of the annotators on what several of them compared; `None` without such.

        Where one of them compared a pair more than once, what it chose more often counts.
        """
        votes: dict[Unit, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for unit, annotator, first, count in zip(
            self.units, self.annotators, self.first, self.choices.counts.tolist(), strict=True
        ):
            votes[unit][annotator] += count if first else -count
        names = sorted(set(self.annotators))
        shared = [given for given in votes.values() if sum(vote != 0 for vote in given.values()) > 1]
        if not shared:
            return None
        ratings = [[_sign(given.get(name, 0.0)) for given in shared] for name in names]
        return krippendorff_alpha(ratings, scale="nominal", seed=seed)


def read_choices(groups: Sequence[Group], parts: Sequence[Part], *, missing: Missing = "stop") -> ReadChoices:
    """Score the responses by each value, and set every preference down as a difference.

    Args:
        groups: with preferences.
        parts: what gives each value.
        missing: what becomes of a reward that raises or returns a number that is not finite.

    Raises:
        DataError: there is no preference, or none between responses that have all values.
        ConfigError, NumericsError, RewardError: as `accord.feedback.score.score`.
    """
    compared = [group for group in groups if next(group.preferences(), None) is not None]
    if not compared:
        raise DataError("holds no preference", mend="Weights are learned from choices between responses.")
    scored = score(compared, parts, missing=missing)
    values = [_values(group, parts) for group in scored]
    found = [one for group, own in zip(scored, values, strict=True) for one in _choices(group, own)]
    kept = [one for one in found if np.isfinite(one.difference).all()]
    if not kept:
        mend = "Leave out the reward that has no score here; accord verify shows which."
        raise DataError(f"no choice of {len(found)} has all values", mend=mend)
    choices = Choices(
        np.stack([one.difference for one in kept]),
        np.asarray([one.weight for one in kept]),
        numbered([one.unit[0] for one in kept]),
    )
    everything = np.concatenate(values)
    return ReadChoices(
        names=tuple(part.name for part in parts),
        choices=choices,
        annotators=tuple(one.annotator for one in kept),
        units=tuple(one.unit for one in kept),
        first=tuple(one.first for one in kept),
        lowest=tuple(np.nanmin(everything, axis=0).tolist()),
        highest=tuple(np.nanmax(everything, axis=0).tolist()),
        unscored=len(found) - len(kept),
    )


class _Choice(NamedTuple):
    """One choice, as `ReadChoices` has them."""

    difference: Floats
    weight: float
    annotator: str
    unit: Unit
    first: bool


def _choices(group: Group, values: Floats) -> Iterator[_Choice]:
    """The choices between different texts of a Group whose responses have these values, `[n,K]`."""
    for feedback in group.feedback:
        for one in feedback.preferences:
            better, worse = group.responses[one.better].text, group.responses[one.worse].text
            if better != worse and one.weight > 0:
                low, high = sorted((better, worse))
                yield _Choice(
                    values[one.better] - values[one.worse],
                    one.weight,
                    annotator_of(group, feedback),
                    (group.prompt, low, high),
                    better == low,
                )


def _values(group: Group, parts: Sequence[Part]) -> Floats:
    """Every value of every response, `[n,K]`; not a number where it is missing."""
    columns = [group.scores(part.name) or (None,) * len(group.responses) for part in parts]
    rows = [[np.nan if value is None else value for value in row] for row in zip(*columns, strict=True)]
    values: Floats = np.asarray(rows, dtype=np.float64) * [part.factor for part in parts]
    return values


def _sign(vote: float) -> float | None:
    return None if vote == 0 else float(vote > 0)
