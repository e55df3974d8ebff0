r"""Several values as one, by weights that were learned from choices: :math:`V(x, y) = \sum_k w_k\,\phi_k(x, y)`.

The weights are a file that `accord values fit` wrote. It names the reward that gives each value, so that
`values:weights.json` scores answers wherever a reward does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.feedback.reward import Part, Row
from accord.feedback.spec import parse_one
from accord.objectives.policy_gradient.scalarise import Scalarisation, scalarised
from accord.record import Estimate, Group, SourceKind

WeightKind = Literal["free", "positive", "shares"]
"""Any weights; those of at least 0; those that also sum to 1, for values in units of one size."""

LEAST = 1e-6
"""The least a value counts for in the Nash product, which has no answer at 0."""


class Value(msgspec.Struct, frozen=True):
    """One value.

    Attributes:
        name: of the score.
        reward: what gives it, as on the command line.
        weight: in log-odds of a choice a unit of the value, or its share.
        typical: how much the value differs between two responses of a choice: the root of the mean square.
        lowest, highest: the extremes that it had in the data.
    """

    name: str
    reward: str
    weight: Estimate
    typical: float
    lowest: float
    highest: float


class LearnedValues(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned from choices.

    Attributes:
        values: each value with its weight.
        kind: what the weights may be.
        choices: how many they were learned from.
        groups: the weights of each group of annotators, by the name of the value.
        doubts: what the choices could not tell.
    """

    values: tuple[Value, ...]
    kind: WeightKind
    choices: int
    groups: dict[str, dict[str, Estimate]] = {}
    doubts: tuple[str, ...] = ()

    def weights(self, group: str = "") -> dict[str, float]:
        """The weight of each value, by name: those of all annotators, or of a group.

        Raises:
            ConfigError: there is no such group.
        """
        if not group:
            return {value.name: value.weight.mean for value in self.values}
        if group not in self.groups:
            known = f"It has {', '.join(self.groups)}." if self.groups else "It has weights of all annotators only."
            raise ConfigError(f"no annotator group is called {group!r}", where=f"group={group}", mend=known)
        return {name: estimate.mean for name, estimate in self.groups[group].items()}


def save_values(path: str | Path, learned: LearnedValues) -> None:
    """Write the weights as JSON."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(learned)) + b"\n")


def load_values(path: str | Path) -> LearnedValues:
    """Read what `save_values` wrote.

    Raises:
        DataError: there is no such file, or it is something else.
    """
    mend = "Name a file that accord values fit wrote."
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=LearnedValues)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path, mend=mend) from error
    except msgspec.DecodeError as error:
        raise DataError(f"holds no weights of values ({error})", path=path, mend=mend) from error


class ValueReward:
    r"""Several rewards as one, by weight: the linear value that choices follow, or another rule to weigh them.

    Every rule but `linear` is about how good a response is on each value, and takes values from 0 to 1 (the lowest and
    the highest in the data that the weights were learned from; beyond them, 0 and 1) and weights as shares.

    Args:
        parts: what gives each value.
        weights: of each, by the name of the part.
        ranges: the lowest and highest of each, for every rule but `linear`.
        how: the rule, see `accord.objectives.policy_gradient.scalarise.scalarised`.
        name: of its score.

    Raises:
        ConfigError: a part without a weight, or negative weights under a rule that has no use for them.
    """

    source: SourceKind = "reward_model"

    def __init__(
        self,
        parts: Sequence[Part],
        weights: Mapping[str, float],
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        how: Scalarisation = "linear",
        name: str = "value",
    ) -> None:
        missing = [part.name for part in parts if part.name not in weights]
        if missing or not parts:
            raise ConfigError(f"no weight for {missing[0] if missing else 'any value'}", where=f"reward {name}")
        self.parts, self.how, self.name = tuple(parts), how, name
        self.weights = torch.tensor([weights[part.name] for part in parts], dtype=torch.float64)
        bounds = [(ranges or {}).get(part.name, (0.0, 1.0)) for part in parts]
        self.ranges = torch.tensor(bounds, dtype=torch.float64)
        if how != "linear" and (bool((self.weights < 0).any()) or not bool(self.weights.any())):
            mend = "Fit them with --weights positive or shares."
            raise ConfigError(f"how={how} needs weights of at least 0", where=f"reward {name}", mend=mend)

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The value of every response; missing where one of the values is."""
        columns = [part.reward(groups) for part in self.parts]
        return [tuple(map(self._of, zip(*rows, strict=True))) for rows in zip(*columns, strict=True)]

    def _of(self, scores: Sequence[float | None]) -> float | None:
        given = [part.factor * score for part, score in zip(self.parts, scores, strict=True) if score is not None]
        if len(given) < len(self.parts):
            return None
        return float(self._weighed(torch.tensor(given, dtype=torch.float64)))

    def _weighed(self, values: Tensor) -> Tensor:
        if self.how == "linear":
            return scalarised(values, self.weights, how="linear")
        low, high = self.ranges.unbind(-1)
        least = LEAST if self.how == "nash" else 0.0
        scaled = ((values - low) / (high - low).clamp_min(1e-12)).clamp(least, 1.0)
        return scalarised(scaled, self.weights / self.weights.sum(), how=self.how)


def value_reward(path: str, *, group: str = "", how: Scalarisation = "linear") -> ValueReward:
    """Several values by weights that accord values fit learned.

    Args:
        path: of the file with the weights.
        group: of annotators, whose own weights are taken.
        how: the rule: linear, as learned; or chebyshev, worst or nash of values from 0 to 1.

    Raises:
        DataError: there is no such file, or it is something else.
        ConfigError: an unknown group, a reward that cannot be used, or weights that do not fit the rule.
    """
    learned = load_values(path)
    parts = [value_part(value.reward, value.name) for value in learned.values]
    ranges = {value.name: (value.lowest, value.highest) for value in learned.values}
    return ValueReward(parts, learned.weights(group), ranges=ranges, how=how)


def value_part(spec: str, name: str = "") -> Part:
    """The reward that gives one value; its weight and role are its unit and its sign.

    Raises:
        ConfigError: it cannot be read, or its role is not to be weighed.
    """
    part = parse_one(spec)
    if part.role not in ("reward", "penalty"):
        mend = "Leave role out, or write role=penalty."
        raise ConfigError(f"a value of role={part.role} is not weighed", where=f"--reward {spec}", mend=mend)
    return replace(part, name=name) if name else part
