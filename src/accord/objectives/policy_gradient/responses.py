"""Credit from the responses themselves: returns, batch statistics, the greedy response as baseline.

A response without a score has advantage 0 and is in no statistic.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.policy_gradient.actor_critic import Discount, whitened
from accord.objectives.policy_gradient.credit import (
    Credit,
    counted,
    discounted_sum,
    over_tokens,
    rewards,
    total_reward,
)
from accord.objectives.policy_gradient.groups import Deviation, standardise

Horizon = Literal["one_step", "to_go"]


def returns_to_go(
    score: Tensor, scored: Tensor, valid: Tensor, mask: Tensor, token_reward: Tensor, *, gamma: Discount = 1.0
) -> Credit:
    r"""All that is paid from a token on, without a baseline: :math:`A_t = \sum_{s\ge t}\gamma^{s-t} r_s`. Unbiased.

    Args:
        score: `[B,n]` score of each response, paid on its last trained token.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.

    Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning";
    only what follows a token counts for it, as in Sutton et al. 1999.

    >>> import torch
    >>> ones = torch.ones(1, 1)
    >>> returns_to_go(ones, ones, ones, torch.ones(1, 1, 3), torch.zeros(1, 1, 3), gamma=0.9).advantage
    tensor([[[0.8100, 0.9000, 1.0000]]])
    """
    trained = mask * counted(scored, valid).unsqueeze(-1)
    return Credit(discounted_sum(rewards(score, token_reward, mask), trained, discount=gamma))


def standardised_scores(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    *,
    epsilon: NonNegative = 1e-8,
    deviation: Deviation = "unbiased",
) -> Credit:
    r"""Rewards standardised over all responses of the round.

    .. math:: A_i = \frac{R_i - \bar R}{\operatorname{std}(R) + \epsilon}

    The mean mixes the difficulty of the prompts into the baseline, and a response is in its own baseline.
    The gradient is biased: the step has the same size whether the rewards of the round differ much or little.

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        epsilon: added to the deviation, at least 0.
        deviation: `unbiased` divides squares by their number less 1, `population` by their number.
    """
    counts = counted(scored, valid)
    flat = total_reward(score, token_reward, mask).flatten()
    standard = standardise(flat, counts.flatten(), epsilon=epsilon, deviation=deviation).view_as(counts)
    return Credit(over_tokens(standard, counts, mask))


def whitened_returns(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    *,
    gamma: Discount = 1.0,
    whiten: Literal["unbiased", "population"] = "unbiased",
) -> Credit:
    r"""Returns of tokens, with mean 0 and variance 1 over all tokens of the round.

    .. math::
        A_t = (G_t - \bar G)\,/\,\sqrt{\operatorname{var}(G) + 10^{-8}}, \qquad
        G_t = \sum_{s \ge t} \gamma^{s-t} r_s

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.
        whiten: the variance that becomes 1, `unbiased` or that of the `population`.

    Source: Hu et al. 2025, "REINFORCE++" (arXiv:2501.03262), section 3.
    """
    trained = mask * counted(scored, valid).unsqueeze(-1)
    returns = discounted_sum(rewards(score, token_reward, mask), trained, discount=gamma)
    return Credit(whitened(returns, trained, whiten=whiten))


def greedy_baseline(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    baseline: Tensor,
    *,
    gamma: Discount = 0.99,
    horizon: Horizon = "one_step",
) -> Credit:
    r"""The score less that of the greedy response to the same prompt.

    .. math:: A_t = \gamma^{T-t}\,(r(x,y) - r(x,y_\text{greedy})) + k_t

    where :math:`k_t` is what the token itself was paid (the divergence's price), or with `to_go` all that is paid from
    it on. The baseline does not depend on the response, so `to_go` is unbiased; `one_step` is the authors' and blind to
    what a token does to the divergence after it.

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        baseline: `[B,n]` score of the greedy response.
        gamma: discount a token, at least 0 and at most 1; 1 does not discount.
        horizon: which tokens' own rewards count for a token: its own (`one_step`) or all from it on
            (`to_go`).

    Source: Li et al. 2023, "ReMax" (arXiv:2310.10505), algorithm 1; `one_step` as in the authors' code. Deviation:
    there the last token is discounted too.
    """
    trained = mask * counted(scored, valid).unsqueeze(-1)
    nothing = token_reward.new_zeros(token_reward.shape)
    of_score = discounted_sum(rewards(score - baseline, nothing, mask), trained, discount=gamma)
    paid = token_reward.masked_fill(trained == 0, 0.0)
    if horizon == "to_go":
        paid = discounted_sum(paid, trained, discount=gamma)
    return Credit(of_score + paid)
