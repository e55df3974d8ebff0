"""Credit with a critic: generalised advantage estimation, for a reward alone and for a reward under a limited cost."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import Range
from accord.objectives.policy_gradient.credit import (
    Credit,
    counted,
    discounted_sum,
    next_trained,
    rewards,
)

Discount = Annotated[float, Range(least=0.0, most=1.0)]
Whiten = Literal["unbiased", "population", "none"]


def generalised_advantage(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    old_value: Tensor,
    *,
    gamma: Discount = 1.0,
    gae_lambda: Discount = 0.95,
    whiten: Whiten = "unbiased",
) -> Credit:
    r"""Generalised advantage estimation: temporal differences of the critic, summed with weight :math:`\lambda`.

    .. math::
        \delta_t = r_t + \gamma V_{t+1} - V_t, \qquad A_t = \delta_t + \gamma\lambda A_{t+1}, \qquad
        \text{returns}_t = A_t + V_t

    with :math:`V_{T+1} = 0`. With :math:`\lambda = 0` it is the one-step error of the actor-critic, with
    :math:`\lambda = 1` the return less the value. The value's target is made before whitening. A response without a
    score has advantage 0 and its old value as target.

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        old_value: `[B,n,T]` the critic's estimate before the updates of the round.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.
        gae_lambda: how far differences are summed, at least 0 (one step) and at most 1 (to the end).
        whiten: the advantages of the round get mean 0 and variance 1, that `unbiased` (TRL, verl) or of the
            `population` (OpenAI's original); `none` leaves them.

    Source: Schulman et al. 2015, "High-dimensional continuous control using generalized advantage estimation"
    (arXiv:1506.02438), eq. 16.
    """
    wide = torch.promote_types(old_value.dtype, torch.float32)
    trained = mask * counted(scored, valid).unsqueeze(-1)
    paid = rewards(score, token_reward, mask)
    advantage = advantages(paid.to(wide), old_value.to(wide), trained, gamma=gamma, gae_lambda=gae_lambda)
    returns = (advantage + old_value.to(wide)).masked_fill(mask == 0, 0.0)
    return Credit(
        whitened(advantage, trained, whiten=whiten),
        returns=returns,
        metrics={"explained_variance": explained_variance(returns, old_value, trained)},
    )


def advantages(paid: Tensor, value: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float) -> Tensor:
    """Advantages of trained tokens from what each was paid and the critic's value of it, `[B,n,T]` each."""
    held = value.masked_fill(mask == 0, 0.0)
    difference = paid + gamma * next_trained(held, mask) - held
    return discounted_sum(difference, mask, discount=gamma * gae_lambda)


def whitened(values: Tensor, mask: Tensor, *, whiten: Whiten) -> Tensor:
    r"""Values with mean 0 and variance 1 over all trained tokens; a single token becomes 0, not NaN.

    .. math:: (x - \bar x)\,/\,\sqrt{\operatorname{var}(x) + 10^{-8}}
    """
    if whiten == "none":
        return values.masked_fill(mask == 0, 0.0)
    trained = mask > 0
    size = trained.sum()
    mean = values.masked_fill(~trained, 0.0).sum() / size.clamp_min(1)
    centred = (values - mean).masked_fill(~trained, 0.0)
    variance = centred.square().sum() / (size - 1 if whiten == "unbiased" else size).clamp_min(1)
    return centred * (variance + 1e-8).rsqrt()


def explained_variance(returns: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    r"""Share of the returns' variance that the critic foresaw.

    .. math:: 1 - \operatorname{var}(G - V)\,/\,\operatorname{var}(G)

    1 is perfect, 0 no better than a constant, below 0 worse. As a metric: its count is the number of tokens, 0 if all
    returns are the same.
    """
    trained = mask > 0
    residual = _variance(returns - value, trained)
    variance = _variance(returns, trained)
    known = (variance > 0) * trained.sum()
    share = 1.0 - residual / variance.masked_fill(variance == 0, 1.0)
    return share * known, known.to(share.dtype)


def _variance(values: Tensor, trained: Tensor) -> Tensor:
    held = values.masked_fill(~trained, 0.0)
    size = trained.sum().clamp_min(1)
    return ((held - held.sum() / size).masked_fill(~trained, 0.0)).square().sum() / size
