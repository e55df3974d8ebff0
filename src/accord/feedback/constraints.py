"""Constraints: what a response must satisfy, whatever reward it earns.

Any reward becomes a constraint through a threshold. Its score is then how much a response falls short of it, and its
role says what that leads to: `penalty` takes it off the reward, `cost` counts it towards a limit (PPO-Lagrangian,
constrained TRPO), `reject` has the response drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.errors import ConfigError
from accord.feedback.reward import Part, Reward, Row
from accord.record import Group, SourceKind


class Constraint:
    r"""A named predicate of responses: it holds where a score reaches its threshold.

    Its own score is the violation, 0 where it holds:

    .. math:: v(x, y) = \max(0,\ t - s(x, y))

    A predicate (true or false) has the threshold 1, so that a violation counts 1 and the mean is the rate.

    Args:
        reward: the score s; a predicate's true is 1.
        threshold: what it must reach (t), in the units of the score.
        name: of the violation; default the reward's name with `_violation`.

    Raises:
        ConfigError: the threshold is not a number.
    """

    def __init__(self, reward: Reward, *, threshold: float = 1.0, name: str | None = None) -> None:
        self.name = name or f"{reward.name}_violation"
        if not math.isfinite(threshold):
            raise ConfigError(f"threshold={threshold} is no number to reach", where=f"constraint {self.name}")
        self.reward, self.threshold = reward, threshold
        self.source: SourceKind = getattr(reward, "source", "verifier")

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """By how much each response falls short; missing where the score is."""
        return [
            tuple(None if value is None else violation(value, self.threshold) for value in row)
            for row in self.reward(groups)
        ]


def violation(value: float, threshold: float) -> float:
    """By how much a value falls short of what it must reach; not a number stays so.

    >>> violation(0.75, 1.0), violation(1.0, 1.0)
    (0.25, 0.0)
    """
    short = threshold - float(value)
    return short if math.isnan(short) else max(0.0, short)


def refused(group: Group, parts: Sequence[Part]) -> tuple[bool, ...]:
    """Which responses of a scored Group violate a constraint whose role is `reject`, or could not be judged by it."""
    rows = [group.scores(part.name) or (None,) * len(group.responses) for part in parts if part.role == "reject"]
    if not rows:
        return (False,) * len(group.responses)
    return tuple(any(value is None or value > 0.0 for value in values) for values in zip(*rows, strict=True))
