"""Credit under a limited cost: two critics, one advantage, and a multiplier that learns what the limit costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import Finite, NonNegative, Positive
from accord.objectives.policy_gradient.actor_critic import (
    Discount,
    Whiten,
    advantages,
    explained_variance,
    whitened,
)
from accord.objectives.policy_gradient.credit import Credit, counted, mean_of, rewards

Form = Literal["log", "linear"]


def lagrangian_advantage(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    cost: Tensor,
    old_value: Tensor,
    old_cost_value: Tensor,
    state: Mapping[str, Tensor],
    *,
    gamma: Discount = 1.0,
    gae_lambda: Discount = 0.95,
    whiten: Whiten = "none",
    cost_limit: Finite = 0.0,
    multiplier: NonNegative = 1.0,
    multiplier_rate: NonNegative = 0.1,
    multiplier_most: Positive = 5.0,
    multiplier_form: Form = "log",
) -> Credit:
    r"""Advantage of the reward less :math:`\lambda` times that of the cost, each from a critic of its own.

    .. math:: A = \frac{A_R - \lambda A_C}{1 + \lambda}, \qquad
        \log\lambda \leftarrow \log\lambda + \eta\,\lambda\,(J_C - d)

    with :math:`J_C` the mean cost of the round's responses. The multiplier moves before the round's advantages are
    made. What tokens were paid (the divergence's price) is taken off the reward and added to the cost, so that it pulls
    the same way in both. `linear` moves :math:`\lambda \leftarrow [\lambda + \eta(J_C - d)]_+` instead; the log form
    never moves from 0.

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        cost: `[B,n]` cost of each response.
        old_value: `[B,n,T]` the reward critic's estimate before the updates of the round.
        old_cost_value: `[B,n,T]` the cost critic's.
        state: `[]` by name: `multiplier`, as the rounds before have left it.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.
        gae_lambda: how far differences are summed, at least 0 (one step) and at most 1 (to the end).
        whiten: the combined advantages of the round get mean 0 and variance 1, that `unbiased` or of the `population`;
            `none` leaves them.
        cost_limit: mean cost that is allowed (d), in the units of the cost.
        multiplier: the multiplier at the start (lambda), at least 0.
        multiplier_rate: how fast the multiplier follows the cost (eta), at least 0; 0 keeps it fixed.
        multiplier_most: the largest multiplier, above 0.
        multiplier_form: `log` moves the multiplier's logarithm, `linear` the multiplier.

    Source: Dai et al. 2023, "Safe RLHF" (arXiv:2310.12773), eq. 9 and appendix B. Deviation: there :math:`J_C` is the
    mean over the last 128 responses.
    """
    wide = torch.promote_types(old_value.dtype, torch.float32)
    counts = counted(scored, valid)
    trained = mask * counts.unsqueeze(-1)
    total, count = mean_of(cost, counts)
    current = state.get("multiplier", total.new_tensor(multiplier)).to(total)
    renewed = dual_step(current, total / count.clamp_min(1.0) - cost_limit, multiplier_rate, multiplier_form)
    renewed = torch.where(count > 0, renewed, current).clamp_max(multiplier_most)

    of_reward = advantages(
        rewards(score, token_reward, mask), old_value.to(wide), trained, gamma=gamma, gae_lambda=gae_lambda
    )
    of_cost = advantages(
        rewards(cost, -token_reward, mask), old_cost_value.to(wide), trained, gamma=gamma, gae_lambda=gae_lambda
    )
    returns, cost_returns = of_reward + old_value, of_cost + old_cost_value
    return Credit(
        whitened(combined(of_reward, of_cost, renewed), trained, whiten=whiten),
        returns=returns.masked_fill(mask == 0, 0.0),
        cost_returns=cost_returns.masked_fill(mask == 0, 0.0),
        metrics={
            "explained_variance": explained_variance(returns, old_value, trained),
            "explained_cost_variance": explained_variance(cost_returns, old_cost_value, trained),
            "cost": (total, count),
            "multiplier": (renewed, torch.ones_like(renewed)),
        },
        state={"multiplier": renewed},
    )


def combined(of_reward: Tensor, of_cost: Tensor, multiplier: Tensor | float) -> Tensor:
    r""":math:`(A_R - \lambda A_C)/(1 + \lambda)`: of the size of one advantage, whatever the multiplier.

    >>> combined(torch.tensor([0.5, -0.2]), torch.tensor([0.3, 0.4]), 1.0)
    tensor([ 0.1000, -0.3000])
    """
    return (of_reward - multiplier * of_cost) / (1.0 + multiplier)


def dual_step(multiplier: Tensor, violation: Tensor, rate: float, form: Form) -> Tensor:
    """The multiplier after one step against a violation (mean cost less its limit); never below 0.

    >>> dual_step(torch.tensor(1.0), torch.tensor(0.6), 0.1, "log")
    tensor(1.0618)
    """
    if form == "log":
        return multiplier * torch.exp((rate * multiplier * violation).clamp_max(20.0))
    return (multiplier + rate * violation).clamp_min(0.0)
