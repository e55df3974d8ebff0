"""What a reward is, and the part it has in the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from accord.errors import AccordError, ConfigError
from accord.record import Group, SourceKind

Row = tuple[float | None, ...]
"""One number, or `None` for missing, for each response of a Group."""

Role = Literal["reward", "penalty", "cost", "reject", "monitor"]
"""Added to "overall"; taken off it; added to "cost"; above 0 has an answer drawn again; recorded under its own name."""

RESERVED = ("overall", "cost", "baseline")
"""Names of scores that stand for a sum or have a meaning of their own; no single reward may take them."""


class Reward(Protocol):
    """Scores the responses of Groups.

    Called with Groups, it returns a row for each, in their order, and in it a number for each response, in theirs.
    `None` is a missing score: the ground truth is absent or cannot be read. What a *response* does wrong (no answer in
    it, endless text, a program that hangs) is a low score and never a missing one, or a policy would learn to do it.

    An attribute `source: SourceKind` may say what kind of source it is; without it, it is a verifier.
    """

    @property
    def name(self) -> str:
        """The name of its score."""
        ...

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """A row of numbers for each Group."""
        ...


class RewardError(AccordError):
    """A reward raised, or returned what is no score; the message names the reward and the prompt."""


@dataclass(frozen=True)
class Part:
    """A reward's part in the whole.

    Attributes:
        reward: what scores.
        weight: factor of the score in its sum; its own score is recorded without it.
        role: which sum it goes into, or what else it is for.
        name: name of its score; default the reward's own.

    Raises:
        ConfigError: the name is reserved, or the weight is zero: what has no weight is a monitor.
    """

    reward: Reward
    weight: float = 1.0
    role: Role = "reward"
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.reward.name)
        if self.name in RESERVED:
            mend = f"Choose a name other than {', '.join(RESERVED)}."
            raise ConfigError(f"{self.name!r} cannot be the name of one reward", where=f"reward {self.name}", mend=mend)
        if self.weight == 0:
            mend = "Give it another weight, or role=monitor to record it only."
            raise ConfigError("the weight is 0", where=f"reward {self.name}", mend=mend)

    @property
    def factor(self) -> float:
        """What its score is multiplied by in its sum."""
        return -self.weight if self.role == "penalty" else self.weight

    @property
    def source(self) -> SourceKind:
        """The kind of source that the reward is."""
        source: SourceKind = getattr(self.reward, "source", "verifier")
        return source


def excerpt(text: str, length: int = 80) -> str:
    """The beginning of a text as one quoted line, for messages."""
    flat = " ".join(text[: 4 * length].split())
    return repr(flat if len(flat) <= length else f"{flat[:length].rstrip()}...")


def place(group: Group) -> str:
    """Where a Group is found: file and line, or its identifier, and its prompt."""
    known = group.origin or group.id
    prompt = f"prompt {excerpt(group.prompt_text())}"
    return f"{known}, {prompt}" if known else prompt
