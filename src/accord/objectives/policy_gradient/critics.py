"""Parts of the loss beside the surrogate: the critics, the entropy bonus, and text to keep likely."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative


def value_loss(
    value: Tensor,
    old_value: Tensor,
    returns: Tensor,
    *,
    value_coefficient: NonNegative = 0.1,
    value_clip: NonNegative = 0.2,
) -> Tensor:
    r"""Squared error of the critic on each token, pessimistic about large moves.

    .. math:: \tfrac12\max\left((V - G)^2,\ (V_\text{old} + \operatorname{clip}(V - V_\text{old}, \pm\varepsilon_V) -
        G)^2\right)

    Args:
        value: `[B,n,T]` the critic's estimate.
        old_value: `[B,n,T]` its estimate before the updates of the round.
        returns: `[B,n,T]` the target (G).
        value_coefficient: weight of the critics' losses beside that of the policy, at least 0; 0 trains no critic.
        value_clip: how far the estimate may move in a round before the gradient stops, at least 0; 0 sets no limit.

    Source: Schulman et al. 2017 (arXiv:1707.06347), eq. 9; the clip is that of OpenAI's baselines.
    """
    return value_coefficient * _error(value, old_value, returns, value_clip)


def cost_value_loss(
    cost_value: Tensor,
    old_cost_value: Tensor,
    cost_returns: Tensor,
    *,
    value_coefficient: NonNegative = 0.1,
    value_clip: NonNegative = 0.2,
) -> Tensor:
    """`value_loss` of the critic of the cost."""
    return value_coefficient * _error(cost_value, old_cost_value, cost_returns, value_clip)


def _error(value: Tensor, old: Tensor, target: Tensor, limit: float) -> Tensor:
    error = (value - target).square()
    if limit:
        held = old + (value - old).clamp(-limit, limit)
        error = torch.maximum(error, (held - target).square())
    return 0.5 * error


def entropy_bonus(entropy: Tensor, *, entropy_coefficient: NonNegative = 0.0) -> Tensor:
    r"""Minus the entropy of the policy at each token, :math:`-c\,H(\pi(\cdot\mid y_{<t}))`: keeps it exploring.

    Args:
        entropy: `[B,n,T]` entropy of the policy's distribution.
        entropy_coefficient: weight of the entropy bonus (c), at least 0; 0 leaves it out.

    Source: Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning" (arXiv:1602.01783), section 4.
    """
    return -entropy_coefficient * entropy


def pretraining_loss(pretrain: Tensor, *, ptx_coefficient: NonNegative = 0.0) -> Tensor:
    r"""Negative log-likelihood of text to keep likely, :math:`-\gamma\log\pi(x)` a token (PPO-ptx).

    Args:
        pretrain: `[B,m,S]` log-probability of each token of the texts.
        ptx_coefficient: weight of the texts' likelihood (gamma), at least 0; 0 needs no text. InstructGPT takes 27.8.

    Source: Ouyang et al. 2022, "Training language models to follow instructions with human feedback"
    (arXiv:2203.02155), eq. 2.
    """
    return -ptx_coefficient * pretrain
