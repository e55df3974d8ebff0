"""Matrix products with weights in float32 on a CPU, by oneDNN instead of the library PyTorch calls.

On processors that PyTorch's library (MKL) was not made for, oneDNN's kernels use wider instructions: on an AMD EPYC of
the fourth generation they were 5 to 15 % faster on the shapes of a transformer. The sums are the same but for the order
of their terms. Everything else (other devices, other precisions, autocast) goes PyTorch's own way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from accord.policy.engine.gradients import kept_gradient
from accord.policy.engine.operators import onednn_linear

SMALLEST = 2**14
"""Elements of a weight below which calling another library costs more than it gains."""

WIDE = 1024
"""Inputs of a weight from which on its gradient is faster by oneDNN, which has to turn a factor first.

Of a weight `[512,1408]` from 768 states 89 instead of 82 GFLOP/s, of `[1408,512]` 72 instead of 86.
"""


def times_transposed(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`states @ weight.T + bias` where no gradient is needed: `[...,K]` and `[N,K]` to `[...,N]`."""
    if not served(states, weight):
        return linear(states, weight, bias)
    product: Tensor = onednn_linear(states, weight, bias, "none", [], "")
    return product


def product(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `torch.nn.functional.linear` gives, with gradients."""
    if not served(states, weight):
        return linear(states, weight, bias)
    if not records(states, weight, bias):
        return times_transposed(states, weight, bias)
    found: Tensor = _Product.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return found


def outer(upstream: Tensor, states: Tensor) -> Tensor:
    """`upstream.T @ states`: of `[T,N]` and `[T,K]`, `[N,K]`, the gradient of a weight `[N,K]`."""
    if _is_wide(upstream, states):
        return times_transposed(upstream.t().contiguous(), states.t())
    return upstream.t() @ states


def add_outer(total: Tensor, upstream: Tensor, states: Tensor, *, overwrite: bool) -> None:
    """`total += upstream.T @ states`, in the precision of the factors; or written over what memory held."""
    if total.dtype == upstream.dtype and not _is_wide(upstream, states):
        total.addmm_(upstream.t(), states, beta=0 if overwrite else 1)
    elif overwrite:
        total.copy_(outer(upstream, states))
    else:
        total += outer(upstream, states)


def weight_gradient(weight: Tensor, upstream: Tensor, states: Tensor) -> Tensor | None:
    """The gradient of a weight `[N,K]`, or `None` if it was added to where it is kept.

    Args:
        weight: what the states were multiplied with.
        upstream: gradient of the products, `[...,N]`.
        states: `[...,K]`.
    """
    upstream, states = as_rows(upstream), as_rows(states)
    kept = kept_gradient(weight)
    if kept is None:
        return outer(upstream, states)
    add_outer(kept.total, upstream, states, overwrite=kept.fresh)
    return None


def linear_forward(layer: nn.Linear, states: Tensor) -> Tensor:
    """A linear layer's forward pass."""
    return product(states, layer.weight, layer.bias)


def as_rows(states: Tensor) -> Tensor:
    """All but the last dimension as one."""
    return states.reshape(-1, states.shape[-1])


def records(*tensors: Tensor | None) -> bool:
    """Whether what is made of these has gradients; a function of our own costs decoding more than its work."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def is_product(layer: nn.Module) -> bool:
    """Whether calling a layer is nothing but a product with its weight."""
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return type(layer) is nn.Linear and getattr(layer, "bias", None) is None and not hooks


def served(states: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies these."""
    return (
        onednn_linear is not None
        and states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and weight.numel() >= SMALLEST
        and states.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _is_wide(upstream: Tensor, states: Tensor) -> bool:
    """Whether the gradient of a weight is faster by oneDNN."""
    return states.shape[-1] >= WIDE and served(upstream, states)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # A frozen weight asks for no states.
        ctx.save_for_backward(states if ctx.needs_input_grad[1] else None, weight)
        return times_transposed(states, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        gradient = gradients[0]
        to_states = times_transposed(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        to_weight = None if states is None else weight_gradient(weight, gradient, states)
        return to_states, to_weight, as_rows(gradient).sum(0) if ctx.needs_input_grad[2] else None
