"""Online preferences across two samplers (XPO, Nash-MD): the policy's answers against those of an opponent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec.structs import replace

from accord.feedback.reward import Part, Reward
from accord.feedback.score import RewardStatistics
from accord.policy.blend import acting_as_one
from accord.policy.policy import Policy
from accord.recipes.answers import sampling_of, scored_for_all, share_of_ranks
from accord.record import Group, Response
from accord.train.actor import PromptOrder, Round
from accord.train.collate import OWN, SAMPLER
from accord.train.config import TrainConfig
from accord.train.models import load_frozen

SHARES = {"xpo": 1.0, "nash_md": 0.125}
"""The reference's share in the opponent: all of it, and the mixture of the paper's best policy."""

_SHARE = 0.5
"""That of other objectives that compare two samplers."""


@dataclass
class OpposedActor:
    r"""Answers each prompt as the policy and as its opponent, and has both scored together.

    .. math:: \pi' \propto \pi^{1-\omega}\,\pi_\text{ref}^{\omega}

    token by token. The reference is the starting model, held once more than the loss needs it. Both answer `n` times,
    and each answer says by whom it is.

    Attributes:
        rewards: what scores.
        config: the settings, with rollout settings in place.
    """

    rewards: Sequence[Reward | Part]
    config: TrainConfig

    @cached_property
    def reference(self) -> Policy:
        """The model that training starts from."""
        return load_frozen(self.config, self.config.model)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The round's prompts with the policy's answers first and the opponent's after them, scored."""
        drawn, n = prompts.of_round(number), self.config.n or 1
        share = self.config.opponent_share
        share = SHARES.get(self.config.objective, _SHARE) if share is None else share
        opponent = acting_as_one((policy, self.reference), (1.0 - share, share), "geometric", like=policy)
        own = share_of_ranks(policy, drawn, n=n, sampling=sampling_of(self.config, number))
        theirs = share_of_ranks(opponent, drawn, n=n, sampling=sampling_of(self.config, number, 1))
        notes: dict[str, float] = {}

        def note(statistics: RewardStatistics) -> None:
            if statistics.mean is not None:
                notes[f"reward/{statistics.name}"] = statistics.mean

        opposed = [_opposed(mine, other) for mine, other in zip(own, theirs, strict=True)]
        return Round(scored_for_all(opposed, self.rewards, missing=self.config.missing_reward, observe=note), notes)

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer of the policy to each held-out prompt."""
        sampling = replace(sampling_of(self.config), seed=self.config.seed)
        answered = share_of_ranks(policy, prompts, n=1, sampling=sampling)
        return scored_for_all(answered, self.rewards, missing="record") if answered else []


def _opposed(own: Group, theirs: Group) -> Group:
    return replace(own, responses=(*_marked(own, OWN), *_marked(theirs, "opponent")))


def _marked(group: Group, sampler: str) -> tuple[Response, ...]:
    return tuple(replace(response, meta={**response.meta, SAMPLER: sampler}) for response in group.responses)
