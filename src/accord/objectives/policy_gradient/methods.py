"""The policy-gradient methods by name: each a row of functions with its published defaults.

A row of one's own is a `Method`, or a published one with a part exchanged:

    dataclasses.replace(METHODS["grpo"], name="grpo_tokens", denominator=token_mean)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from accord.objectives.policy_gradient.critic_methods import A2C, CONSTRAINED_TRPO, PPO, PPO_LAGRANGIAN, TRPO
from accord.objectives.policy_gradient.group_methods import (
    CISPO,
    DAPO,
    DR_GRPO,
    GDPO,
    GRPO,
    GRPO_PROCESS,
    GSPO,
    GSPO_TOKEN,
)
from accord.objectives.policy_gradient.method import Method
from accord.objectives.policy_gradient.reinforce_methods import REINFORCE, REINFORCE_PP, REMAX, RLOO

_ALL = (
    # A number as baseline.
    REINFORCE,
    REINFORCE_PP,
    RLOO,
    REMAX,
    # The group as baseline.
    GRPO,
    DR_GRPO,
    DAPO,
    GSPO,
    GSPO_TOKEN,
    CISPO,
    GRPO_PROCESS,
    GDPO,
    # A critic as baseline.
    A2C,
    PPO,
    TRPO,
    PPO_LAGRANGIAN,
    CONSTRAINED_TRPO,
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
"""The command line's name of each policy-gradient method, and its row."""
