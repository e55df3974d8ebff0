"""Weighted likelihood: imitate every response, the better ones more."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import EXPONENT_LIMIT, seq_sum
from accord.objectives.terms import Terms


def rwr(
    policy: Tensor,
    mask: Tensor,
    score: Tensor,
    scored: Tensor,
    *,
    temperature: Positive = 1.0,
    weighting: Literal["exponential", "linear"] = "exponential",
) -> Terms:
    r"""Reward-weighted regression: maximum likelihood of all scored responses, weighted by their score.

    .. math::
        \mathcal L = -\frac{\sum_i e^{s_i/\tau}\log\pi(y_i)}{\sum_i e^{s_i/\tau}} \quad\text{(exponential)}, \qquad
        \mathcal L = -\frac1N\sum_i s_i\log\pi(y_i) \quad\text{(linear)}

    over all scored responses of the optimiser step; log-probabilities are summed over the response. The exponential
    form fits the optimum of reward with a KL penalty of strength :math:`\tau`, as far as offline data shows it: a small
    temperature imitates only the best, a large one everything. In the linear form a score of 0 is ignored and a
    negative one pushes likelihood down without bound: use it for scores between 0 and 1. The sums run over prompts
    too, so a prompt whose answers all score high weighs more: `awr` compares within the prompt.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        score: `[B,n]` given score of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where `score` was given.
        temperature: score difference that changes the weight by a factor e, above 0; the linear form divides by it too.
        weighting: `exponential` or `linear` in the score.

    Returns:
        One component, `[B,n]`: negative log-likelihood with the exponential as weight, or score times it, weight 1.

    Source: Peters and Schaal 2007, "Reinforcement learning by reward-weighted regression for operational space
    control"; for language models Peng et al. 2019 (arXiv:1910.00177), without a baseline.

    Deviation: scores above 20 temperatures have the weight of 20, so that it stays finite.

    >>> import torch
    >>> policy, mask = torch.tensor([[[-1.0], [-2.0]]]), torch.ones(1, 2, 1)
    >>> rwr(policy, mask, torch.tensor([[0.8, 0.6]]), torch.ones(1, 2)).value()  # (e^0.8 + 2 e^0.6) / (e^0.8 + e^0.6)
    tensor(1.4502)
    """
    nll = -seq_sum(policy, mask)
    strength = score.to(nll.dtype) / temperature
    if weighting == "linear":
        return Terms(loss=strength * nll, weight=scored)
    return Terms(loss=nll, weight=scored * torch.exp(strength.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT)))


def awr(
    policy: Tensor,
    mask: Tensor,
    score: Tensor,
    scored: Tensor,
    *,
    temperature: Positive = 1.0,
    most: Positive = 20.0,
) -> Terms:
    r"""Advantage-weighted regression: imitate what scored better than the other answers to the same prompt.

    .. math::
        \mathcal L_i = -\min\left(e^{(s_i-\bar s)/\tau},\ w_\text{max}\right)\log\pi(y_i)

    averaged over the scored responses; :math:`\bar s` is the mean score of the prompt's scored responses and
    log-probabilities are summed over the response. It is supervised fine-tuning that leans towards better answers, and
    exactly that for a prompt with one response: such data tells nothing here. It never pushes a response down, so it
    cannot break a policy, and cannot leave what the data shows.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        score: `[B,n]` given score of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where `score` was given.
        temperature: lead in score that multiplies the weight by e, above 0; AWAC's lambda.
        most: the largest weight a response may have, above 0; the paper caps at 20.

    Returns:
        One component, `[B,n]`, weighted 1 where a score is given.

    Source: Peng et al. 2019, "Advantage-weighted regression" (arXiv:1910.00177); as policy update of AWAC,
    Nair et al. 2020 (arXiv:2006.09359).

    Deviation: the advantage is the lead over the prompt's mean score, without a learnt value function.

    >>> import torch
    >>> policy, mask = torch.tensor([[[-1.2], [-0.5]]]), torch.ones(1, 2, 1)
    >>> awr(policy, mask, torch.tensor([[0.8, 0.2]]), torch.ones(1, 2)).loss  # 1.2 * e^0.3, 0.5 * e^-0.3
    tensor([[1.6198, 0.3704]])
    """
    nll = -seq_sum(policy, mask)
    given = score.to(nll.dtype) * scored
    lead = given - given.sum(-1, keepdim=True) / scored.sum(-1, keepdim=True).clamp_min(1.0).to(nll.dtype)
    strength = torch.exp((lead / temperature).clamp_max(EXPONENT_LIMIT)).clamp_max(most)
    return Terms(loss=strength * nll, weight=scored)
