"""What to watch of the policy's loss: how far it is from the behaviour, and how much of it is clipped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from accord.objectives.monitors import Metric
from accord.objectives.policy_gradient.surrogates import Surrogate
from accord.objectives.primitives import bounded_expm1, token_log_ratio


@torch.no_grad()
def watched(tensors: Mapping[str, Tensor], surrogate: Surrogate) -> dict[str, Metric]:
    r"""Unreduced (value, weight) pairs, from the tensors that the loss names.

    - `clip_low`, `clip_high`: share of tokens whose gradient a bound stops, or whose weight it holds;
    - `ratio_mean`: mean ratio of policy to behaviour; `ratio_max`: the largest in a response, averaged over responses;
    - `policy_kl`, `policy_kl_k3`: divergence of the behaviour from the policy a token, by k1
      (:math:`\log\mu - \log\pi`) and by k3, which is never negative;
    - `entropy`: nats a token, where the loss has an entropy bonus; `surprisal`: :math:`-\log\pi` of the sampled tokens,
      its estimate from them.
    """
    mask = tensors["mask"]
    policy = tensors["policy"].masked_fill(mask == 0, 0.0)
    found: dict[str, Metric] = {"surprisal": (-policy, mask)}
    if "entropy" in tensors:
        found["entropy"] = (tensors["entropy"].detach().masked_fill(mask == 0, 0.0), mask)
    if surrogate.ratio is not None:
        found["ratio_mean"] = (surrogate.ratio, mask)
        found["ratio_max"] = (surrogate.ratio.masked_fill(mask == 0, 0.0).amax(-1), mask.amax(-1))
    if surrogate.clipped_low is not None and surrogate.clipped_high is not None:
        found["clip_low"] = (surrogate.clipped_low, mask)
        found["clip_high"] = (surrogate.clipped_high, mask)
    if "behaviour" in tensors:
        difference = token_log_ratio(tensors["policy"], tensors["behaviour"]).masked_fill(mask == 0, 0.0)
        found["policy_kl"] = (-difference, mask)
        found["policy_kl_k3"] = (bounded_expm1(difference) - difference, mask)
    return found
