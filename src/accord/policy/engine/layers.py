"""Layers that compute what they did with fewer passes over memory, and keep less for the backward pass.

Most of what a transformer does between its matrix products is limited by memory: a norm written out in PyTorch, forward
and backward over 1,532 states of width 512, took 6.7 ms and keeps copies of them; here it took 2.1 ms and keeps none. A
layer is recognised by what it computes: one of the same type, small and random, must give the same values and gradients
by its own forward pass and by the one below.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from accord.policy.engine.products import (
    is_product,
    linear_forward,
    records,
    served,
    times_transposed,
    weight_gradient,
)

Forward = Callable[[Any, Tensor], Tensor]
"""A forward pass as a method: of a module and its states."""

_SIZE, _WIDER = 8, 12
"""Sizes of the layers on which a forward pass is tried."""


def use_lean_layers(model: nn.Module) -> None:
    """Give every layer for which there is one the leaner forward pass, in place.

    A layer whose forward pass somebody else has replaced is left alone, and so are modules that only resemble those
    known here. Names, weights and what a saved model holds do not change.
    """
    found: dict[tuple[Any, ...], Forward | None] = {}
    for module in model.modules():
        if "forward" in vars(module):
            continue
        same = (type(module), *_settings(module))
        if same not in found:
            found[same] = linear_forward if type(module) is nn.Linear else _leaner(module)
        forward = found[same]
        if forward is not None:
            vars(module)["forward"] = MethodType(forward, module)


def is_own(module: nn.Module) -> bool:
    """Whether a module computes by its class's forward pass, or by one from here."""
    forward = vars(module).get("forward")
    return forward is None or getattr(forward, "__func__", None) in _ALL


def rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    r""":math:`w \cdot x / \sqrt{\operatorname{mean}(x^2) + \epsilon}` over the last dimension, in float32.

    Zhang and Sennrich 2019.
    """
    if not records(states, weight):
        return _normed(states, weight, epsilon)[0]
    normed: Tensor = _RMSNorm.apply(states, weight, epsilon)  # type: ignore[no-untyped-call]
    return normed


def gated(gate: Tensor, up: Tensor) -> Tensor:
    r""":math:`\operatorname{silu}(g) \cdot u`, the middle of a SwiGLU layer (Shazeer 2020)."""
    if not records(gate, up):
        return silu(gate).mul_(up)
    product: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    return product


