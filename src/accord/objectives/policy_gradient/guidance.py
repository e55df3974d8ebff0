"""What policy-gradient methods take from other policies: their distributions, and the ratio to what sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.policy_gradient.method import Method
from accord.objectives.policy_gradient.mixture import divergence, diversity
from accord.objectives.policy_gradient.surrogates import importance, reinforce

GUIDANCE = "guidance"
"""The name in `state` of the share of `guide_kl` that a round still uses; 1 where nothing sets it."""


def guide_divergence(teacher: Any, state: Mapping[str, Tensor], *, guide_kl: NonNegative = 0.0) -> Tensor:
    r"""Divergence of the guide from the policy as a loss of each token, :math:`\lambda_k\,\mathrm{KL}(g\Vert\pi)`.

    Kickstarting: the policy is drawn to what the guide would say where the policy is, less from round to round. With
    several policies that learn at once it is the mean over the others, which is mutual learning.

    Args:
        teacher: `[B,n,T]` of a measure of the policy's and the guide's log-softmax.
        state: `[]` by name: `guidance`, the share of `guide_kl` that this round uses.
        guide_kl: weight of the divergence of the guide, or of the other policies that learn at once, from the policy,
            at least 0; 0 leaves it out.

    Source: Schmitt et al. 2018, "Kickstarting deep reinforcement learning" (arXiv:1803.03835), eq. 4; mutual learning:
    Zhang et al. 2018 (arXiv:1706.00384), eq. 8.
    """

    def measure(policy: Tensor, guide: Tensor) -> Tensor:
        return divergence(guide, policy)

    loss: Tensor = teacher(measure, temperature=1.0)
    return guide_kl * state.get(GUIDANCE, torch.ones(())).to(loss) * loss


def likeness(teacher: Any, *, diversity_bonus: NonNegative = 0.0) -> Tensor:
    r"""How much policies that learn at once agree, as a loss of each token: :math:`-\eta\,\mathrm{JSD}(\pi, \pi_j)`.

    The mean over the others of the Jensen-Shannon divergence from each, at most log 2.

    Args:
        teacher: `[B,n,T]` of a measure of the policy's and another's log-softmax.
        diversity_bonus: weight of the Jensen-Shannon divergence from the other policies that learn at once, which is
            raised, at least 0; 0 leaves it out.
    """

    def measure(policy: Tensor, other: Tensor) -> Tensor:
        return diversity(torch.stack([policy, other]))

    loss: Tensor = teacher(measure, temperature=1.0)
    return -diversity_bonus * loss


def corrected(method: Method) -> Method:
    r"""The method for responses in which other policies had a part.

    Where its surrogate has no ratio, the score-function estimator becomes :math:`-A_t\,\pi(y_t)/\mu(y_t)`: the same
    gradient where the policy is the behaviour, and the right one for each token elsewhere.
    """
    return replace(method, surrogate=importance) if method.surrogate is reinforce else method
