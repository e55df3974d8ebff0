"""Metrics of a batch, computed from the tensors that are there and not by each objective."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from accord.objectives.primitives import pairwise, seq_mean, seq_sum, token_log_ratio

Metric = tuple[Tensor, Tensor]
"""Sum and count, detached scalars: add both over micro-batches and ranks, divide once."""


@torch.no_grad()
def monitors(tensors: Mapping[str, Tensor]) -> dict[str, Metric]:
    r"""What to watch in training, from whichever tensors of the vocabulary `tensors` holds.

    Each response has one number that the feedback is about: the output of the reward head if there is one, else its
    log-ratio to the reference summed over tokens (without beta), else its mean token log-probability. From it:

    - `margin`: mean difference of that number over preferred pairs;
    - `accuracy`: share of preferred pairs whose difference is above 0. A tie counts as wrong, so it is 0 while policy
      and reference are the same;
    - `chosen_reward`, `rejected_reward`: its mean over preferred (or desirable) and other responses; only with a reward
      head or a reference.

    And from the tokens:

    - `chosen_logp`, `rejected_logp`: mean summed log-probability. Both falling is likelihood displacement;
    - `log_ratio`: mean summed log-ratio of policy to reference, over all responses;
    - `response_length`: mean number of trained tokens.

    A response preferred in two pairs counts twice, with the weights of the pairs; with labels in place of pairs the
    size of the label is the weight.

    Args:
        tensors: by name, with the shapes of the vocabulary: any of `policy`, `reference`, `mask`, `reward`, `prefer`,
            `label`. `mask` goes with `policy`.

    Returns:
        Sum and count by metric; a metric whose tensors are missing is absent. A count can be 0.

    >>> policy, reference = torch.tensor([[[-1.5], [-2.0]]]), torch.tensor([[[-2.0], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> found = monitors({"policy": policy, "reference": reference, "mask": torch.ones(1, 2, 1), "prefer": prefer})
    >>> found["margin"], found["accuracy"]  # 0.5 + 0.5
    ((tensor(1.), tensor(1.)), (tensor(1.), tensor(1.)))
    """
    found: dict[str, Metric] = {}
    chosen, rejected = _roles(tensors)
    reward = tensors.get("reward")
    strength = reward
    if "policy" in tensors:
        policy, mask = tensors["policy"], tensors["mask"]
        length = mask.sum(-1)
        answered = (length > 0).to(policy.dtype)
        found["response_length"] = _mean(length, answered)
        logp = seq_sum(policy, mask)
        if chosen is not None and rejected is not None:
            found["chosen_logp"], found["rejected_logp"] = _mean(logp, chosen), _mean(logp, rejected)
        if "reference" in tensors:
            ratio = seq_sum(token_log_ratio(policy, tensors["reference"]), mask)
            found["log_ratio"] = _mean(ratio, answered)
            reward = ratio if reward is None else reward
        strength = seq_mean(policy, mask) if reward is None else reward
    if reward is not None and chosen is not None and rejected is not None:
        found["chosen_reward"], found["rejected_reward"] = _mean(reward, chosen), _mean(reward, rejected)
    if strength is not None and "prefer" in tensors:
        difference = pairwise(strength)
        found["margin"] = _mean(difference, tensors["prefer"])
        found["accuracy"] = _mean((difference > 0).to(difference.dtype), tensors["prefer"])
    return found


def _roles(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """How much each response counts as chosen and as rejected, `[B,n]` each."""
    if "prefer" in tensors:
        return tensors["prefer"].sum(-1), tensors["prefer"].sum(-2)
    if "label" in tensors:
        return tensors["label"].clamp_min(0.0), tensors["label"].clamp_max(0.0).neg()
    return None, None


def _mean(values: Tensor, weight: Tensor) -> Metric:
    """Weighted sum and weight; entries of weight 0 add exactly nothing, whatever they hold."""
    return (values * weight).masked_fill(weight == 0, 0.0).sum(), weight.sum()
