"""Several reward models as one: what they agree on is worth more than what one of them likes.

A policy that climbs a learned reward finds what the model is wrong about. Members that were trained from other seeds,
or on other parts of the data, are wrong about other things: where they disagree, the reward is a guess.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from accord.errors import ConfigError
from accord.feedback.reward import Reward, Row
from accord.record import Feedback, Group, SourceKind

Combine = Literal["mean", "min", "lower"]
"""The members' mean, the lowest of them, or the mean less k standard deviations."""

UNCERTAINTY = "uncertainty"
"""The name of the score that says how far members disagree."""


class Ensemble:
    r"""Several rewards combined.

    .. math:: \bar r, \qquad \min_m r_m, \qquad \bar r - k\,\sqrt{\tfrac1M \textstyle\sum_m (r_m - \bar r)^2}

    Rewards are known up to a constant: normalise members on the same reference responses, or the lowest is always the
    one with the lowest constant. A score that one member misses is missing.

    Args:
        members: at least two.
        combine: how.
        k: standard deviations below the mean, for `lower`.
        name: of its score.

    Raises:
        ConfigError: fewer than two members, or a negative k.

    Source: Coste et al. 2023, "Reward model ensembles help mitigate overoptimization" (arXiv:2310.02743), section 3;
    Eisenstein et al. 2023, "Helping or herding?" (arXiv:2312.09244).

    Deviation: Coste et al. subtract k variances (their eq. 5); the standard deviation has the reward's own unit.
    """

    source: SourceKind = "reward_model"

    def __init__(
        self, members: Sequence[Reward], *, combine: Combine = "mean", k: float = 1.0, name: str = "ensemble"
    ) -> None:
        if len(members) < 2:
            mend = "Name two or more reward models."
            raise ConfigError(f"an ensemble of {len(members)} cannot disagree", where="--model", mend=mend)
        if k < 0:
            raise ConfigError(f"k={k:g} would reward disagreement", where="--k", mend="Give at least 0.")
        self.members, self.combine, self.k, self.name = tuple(members), combine, k, name

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The combined score of every response."""
        return self.combined(self.each(groups))

    def each(self, groups: Sequence[Group]) -> list[list[Row]]:
        """What every member says: its rows, a list a member."""
        return [member(groups) for member in self.members]

    def combined(self, each: Sequence[Sequence[Row]]) -> list[Row]:
        """The members' rows as one."""
        return [tuple(self._score(values) for values in zip(*rows, strict=True)) for rows in zip(*each, strict=True)]

    def disagreement(self, each: Sequence[Sequence[Row]]) -> list[Row]:
        """The standard deviation of the members' scores of every response."""
        return [
            tuple(None if (given := _all_given(values)) is None else statistics.pstdev(given) for values in columns)
            for columns in (list(zip(*rows, strict=True)) for rows in zip(*each, strict=True))
        ]

    def feedback(self, each: Sequence[Sequence[Row]]) -> list[Feedback]:
        """The "uncertainty" of the score of each Group, and in `meta` what every member says."""
        return [
            Feedback(
                self.source,
                self.name,
                scores={UNCERTAINTY: spread},
                meta={"members": [[member.name, rows[i]] for member, rows in zip(self.members, each, strict=True)]},
            )
            for i, spread in enumerate(self.disagreement(each))
        ]

    def _score(self, values: Sequence[float | None]) -> float | None:
        given = _all_given(values)
        if given is None:
            return None
        if self.combine == "min":
            return min(given)
        mean = statistics.fmean(given)
        return mean if self.combine == "mean" else mean - self.k * statistics.pstdev(given)


def _all_given(values: Sequence[float | None]) -> list[float] | None:
    given = [value for value in values if value is not None]
    return given if len(given) == len(values) else None
