"""What answers of an earlier policy weigh in a step of today's: importance weights, truncated for less noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.objectives.monitors import Metric
from accord.objectives.policy_gradient.credit import mean_of
from accord.objectives.policy_gradient.kl import estimate
from accord.objectives.primitives import bounded_expm1, seq_sum, token_log_ratio

OffPolicy = Literal["token", "response"]
"""What is weighed by itself: each token by its own ratio, or a response by that of all its tokens."""


@dataclass(frozen=True)
class Weights:
    """Importance weights, and what to watch of them.

    Attributes:
        weight: `[B,n,T]` at least 0 and at most the cap; 1 where mask is 0. Without gradient.
        metrics: their mean, the share of tokens whose weight was truncated, and the divergence between the policies.
    """

    weight: Tensor
    metrics: Mapping[str, Metric]


def truncated_weights(current: Tensor, behaviour: Tensor, mask: Tensor, *, cap: float, of: OffPolicy) -> Weights:
    r"""Truncated importance weights of responses that another policy sampled.

    .. math::
        w_t = \min\left(\frac{\pi(y_t)}{\mu(y_t)},\ c\right) \qquad\text{or}\qquad
        w_i = \min\left(\prod_t\frac{\pi(y_{i,t})}{\mu(y_{i,t})},\ c\right)

    with :math:`\pi` the policy where an update begins and :math:`\mu` the one that sampled. Advantages are multiplied
    by them, and every ratio of the update is taken to :math:`\pi`: all surrogates are linear in the advantage, so that
    the gradient is weighted by w. With the weight of the whole response and no cap, the gradient of REINFORCE is that
    of fresh responses in expectation. With weights of tokens it is so for responses of one token; for longer ones it
    leaves out how likely the policy would have come to each token, and how it would have gone on: far less noise for
    some bias.

    Args:
        current: `[B,n,T]` log-probability of each token under the policy before the update.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        mask: `[B,n,T]` 1 on trained tokens.
        cap: the largest weight (c), above 0.
        of: `token` or `response`.

    Source: Espeholt et al. 2018, "IMPALA" (arXiv:1802.01561), section 4.1, the truncated weight rho; with a proximal
    policy between the two, Hilton et al. 2021, "Batch size-invariance for policy optimization" (arXiv:2110.00641).

    >>> current, behaviour = torch.tensor([[[0.5, 0.9]]]).log(), torch.tensor([[[0.25, 0.3]]]).log()
    >>> truncated_weights(current, behaviour, torch.ones(1, 1, 2), cap=2.5, of="token").weight
    tensor([[[2.0000, 2.5000]]])
    """
    gone = token_log_ratio(current, behaviour).masked_fill(mask == 0, 0.0).detach()
    ratio = _RATIOS[of](gone, mask)
    weight = ratio.clamp_max(cap)
    beyond = (ratio > cap).to(ratio.dtype)
    return Weights(
        weight,
        {
            "off_policy/weight": mean_of(weight, mask),
            "off_policy/truncated": mean_of(beyond, mask),
            "off_policy/kl": mean_of(estimate(-gone, "k3"), mask),
        },
    )


def _of_tokens(gone: Tensor, mask: Tensor) -> Tensor:
    return 1.0 + bounded_expm1(gone)


def _of_responses(gone: Tensor, mask: Tensor) -> Tensor:
    """The ratio of each response, on all of its tokens."""
    whole = 1.0 + bounded_expm1(seq_sum(gone, mask))
    return torch.where(mask == 0, torch.ones_like(gone), whole.unsqueeze(-1))


_RATIOS: Mapping[OffPolicy, Callable[[Tensor, Tensor], Tensor]] = {"token": _of_tokens, "response": _of_responses}
