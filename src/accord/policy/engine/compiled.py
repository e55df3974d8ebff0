"""Decoder layers compiled by PyTorch, for the passes of training and scoring.

All layers of a class are one function with other weights, so one compilation serves them all, for rows of any length.
Attention over a shared row is called from it as it is: what is in the row changes with every batch. The sampler decodes
with the layers as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from accord.errors import ConfigError
from accord.policy.sharding import decoder_layers

BACKEND = "inductor"
"""What compiles the graphs; tests name one that does not take as long."""

_VARIANTS = 64
"""Graphs of a function that may be kept: it is compiled anew for passes without gradients, without adapters, over
padded rows, over one row, for inputs that need no gradient, and for short rows. PyTorch's own limit is 8."""


class CompiledLayer:
    """What a layer is an instance of, besides its own class, once it is compiled."""


def compile_layers(model: nn.Module) -> None:
    """Have the decoder layers of a model compiled in the first pass that needs it.

    Names and values of the weights stay. Results differ from those of the layers as they were by rounding.

    Args:
        model: a language model, on its device, and in shares if it is to be.

    Raises:
        ConfigError: there is no compiler.
    """
    _require_compiler(next(model.parameters()).device)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _VARIANTS)
    classes: dict[type, type] = {}
    for layer in decoder_layers(model):
        kind = type(layer)
        if kind not in classes:
            classes[kind] = _compiled_class(kind)
        layer.__class__ = classes[kind]


def is_compiled(model: nn.Module) -> bool:
    """Whether a model's decoder layers are compiled."""
    return any(isinstance(module, CompiledLayer) for module in model.modules())


def _compiled_class(kind: type) -> type:
    """A class of layers that are compiled except for decoding.

    Being a class of its own, it lets transformers put activation checkpointing around the compiled function, as around
    any layer's. Inside of it, a layer would be recomputed by its own code and not by what was compiled.
    """
    as_it_was: Callable[..., Any] = kind.forward  # type: ignore[attr-defined]
    compiled = torch.compile(unwrap(as_it_was), dynamic=True, backend=BACKEND)

    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        decodes = _decodes((*arguments, *named.values()))
        return (as_it_was if decodes else compiled)(self, *arguments, **named)

    return type(kind)(f"Compiled{kind.__name__}", (CompiledLayer, kind), {"forward": forward})


def _decodes(given: tuple[Any, ...]) -> bool:
    """Whether what a layer is given belongs to decoding: a cache, or states `[R,L,H]` of one token a row."""
    states = next(value for value in given if isinstance(value, Tensor))
    return states.shape[1] == 1 or any(isinstance(value, Cache) for value in given)


def _require_compiler(device: torch.device) -> None:
    """Compile something small.

    Raises:
        ConfigError: with what is missing, in a line.
    """
    try:
        torch.compile(_something, backend=BACKEND)(torch.ones(2, device=device))
    except Exception as error:  # each kind of machine lacks something else, and says so by another exception
        cause = getattr(error, "inner_exception", error)
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        reason = next((line for line in lines if " error: " in line), lines[0]).strip()[:200]
        needed = "triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise ConfigError(
            f"PyTorch cannot compile here ({reason})",
            where="--compile",
            mend=f"Install {needed}, or leave the flag out: only time depends on it.",
        ) from error


def _something(values: Tensor) -> Tensor:
    return values.sin() + 1.0
