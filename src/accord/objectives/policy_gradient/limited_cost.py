"""Credit for steps that hold a limit on the cost: an advantage of the reward and one of the cost, never mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.objectives.hyperparameters import Finite
from accord.objectives.policy_gradient.actor_critic import (
    Discount,
    Whiten,
    advantages,
    explained_variance,
    whitened,
)
from accord.objectives.policy_gradient.credit import Credit, counted, mean_of, rewards
from accord.objectives.primitives import seq_sum, token_log_ratio
from accord.objectives.terms import Terms

EXCESS = "excess"
"""The number carried from the credit to the step: the mean cost less its limit."""


def limited_advantage(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    cost: Tensor,
    old_value: Tensor,
    old_cost_value: Tensor,
    *,
    gamma: Discount = 1.0,
    gae_lambda: Discount = 0.95,
    cost_gae_lambda: Discount = 1.0,
    whiten: Whiten = "unbiased",
    cost_limit: Finite = 0.0,
) -> Credit:
    r"""Generalised advantage estimation of the reward and, beside it, of the cost, each with a critic of its own.

    The advantage of the cost keeps its units, so that the sum over a response of :math:`q_t A_{C,t}` says by how much
    the response's expected cost changes; it is centred, for less noise. The state `excess` is :math:`J_C - d`, the mean
    cost of the round's responses less the limit. What tokens were paid is taken off the reward alone.

    The limit holds only as far as the advantage of the cost is right. With a lambda below 1 a cost that is known at the
    end of a response reaches its early tokens through the critic, and by as much too little as the critic has not
    learned yet: so the cost has a lambda of its own, 1, at which the advantage is right whatever the critic says.

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        cost: `[B,n]` cost of each response.
        old_value: `[B,n,T]` the reward critic's estimate before the updates of the round.
        old_cost_value: `[B,n,T]` the cost critic's.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.
        gae_lambda: how far differences are summed, at least 0 (one step) and at most 1 (to the end).
        cost_gae_lambda: how far differences of the cost are summed, at least 0 and at most 1; below 1 is less noisy and
            trusts the cost's critic.
        whiten: the reward's advantages of the round get mean 0 and variance 1, that `unbiased` or of the `population`;
            `none` leaves them.
        cost_limit: mean cost that is allowed (d), in the units of the cost.

    Source: Achiam et al. 2017, "Constrained policy optimization" (arXiv:1705.10528), eq. 10 and section 6.
    """
    wide = torch.promote_types(old_value.dtype, torch.float32)
    counts = counted(scored, valid)
    trained = mask * counts.unsqueeze(-1)
    total, count = mean_of(cost, counts)
    paid, nothing = rewards(score, token_reward, mask), torch.zeros_like(token_reward)
    of_reward = advantages(paid, old_value.to(wide), trained, gamma=gamma, gae_lambda=gae_lambda)
    of_cost = advantages(
        rewards(cost, nothing, mask), old_cost_value.to(wide), trained, gamma=gamma, gae_lambda=cost_gae_lambda
    )
    returns, cost_returns = of_reward + old_value, of_cost + old_cost_value
    mean_advantage = (of_cost * trained).sum() / trained.sum().clamp_min(1.0)
    return Credit(
        whitened(of_reward, trained, whiten=whiten),
        returns=returns.masked_fill(mask == 0, 0.0),
        cost_returns=cost_returns.masked_fill(mask == 0, 0.0),
        cost_advantage=(of_cost - mean_advantage).masked_fill(trained == 0, 0.0),
        metrics={
            "explained_variance": explained_variance(returns, old_value, trained),
            "explained_cost_variance": explained_variance(cost_returns, old_cost_value, trained),
            "cost": (total, count),
        },
        state={EXCESS: total / count.clamp_min(1.0) - cost_limit * (count > 0)},
    )


def expected_cost(policy: Tensor, behaviour: Tensor, cost_advantage: Tensor, mask: Tensor, valid: Tensor) -> Terms:
    r"""By how much the expected cost of a response rises as the policy leaves the one that sampled, to first order.

    .. math:: \operatorname{mean}_i \sum_t q_{i,t} A_{C,i,t}, \qquad q_{i,t} = \pi(y_{i,t}) / \mu(y_{i,t})

    up to the constant that it has where both are the same.

    Args:
        policy: `[B,n,T]` log-probability of each token.
        behaviour: `[B,n,T]` the same under the policy that sampled.
        cost_advantage: `[B,n,T]` how much more each token cost than expected.
        mask: `[B,n,T]` 1 on trained tokens.
        valid: `[B,n]` 1 where the response exists.

    Source: Achiam et al. 2017 (arXiv:1705.10528), eq. 10, with its product of ratios taken token by token.
    """
    ratio = token_log_ratio(policy, behaviour).masked_fill(mask == 0, 0.0).exp()
    return Terms(loss=seq_sum(ratio * cost_advantage, mask), weight=valid, name="expected_cost")
