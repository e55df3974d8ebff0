"""Scores that the data have already, as a reward."""

from __future__ import annotations

from collections.abc import Sequence

from accord.feedback.reward import Row
from accord.record import Group, SourceKind


class Given:
    """The score of a name that the data have already: a rating, a judge's aspect, what an earlier command wrote.

    Missing for a response without one, such as an answer that was just sampled.

    Args:
        score: its name in the data.
    """

    source: SourceKind = "dataset"

    def __init__(self, *, score: str) -> None:
        self.name = self.score = score

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The score of every response: the mean over those who gave one."""
        return [group.scores(self.score) or (None,) * len(group.responses) for group in groups]
