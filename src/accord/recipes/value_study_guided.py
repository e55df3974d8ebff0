"""The study of values, third part: a value that was learned from choices guides what an untrained policy samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import msgspec

from accord.feedback.values import LearnedValues, ValueReward, value_part
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.world_evaluation import LONGEST_ANSWER, TEMPERATURE
from accord.record import Group
from accord.rollout import Guide, guided_rollout, rollout
from accord.world.annotators import PLURALISTS
from accord.world.values import right

WHO = "warm"
"""The annotator whose learned value guides."""

UNGUIDED = "not guided"

WAYS: Mapping[str, Guide] = {
    "whole answers, beta 0": Guide(beta=0.0, block=LONGEST_ANSWER),
    "whole answers, beta 1": Guide(beta=1.0, block=LONGEST_ANSWER),
    "whole answers, the best": Guide(beta=inf, block=LONGEST_ANSWER),
    "blocks of 4, the best as it stands": Guide(beta=inf, block=4),
    "blocks of 4, the best continued": Guide(beta=inf, block=4, outlook="greedy"),
    "tokens, beta 1": Guide(beta=1.0, by="tokens"),
    "tokens, the best": Guide(beta=inf, by="tokens"),
}
"""Every way to guide, with eight candidates."""


class GuidedOutcome(msgspec.Struct, frozen=True):
    """One way's answers to the held-out prompts.

    Attributes:
        learned: what each is worth by the learned value, in log-odds of a choice.
        worth: what each is worth to the annotator.
        right: the oracle's gold.
    """

    learned: list[float]
    worth: list[float]
    right: list[float]


def study_guided(
    policy: Policy, held_out: Sequence[Group], learned: LearnedValues, *, seed: int
) -> dict[str, GuidedOutcome]:
    """Sample with and without guidance, and have the learned value, the annotator and the oracle judge.

    Args:
        policy: what answers; it is not trained.
        held_out: prompts.
        learned: weights with those of the annotator.
        seed: of the sampling.
    """
    parts = [value_part(value.reward, value.name) for value in learned.values]
    value = ValueReward(parts, learned.weights(WHO))
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=LONGEST_ANSWER, seed=seed)
    found = {UNGUIDED: _judged(rollout(policy, held_out, n=1, sampling=sampling), value)}
    for name, guide in WAYS.items():
        answered = guided_rollout(policy, held_out, value, n=1, sampling=sampling, guide=guide)
        found[name] = _judged(answered, value)
    return found


def _judged(answered: Sequence[Group], value: ValueReward) -> GuidedOutcome:
    annotator = PLURALISTS[WHO]
    return GuidedOutcome(
        learned=[round(row[0] or 0.0, 5) for row in value(answered)],
        worth=[round(annotator.value(group, group.responses[0]), 5) for group in answered],
        right=[round(right(group, group.responses[0]), 5) for group in answered],
    )
