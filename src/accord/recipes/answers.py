"""A policy's answers to the prompts of a round: shared out over a run's processes, scored, set against given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec.structs import replace

from accord.errors import AccordError
from accord.feedback.reward import Part, Reward
from accord.feedback.score import Missing, Observer, RewardStatistics, score
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Feedback, Group, Preference
from accord.rollout import rollout
from accord.train import distributed
from accord.train.actor import without_feedback
from accord.train.config import TrainConfig


def sampling_of(config: TrainConfig, *place: int) -> Sampling:
    """How a run samples, with random numbers that follow from its seed and a place, such as the round's number."""
    seed = int(np.random.SeedSequence([config.seed, 17, *place]).generate_state(1)[0])
    return Sampling(temperature=config.sample_temperature, max_tokens=config.max_tokens, seed=seed)


class Answer(Protocol):
    """Who answers: the policy by itself, as `rollout` has it; a server with its weights; it and an environment."""

    def __call__(
        self, policy: Policy, groups: Sequence[Group], /, *, n: int, sampling: Sampling, places: Sequence[int]
    ) -> list[Group]:
        """The same prompts with `n` sampled responses each; from seed and place follow a prompt's random numbers."""
        ...


def share_of_ranks(
    policy: Policy, prompts: Sequence[Group], *, n: int, sampling: Sampling, answer: Answer = rollout
) -> list[Group]:
    """The prompts with sampled responses, the same for any number of ranks; they share the work, and all get all."""
    bare, places = distributed.share(without_feedback(prompts)), distributed.share(range(len(prompts)))
    gathered = distributed.gather(answer(policy, bare, n=n, sampling=sampling, places=places))
    # Ranks took every world_size-th prompt; back into one order.
    return [gathered[place % len(gathered)][place // len(gathered)] for place in range(len(prompts))]


def scored_for_all(
    groups: Sequence[Group], rewards: Sequence[Reward | Part], *, missing: Missing, observe: Observer | None = None
) -> list[Group]:
    """The Groups with their scores, as `score` gives them: the first rank asks the rewards, and all learn from that.

    A server or a sampling judge need not say the same to every rank, and ranks that disagreed would lose each other.

    Raises:
        AccordError: in every rank, where it fails in the first.
    """
    found: list[Group] = []
    said: list[RewardStatistics] = []
    failure: AccordError | None = None
    if distributed.rank() == 0:
        try:
            found = score(groups, rewards, missing=missing, observe=said.append)
        except AccordError as error:
            failure = error
    found, said, reason = distributed.from_first((found, said, None if failure is None else str(failure)))
    if reason is not None:
        raise failure or AccordError(reason)
    if observe is not None:
        for statistics in said:
            observe(statistics)
    return found


def preferred(given: Group, own: Group, name: str) -> Group:
    """One Group of given answers and the policy's own; every one of the given wins, as the source `name` has it."""
    count = len(given.responses)
    preferences = tuple(Preference(i, count + j) for i in range(count) for j in range(len(own.responses)))
    feedback = Feedback("dataset", name, preferences=preferences)
    return replace(given, responses=(*given.responses, *own.responses), feedback=(feedback,))
