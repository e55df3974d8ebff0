"""Text environments: what answers a policy back, turn by turn, and rewards it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from accord.record import Group, Message, Prompt

Observation = str | tuple[Message, ...]
"""What an environment says; a text is a user's turn, or the continuation of a plain-text prompt."""


class Turn(NamedTuple):
    """What an environment makes of an answer.

    Attributes:
        observation: what the policy reads next; not read when the episode is over.
        reward: of this answer.
        done: whether the episode is over.
        info: anything else worth keeping; must be plain data.
    """

    observation: Observation
    reward: float
    done: bool
    info: dict[str, Any]


class Environment(Protocol):
    """One episode's world; every sample has its own."""

    def reset(self, prompt: Prompt) -> Prompt:
        """Begin an episode, and return what the policy reads first: the same for every sample of a prompt."""
        ...

    def step(self, response: str) -> Turn:
        """Take the policy's answer."""
        ...


EnvironmentFactory = Callable[[Group], Environment]
"""A new environment for one sample of a Group."""
