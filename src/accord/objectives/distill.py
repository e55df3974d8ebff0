"""Knowledge transfer: a policy learns the next-token distributions of a teacher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.terms import Terms

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]
Scale = Literal["none", "hinton"]
Share = Annotated[float, Range(above=0.0, below=1.0)]


def distill(
    teacher: Callable[..., Tensor],
    mask: Tensor,
    *,
    divergence: Divergence = "jsd",
    mix: Share = 0.5,
    temperature: Positive = 1.0,
    scale: Scale = "none",
) -> Terms:
    r"""Knowledge transfer (distillation): the divergence of a teacher's next-token distributions from the policy's.

    .. math::
        \text{forward: } \mathrm{KL}(T\|\pi), \quad \text{reverse: } \mathrm{KL}(\pi\|T), \quad
        \text{jsd: } \lambda\,\mathrm{KL}(T\|M) + (1-\lambda)\,\mathrm{KL}(\pi\|M), \quad M = \lambda T + (1-\lambda)\pi

    per response token, averaged over all of them. Forward KL covers everything the teacher might say, reverse KL
    concentrates on what it says mostly. On the policy's own answers (`--own-answers`) the policy learns to get out of
    its own mistakes, which given answers never show it.

    Args:
        teacher: `[B,n,T]` of whatever measure of two log-softmax tensors `[N,V]`, the policy's and the teacher's, it is
            called with; the gradient goes to the policy only.
        mask: `[B,n,T]` 1 on trained tokens.
        divergence: `forward_kl`, `reverse_kl` or `jsd` (generalised Jensen-Shannon).
        mix: the teacher's share in the mixture of `jsd` (lambda), above 0 and below 1.
        temperature: divides both models' logits, above 0; higher shows more of what the teacher thinks unlikely.
        scale: `hinton` multiplies by the squared temperature, so that gradients at different temperatures compare.

    Returns:
        one term a response token.

    Source: Agarwal et al. 2023, "On-policy distillation of language models" (arXiv:2306.13649), eq. 1-3; Hinton et al.
    2015 (arXiv:1503.02531). TRL's GKD has the same four divergences (its beta is 1 - mix for the policy's share) and no
    square of the temperature.

    >>> policy, source = (torch.tensor([[[p, 1 - p]]]).log() for p in (0.75, 0.5))
    >>> said = lambda measure, temperature: measure(policy, source).unsqueeze(0)
    >>> distill(said, torch.ones(1, 1, 1), divergence="forward_kl").value()
    tensor(0.1438)
    """

    def measure(policy: Tensor, source: Tensor) -> Tensor:
        if divergence == "forward_kl":
            return kl(source, policy)
        if divergence == "reverse_kl":
            return kl(policy, source)
        middle = torch.logaddexp(source + math.log(mix), policy + math.log1p(-mix))
        return mix * kl(source, middle) + (1.0 - mix) * kl(policy, middle)

    loss = teacher(measure, temperature=temperature)
    return Terms(loss * (temperature**2 if scale == "hinton" else 1.0), weight=mask)


def kl(first: Tensor, second: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(p\|q)` in nats of distributions given as log-probabilities, `[N,V] -> [N]`.

    >>> kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
    tensor([0.1438])
    """
    return (first.exp() * (first - second)).sum(-1)
