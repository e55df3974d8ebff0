"""Does the trainer find the log-probabilities that the sampler wrote down?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from accord.errors import DataError
from accord.objectives.policy_gradient.kl import estimate
from accord.policy.budget import within_budget
from accord.policy.policy import Policy
from accord.record import Group

MICRO_BATCH_TOKENS = 8192
"""Tokens that go through the model at once."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """How far the sampler's log-probabilities are from the trainer's, over all sampled tokens.

    Attributes:
        mean: mean absolute difference, in nats.
        largest: largest absolute difference, in nats.
        k1: estimate of the divergence of the sampler from the trainer in nats a token, mean of log q/p.
        k3: the same by p/q - 1 - log p/q, which is never negative.
        tokens: how many were compared.
    """

    mean: float
    largest: float
    k1: float
    k3: float
    tokens: int


@torch.no_grad()
def sampler_gap(
    policy: Policy, groups: Sequence[Group], *, temperature: float = 1.0, micro_batch_tokens: int = MICRO_BATCH_TOKENS
) -> Gap:
    """Score sampled Groups with the trainer's own call and compare.

    The policy must be the one that sampled, unchanged; then anything beyond float rounding means that training would
    be off its own policy. Responses drawn with `top_p` or `top_k` carry the log-probabilities of a cut distribution,
    which no trainer has: their gap is not rounding.

    Args:
        policy: what sampled and is trained.
        groups: as `rollout` gives them.
        temperature: at which they were sampled; 0 stands for 1, as in sampling.
        micro_batch_tokens: tokens that go through the model at once; memory, not results, depends on it.

    Raises:
        DataError: no response carries log-probabilities.
    """
    differences = []
    cut = within_budget(
        [(group, policy.renderer.encode(group)) for group in groups],
        micro_batch_tokens,
        policy.cost,
        encoded=lambda pair: pair[1],
    )
    for batch in cut:
        trainer = policy.logprobs([encoded for _, encoded in batch], temperature=temperature or 1.0)
        for (group, encoded), rows in zip(batch, trainer, strict=True):
            for response, read, row in zip(group.responses, encoded.responses, rows, strict=False):
                if response.logprobs is not None and response.tokens == read.tokens:
                    trained = torch.tensor(read.trained)
                    sampler = torch.tensor(response.logprobs, dtype=torch.float64)
                    differences.append((sampler - row[: len(sampler)].cpu().double())[trained])
    return _summed(differences)


def _summed(differences: Sequence[Tensor]) -> Gap:
    if not sum(map(len, differences)):
        raise DataError(
            "no response carries the log-probabilities of its tokens", mend="Give responses that `rollout` drew."
        )
    every = torch.cat(list(differences))
    return Gap(
        mean=float(every.abs().mean()),
        largest=float(every.abs().max()),
        k1=float(estimate(every, "k1").mean()),
        k3=float(estimate(every, "k3").mean()),
        tokens=len(every),
    )
