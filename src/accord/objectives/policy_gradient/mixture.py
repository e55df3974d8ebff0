"""Several policies behind one token: a guide mixed into the policy, or an ensemble that acts as one.

Distributions are log-probabilities over the vocabulary, `[..., V]`; several policies are stacked first, `[N, ..., V]`.
Tokens are sampled from the mixture, so its log-probability is the `behaviour` and every policy learns with its own
ratio to it: any surrogate that names `behaviour` corrects for the others' part.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Mixing = Literal["arithmetic", "geometric"]


def mixture(logprobs: Tensor, weights: Tensor, *, mixing: Mixing = "arithmetic") -> Tensor:
    r"""Log-probabilities of the mixture, `[N,...,V] -> [...,V]`.

    .. math:: \mu = \sum_i w_i p_i \quad\text{or}\quad \mu \propto \prod_i p_i^{w_i}

    The arithmetic mixture says what any of them would; the geometric one what none of them objects to.

    Args:
        logprobs: `[N,...,V]`, one distribution a policy.
        weights: `[N]` shares, at least 0, summing to 1; a guide at :math:`1 - \alpha` is the weights
            :math:`(\alpha, 1 - \alpha)`.
        mixing: `arithmetic` or `geometric`.

    >>> both = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]).log()
    >>> mixture(both, torch.tensor([0.7, 0.3])).exp(), mixture(both, torch.tensor([0.7, 0.3]), mixing="geometric").exp()
    (tensor([0.4800, 0.2700, 0.2500]), tensor([0.4970, 0.3059, 0.1971]))
    """
    share = weights.view(-1, *[1] * (logprobs.ndim - 1))
    if mixing == "arithmetic":
        return torch.logsumexp(logprobs + share.log(), 0)
    # A policy of weight 0 has no say, not even where it rules a token out.
    return (share * logprobs).masked_fill(share == 0, 0.0).sum(0).log_softmax(-1)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(p\Vert q)` of whole distributions, in nats, `[...,V] -> [...]`.

    Of the guide from the policy it is the term of kickstarting: a student that is drawn to a teacher less and less.

    Source: Schmitt et al. 2018, "Kickstarting deep reinforcement learning" (arXiv:1803.03835), eq. 2.
    """
    impossible = first == -torch.inf
    return (first.exp() * (first - second).masked_fill(impossible, 0.0)).sum(-1)


def diversity(logprobs: Tensor) -> Tensor:
    """Mean divergence of the policies from their average (generalised Jensen-Shannon), `[N,...,V] -> [...]`.

    0 where all agree, at most log N.
    """
    count = len(logprobs)
    average = mixture(logprobs, logprobs.new_full((count,), 1.0 / count))
    return divergence(logprobs, average).mean(0)


def mutual_divergence(logprobs: Tensor) -> Tensor:
    r"""How far the others are from each policy, :math:`\frac1{N-1}\sum_{j\ne i}\mathrm{KL}(p_j\Vert p_i)`, `[N,...]`.

    The term of mutual learning; gradients reach policy i and not the others.

    Source: Zhang et al. 2018, "Deep mutual learning" (arXiv:1706.00384), eq. 8.
    """
    others = logprobs.detach().unsqueeze(0)
    each = divergence(others, logprobs.unsqueeze(1))
    return each.sum(1) / max(1, len(logprobs) - 1)
