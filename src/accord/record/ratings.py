"""Models rated from contests between their answers."""

from __future__ import annotations

import msgspec

from accord.record.results import Estimate


class Rating(msgspec.Struct, frozen=True):
    """Where one model stands among those it was compared with.

    Attributes:
        model: its name.
        rating: on Elo's scale: the mean of all models is 1000, and 400 points more win ten times as often as they lose.
        rank: one more than the models whose whole interval lies above this one's.
        wins: contests won, ties one half.
        contests: how many it took part in.
    """

    model: str
    rating: Estimate
    rank: int
    wins: float
    contests: float


class Ratings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Several models, rated together.

    Attributes:
        models: the best first.
        clusters: independent prompts behind the contests.
        intervals: how the 95% intervals were made.
        style: change in log-odds of winning for one standard deviation more of each feature of style, if the ratings
            hold style fixed.
        elo: the sequential ratings of the same contests in their order, which no interval goes with.
    """

    models: tuple[Rating, ...]
    clusters: int
    intervals: str
    style: dict[str, Estimate] = {}
    elo: dict[str, float] = {}

    def of(self, model: str) -> Rating:
        """One model's rating; raises `KeyError` for an unknown one."""
        for rating in self.models:
            if rating.model == model:
                return rating
        raise KeyError(model)
