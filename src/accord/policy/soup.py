"""Weight soups: one model whose weights are a weighted mean of models that were fine-tuned from one start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from accord.errors import ModelError
from accord.policy.blend import require_same_vocabulary
from accord.policy.policy import Policy

LEAST_LIKENESS = 0.5
"""Cosine of two models' matrices below which they cannot have a common start: that of unrelated ones is about 0."""


def interpolate(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    r"""The weighted mean of weights by name, :math:`\sum_i w_i\theta_i`, in the first's precision.

    Shares may be negative or sum to something else than 1: extrapolation and task arithmetic are soups too.

    Source: Rame et al. 2023, "Rewarded soups" (arXiv:2306.04488), eq. 2.

    >>> interpolate([{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}], [0.25, 0.75])
    {'w': tensor([0.2500, 1.5000])}
    """
    return {
        name: sum((share * each[name].double() for share, each in zip(shares, weights, strict=True)), start=0.0 * first)
        .to(first.dtype)
        .detach()
        for name, first in weights[0].items()
    }


def likeness(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Cosine of all matrices of two models together; gains and biases say little, they start alike everywhere."""
    products = torch.zeros(3, dtype=torch.float64)
    for name, own in first.items():
        if own.ndim >= 2:
            a, b = own.detach().flatten().double().cpu(), second[name].detach().flatten().double().cpu()
            products += torch.stack([a @ b, a @ a, b @ b])
    return float(products[0] / (products[1] * products[2]).sqrt().clamp_min(1e-300))


def cook(policies: Sequence[Policy], shares: Sequence[float]) -> Policy:
    """Give the first policy the weighted mean of all, and return it.

    Raises:
        ModelError: the models have other shapes, another vocabulary, or weights so unlike that they have no common
            start: between those, means of weights are no models.
    """
    first, *others = policies
    mend = "Interpolate models that were fine-tuned from one model."
    for other in others:
        require_same_vocabulary(first, other, mend=mend)
        own, theirs = first.trainable(), other.trainable()
        if {name: p.shape for name, p in own.items()} != {name: p.shape for name, p in theirs.items()}:
            raise ModelError(
                f"its weights have other shapes than those of {first.source}", where=other.source, mend=mend
            )
        found = likeness(own, theirs)
        if found < LEAST_LIKENESS:
            what = f"its weights have nothing in common with those of {first.source} (cosine {found:.2f})"
            raise ModelError(what, where=other.source, mend=mend)
    mixed = interpolate([policy.trainable() for policy in policies], shares)
    with torch.no_grad():
        for name, parameter in first.trainable().items():
            parameter.copy_(mixed[name])
    return first
