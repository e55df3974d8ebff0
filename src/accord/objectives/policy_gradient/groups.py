"""Credit from the other responses to the same prompt: leave-one-out, group mean, group mean and deviation.

Each compares the total reward of a response, `R_i` (its score and what its tokens were paid), with those of its group,
and gives all of its tokens the same advantage. A response without a score has advantage 0 and is in no baseline;
where all rewards of a group are the same, or it has but one, the advantage is exactly 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.policy_gradient.credit import Credit, counted, over_tokens, total_reward

Deviation = Literal["unbiased", "population"]


def leave_one_out(score: Tensor, scored: Tensor, valid: Tensor, mask: Tensor, token_reward: Tensor) -> Credit:
    r"""The reward less the mean reward of the *other* responses: unbiased.

    .. math:: A_i = R_i - \frac1{K-1}\sum_{j\ne i} R_j = \frac{K}{K-1}\,(R_i - \bar R)

    Source: Ahmadian et al. 2024, "Back to basics: revisiting REINFORCE style optimization" (arXiv:2402.14740), eq. 8.

    >>> ones = torch.ones(1, 4)
    >>> score = torch.tensor([[1.0, 0.0, 0.5, -0.5]])
    >>> leave_one_out(score, ones, ones, ones.unsqueeze(-1), torch.zeros(1, 4, 1)).advantage.flatten()
    tensor([ 1.0000, -0.3333,  0.3333, -1.0000])
    """
    counts = counted(scored, valid)
    centred = centre(total_reward(score, token_reward, mask), counts)
    size = counts.sum(-1, keepdim=True)
    return Credit(over_tokens(centred * size / (size - 1.0).clamp_min(1.0), counts, mask))


def group_mean(score: Tensor, scored: Tensor, valid: Tensor, mask: Tensor, token_reward: Tensor) -> Credit:
    r"""The reward less the group's mean, :math:`A_i = R_i - \bar R`: leave-one-out times :math:`(K-1)/K`.

    Source: Liu et al. 2025, "Understanding R1-Zero-like training" (arXiv:2503.20783), section 3.2.
    """
    counts = counted(scored, valid)
    return Credit(over_tokens(centre(total_reward(score, token_reward, mask), counts), counts, mask))


def group_standardised(
    score: Tensor,
    scored: Tensor,
    valid: Tensor,
    mask: Tensor,
    token_reward: Tensor,
    *,
    epsilon: NonNegative = 1e-4,
    deviation: Deviation = "unbiased",
) -> Credit:
    r"""The reward less the group's mean, by the group's deviation: biased towards prompts that are nearly decided.

    .. math:: A_i = \frac{R_i - \bar R}{\operatorname{std}(R) + \epsilon}

    Args:
        score: `[B,n]` score of each response.
        scored: `[B,n]` 1 where it has one.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        token_reward: `[B,n,T]` reward paid on tokens.
        epsilon: added to the deviation, at least 0; TRL 1e-4, verl 1e-6, oat 1e-8.
        deviation: `unbiased` divides squares by K - 1, `population` by K.

    Source: Shao et al. 2024, "DeepSeekMath" (arXiv:2402.03300), section 4.1.2.

    >>> ones = torch.ones(1, 4)
    >>> score = torch.tensor([[1.0, 0.0, 0.5, 0.0]])
    >>> group_standardised(score, ones, ones, ones.unsqueeze(-1), torch.zeros(1, 4, 1)).advantage.flatten()
    tensor([ 1.3053, -0.7832,  0.2611, -0.7832])
    """
    counts = counted(scored, valid)
    standard = standardise(total_reward(score, token_reward, mask), counts, epsilon=epsilon, deviation=deviation)
    return Credit(over_tokens(standard, counts, mask))


def centre(values: Tensor, counts: Tensor) -> Tensor:
    """Values less their mean over the last dimension; exactly 0 where all that count are the same."""
    held = values.masked_fill(counts == 0, 0.0)
    mean = held.sum(-1, keepdim=True) / counts.sum(-1, keepdim=True).clamp_min(1.0)
    return (held - mean).masked_fill((counts == 0) | ~differing(values, counts).unsqueeze(-1), 0.0)


def standardise(values: Tensor, counts: Tensor, *, epsilon: float, deviation: Deviation) -> Tensor:
    """Values less their mean, by their standard deviation and `epsilon`, over the last dimension; 0 where all agree."""
    centred = centre(values, counts)
    size = counts.sum(-1, keepdim=True)
    divisor = size - 1.0 if deviation == "unbiased" else size
    spread = (centred.square().sum(-1, keepdim=True) / divisor.clamp_min(1.0)).sqrt() + epsilon
    return centred / spread.masked_fill(spread == 0, 1.0)


def differing(values: Tensor, counts: Tensor) -> Tensor:
    """True for each group in which the values that count are not all the same, `[...,n] -> [...]`.

    >>> differing(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    tensor([False,  True])
    """
    most = values.masked_fill(counts == 0, -torch.inf).amax(-1)
    least = values.masked_fill(counts == 0, torch.inf).amin(-1)
    return most > least


def informative(score: Tensor, scored: Tensor, valid: Tensor) -> Tensor:
    """True for each group that teaches something: at least two scores, not all the same, `[B]`.

    DAPO's dynamic sampling keeps these groups and samples others in place of the rest (arXiv:2503.14476, eq. 11).
    """
    return differing(score, counted(scored, valid))
