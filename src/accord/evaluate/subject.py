"""What is measured: what answers, gives likelihoods or rewards; and degenerate models to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord.chat.types import Chat
from accord.errors import ConfigError
from accord.feedback.reward import Row
from accord.record import Group


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a response after its prompt.

    Attributes:
        total: summed log-probability of the response's tokens.
        tokens: how many they are.
        greedy: whether each is the likeliest in its place, so that the model would say just this; `None` if unknown.
    """

    total: float
    tokens: int
    greedy: bool | None = None


Likelihoods = Callable[[Sequence[Group]], list[tuple[Likelihood, ...]]]
"""For each Group, how likely each of its responses is."""

Rewards = Callable[[Sequence[Group]], list[Row]]
"""For each Group, a number for each of its responses."""


@dataclass(frozen=True)
class Subject:
    """What is measured, by what it can do. A task takes the ability it needs, and says so where it is missing.

    Attributes:
        name: what the user calls it.
        identity: weights and reading, by content; part of what a result is found by.
        chat: answers requests.
        likelihoods: scores given responses.
        rewards: rewards given responses.
    """

    name: str
    identity: str
    chat: Chat | None = None
    likelihoods: Likelihoods | None = None
    rewards: Rewards | None = None

    def answering(self, task: str = "") -> Chat:
        """How it answers.

        Raises:
            ConfigError: it does not.
        """
        if self.chat is None:
            raise self._lacks("does not answer", task, "Measure a language model or a server.")
        return self.chat

    def scoring(self, task: str = "") -> Likelihoods:
        """How likely it finds given responses.

        Raises:
            ConfigError: it cannot say.
        """
        if self.likelihoods is None:
            raise self._lacks("gives no log-probabilities of a prompt", task, "Measure a model in this process.")
        return self.likelihoods

    def rewarding(self, task: str = "") -> Rewards:
        """How it rewards given responses.

        Raises:
            ConfigError: it does not.
        """
        if self.rewards is None:
            raise self._lacks("gives no rewards", task, "Measure a reward model, or a policy with its reference.")
        return self.rewards

    def _lacks(self, what: str, task: str, mend: str) -> ConfigError:
        needed = f"the task {task!r} needs" if task else "this task needs"
        return ConfigError(f"{self.name} {what}, which {needed}", where="--model", mend=mend)
