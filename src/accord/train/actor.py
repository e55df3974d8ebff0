"""Who acts in a round: what samples and scores, on which prompts, and how many rounds a run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from msgspec.structs import replace

from accord.policy.policy import Policy
from accord.record import Group
from accord.train.config import TrainConfig


@dataclass(frozen=True)
class Round:
    """What a round of sampling and scoring gave.

    Attributes:
        groups: prompts with sampled responses and their scores.
        notes: numbers about them, for the first step's line of `metrics.jsonl`.
        state: numbers that the objective finds in its `state` from this round on.
    """

    groups: list[Group]
    notes: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, float] = field(default_factory=dict)


class Actor(Protocol):
    """Samples answers and has them scored."""

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The Groups of a round; the same policy, prompts and number give the same."""
        ...

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer to each held-out prompt, with the same random numbers every time."""
        ...


@runtime_checkable
class Accompanied(Protocol):
    """What an actor has besides, where other policies take part."""

    @property
    def others(self) -> tuple[Policy, ...]:
        """Policies with the same vocabulary, which the objective finds as `teacher`."""
        ...

    @property
    def mixes(self) -> bool:
        """Whether they have a say in what is sampled: `behaviour` is then not what the policy gave its tokens."""
        ...


@dataclass(frozen=True)
class PromptOrder:
    """Which prompts a round answers: every epoch goes through all of them in an order of its own.

    Attributes:
        groups: all prompts.
        a_round: how many a round takes.
        seed: of the order.
    """

    groups: Sequence[Group]
    a_round: int
    seed: int

    def of_round(self, number: int) -> list[Group]:
        """The prompts of a round."""
        places = range(number * self.a_round, (number + 1) * self.a_round)
        return [self._at(place) for place in places]

    def further(self, number: int, attempt: int, count: int) -> list[Group]:
        """Other prompts for a round in which some gave nothing to learn from."""
        drawn = np.random.default_rng([self.seed, 11, number, attempt]).permutation(len(self.groups))[:count]
        return [self.groups[index] for index in drawn.tolist()]

    def _at(self, place: int) -> Group:
        epoch, index = divmod(place, len(self.groups))
        return self.groups[int(np.random.default_rng([self.seed, epoch]).permutation(len(self.groups))[index])]


def rounds_in(config: TrainConfig, prompts: int) -> int:
    """Rounds of a whole run over so many prompts."""
    if config.steps is not None:
        return -(-config.steps // steps_a_round(config))
    return max(1, int(np.ceil(prompts * config.epochs / config.prompts - 1e-9)))


def steps_a_round(config: TrainConfig) -> int:
    """Optimiser steps that follow one round of sampling."""
    assert config.passes is not None
    return config.passes * parts_of_pass(config)


def parts_of_pass(config: TrainConfig) -> int:
    """Optimiser steps in one pass over a round."""
    return 1 if config.batch_size is None else -(-config.prompts // config.batch_size)


def without_feedback(groups: Sequence[Group]) -> list[Group]:
    """The bare prompts of Groups, with identifier and ground truth."""
    return [replace(group, responses=(), feedback=()) for group in groups]