def _normed(states: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The norm, and the inverse of what it divides by, `[...,1]`."""
    norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    inverse = norm.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
    normed: Tensor = states * inverse
    return normed.mul_(weight), inverse


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed, inverse = _normed(states, weight, epsilon)
        ctx.save_for_backward(states, weight, inverse)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, inverse = ctx.saved_tensors
        gradient, size = gradients[0], states.shape[-1]
        normed = states * inverse
        of_weight = (gradient * normed).reshape(-1, size)
        # d x = (w g - n mean(w g n)) / rms with n = x / rms
        mean = (of_weight @ weight).div_(size).view(inverse.shape)
        of_states = (gradient * weight).addcmul_(normed, mean, value=-1.0).mul_(inverse)
        return of_states, of_weight.sum(0) if ctx.needs_input_grad[1] else None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return of_gate, silu(gate).mul_(gradients[0])


class _GatedLayer(torch.autograd.Function):
    """All of a SwiGLU layer; the input of its last matrix is made again instead of kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, gate_weight: Tensor, up_weight: Tensor, down_weight: Tensor) -> Tensor:
        gate, up = times_transposed(states, gate_weight), times_transposed(states, up_weight)
        ctx.save_for_backward(states, gate, up, gate_weight, up_weight, down_weight)
        return times_transposed(silu(gate).mul_(up), down_weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, gate, up, gate_weight, up_weight, down_weight = ctx.saved_tensors
        needs_states, needs_gate, needs_up, needs_down = ctx.needs_input_grad
        opened = silu(gate)
        to_down = weight_gradient(down_weight, gradients[0], opened * up) if needs_down else None
        of_middle = times_transposed(gradients[0], down_weight.t())
        of_gate, of_up = torch.ops.aten.silu_backward(of_middle * up, gate), opened.mul_(of_middle)
        to_gate = weight_gradient(gate_weight, of_gate, states) if needs_gate else None
        to_up = weight_gradient(up_weight, of_up, states) if needs_up else None
        to_states = None
        if needs_states:
            to_states = times_transposed(of_gate, gate_weight.t()).add_(times_transposed(of_up, up_weight.t()))
        return to_states, to_gate, to_up, to_down


def _norm_forward(layer: Any, states: Tensor) -> Tensor:
    if not states.dtype == layer.weight.dtype == torch.float32:
        return _own(layer, states)
    return rms_norm(states, layer.weight, _epsilon(layer))


def _norm_about_one_forward(layer: Any, states: Tensor) -> Tensor:
    if not states.dtype == layer.weight.dtype == torch.float32:
        return _own(layer, states)
    return rms_norm(states, 1.0 + layer.weight, _epsilon(layer))


def _gated_forward(layer: Any, states: Tensor) -> Tensor:
    parts = (layer.gate_proj, layer.up_proj, layer.down_proj)
    weights = [part.weight for part in parts if is_product(part) and served(states, part.weight)]
    if len(weights) == len(parts) and records(states, *weights):
        return _GatedLayer.apply(states, *weights)  # type: ignore[no-untyped-call, no-any-return]
    found: Tensor = layer.down_proj(gated(layer.gate_proj(states), layer.up_proj(states)))
    return found


def _own(layer: nn.Module, states: Tensor) -> Tensor:
    """By the forward pass of its class."""
    found: Tensor = type(layer).forward(layer, states)
    return found


def _epsilon(layer: Any) -> float:
    """A norm's epsilon, by either of its names."""
    found: float = layer.variance_epsilon if hasattr(layer, "variance_epsilon") else layer.eps
    return found


_NORMS: tuple[Forward, ...] = (_norm_forward, _norm_about_one_forward)
_ALL = frozenset((*_NORMS, _gated_forward, linear_forward))


def _leaner(layer: nn.Module) -> Forward | None:
    """The forward pass from here that computes what a layer does, tried if what it holds has the names that fit."""
    held = {name for name, _ in layer.named_parameters(recurse=False)} | set(layer._modules)
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        torch.manual_seed(0)
        if held == {"weight"} and (hasattr(layer, "variance_epsilon") or hasattr(layer, "eps")):
            twin, tried = _twin(layer, parameters={"weight": nn.Parameter(torch.randn(_SIZE))}), _NORMS
        elif {"gate_proj", "up_proj", "down_proj"} <= held:
            sizes = {"gate_proj": (_SIZE, _WIDER), "up_proj": (_SIZE, _WIDER), "down_proj": (_WIDER, _SIZE)}
            twin = _twin(layer, modules={name: nn.Linear(*size) for name, size in sizes.items()})
            tried = (_gated_forward,)
        else:
            return None
        if len(inspect.signature(type(layer).forward).parameters) != 2:  # it takes more than its states
            return None
        return next((forward for forward in tried if _agree(twin, forward)), None)


def _settings(module: nn.Module) -> tuple[Any, ...]:
    """All that is set on a module besides its weights, as far as it can be compared."""
    simple = {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}
    return (*sorted(simple.items()), *((name, type(part)) for name, part in module._modules.items()))


def _twin(
    layer: nn.Module, *, parameters: dict[str, nn.Parameter] | None = None, modules: dict[str, nn.Module] | None = None
) -> nn.Module:
    """A shallow copy with other parameters or modules."""
    twin = copy.copy(layer)
    twin._parameters = {**layer._parameters, **(parameters or {})}
    twin._modules = {**layer._modules, **(modules or {})}
    return twin


def _agree(twin: nn.Module, forward: Forward) -> bool:
    """Whether a layer's own forward pass and another give the same values and gradients on random states."""
    states = torch.randn(3, _SIZE, requires_grad=True)
    upstream = torch.randn(3, _SIZE)
    results = []
    try:
        for run in (twin, MethodType(forward, twin)):
            outcome = run(states)
            results.append((outcome, *torch.autograd.grad(outcome, (states, *twin.parameters()), upstream)))
    except Exception:  # whatever a module raises that only looks like one of these: it is none of them
        return False
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(*results, strict=True))
