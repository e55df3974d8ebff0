"""Guided policy optimisation: a good model has a say in what is sampled, less and less; the ratio corrects for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from accord.errors import ConfigError
from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.guidance import GUIDANCE
from accord.policy.blend import acting_as_one
from accord.policy.policy import Policy
from accord.record import Group
from accord.train.actor import Actor, PromptOrder, Round, rounds_in
from accord.train.config import TrainConfig
from accord.train.models import load_frozen


@dataclass
class GuidedActor:
    r"""Has the policy and its guide answer as one, and the rewards of another actor score the answers.

    .. math:: \mu_k = (1 - a_k)\,\pi + a_k\,g, \qquad a_k = a\,\max(0, 1 - k / (\text{span}\cdot K))

    in round k of K. Responses carry the mixture's log-probabilities, so that every surrogate with a ratio weighs a
    token by what the policy itself would have made of it. A guide shows the policy rewards that it would not have
    found; what the policy all but rules out has a weight of all but 0, so a guide that is far away teaches little.

    Attributes:
        inner: samples from what it is given, and has it scored.
        config: the settings, with rollout settings in place.

    Source: the mixture of behaviours is that of guided policy search, Levine and Koltun 2013; here the next-token
    distributions are mixed, and the ratio is the live one.
    """

    inner: Actor
    config: TrainConfig

    @cached_property
    def guide(self) -> Policy:
        """The guide, frozen."""
        assert self.config.guide is not None
        return load_frozen(self.config, self.config.guide)

    @property
    def others(self) -> tuple[Policy, ...]:
        """See `Accompanied`."""
        return (self.guide,)

    @property
    def mixes(self) -> bool:
        """See `Accompanied`."""
        return self.config.guide_share > 0

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The round's Groups, answered by the mixture."""
        span = self.config.guide_span * rounds_in(self.config, len(prompts.groups))
        left = max(0.0, 1.0 - number / span)
        share = self.config.guide_share * left
        acting = acting_as_one((policy, self.guide), (1.0 - share, share), self.config.mixing, like=policy)
        collected = self.inner.collect(acting, prompts, number)
        notes = {**collected.notes, "round/guide_share": share}
        return dataclasses.replace(collected, notes=notes, state={GUIDANCE: left})

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer of the policy alone to each held-out prompt."""
        return self.inner.examine(policy, prompts)


def require_guidable(config: TrainConfig, *, flag: str = "--guide") -> None:
    """Refuse others' say in the sampling where nothing could correct for it.

    Raises:
        ConfigError: the objective is no policy-gradient method, or steps within a trust region around the policy that
            sampled.
    """
    method = METHODS.get(config.objective)
    if method is None:
        mend = "Train a policy-gradient method, such as grpo or rloo."
        raise ConfigError(f"{config.objective} has no ratio that would correct for it", where=flag, mend=mend)
    if method.step is not None:
        what = (
            f"{config.objective} steps within a region around the policy that sampled, which must be the policy alone"
        )
        raise ConfigError(what, where=flag, mend="Train another method, such as ppo.")
