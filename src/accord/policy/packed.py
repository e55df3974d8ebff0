"""Linear layers with their weights in the order in which a processor's kernels read them, while nothing trains.

A product of a few rows with a weight is most of the work of decoding on a CPU, and most of that product's time goes
into reordering the weight. oneDNN keeps the reordered copy; PyTorch's compiler uses the same two operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from accord.policy.engine.layers import is_own
from accord.policy.engine.operators import onednn_linear, onednn_operator
from accord.policy.engine.products import linear_forward

PACKED_BYTES = 4 * 2**30
"""Largest total of the copies; a model beyond it is used as it is."""

SMALLEST = 2**16
"""Elements of a weight from which on the kernel is faster than PyTorch's own."""

_ROWS = 16
"""The batch that weights are reordered for: as good for fewer rows, and hardly worse for many."""

_reorder = onednn_operator("_reorder_linear_weight", ("self", "batch_size"))

AVAILABLE = _reorder is not None and onednn_linear is not None
"""Whether this PyTorch has the operators as they are used here."""


class _Packed:
    """The forward pass of a linear layer over its reordered weight."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self._weight = _reorder(layer.weight, _ROWS)

    def __call__(self, states: Tensor) -> Tensor:
        if torch.is_grad_enabled() or states.dtype != torch.float32:  # another thread trains with the model
            return linear_forward(self._layer, states)
        product: Tensor = onednn_linear(states, self._weight, self._layer.bias, "none", [], "")
        return product


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Let the float32 linear layers of a model on a CPU use reordered copies of their weights inside the block.

    The weights may not change inside it. Nothing happens on other devices, under autocast, and where the copies would
    take more than `PACKED_BYTES`.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and _gains(layer)]
    size = 4 * sum(layer.weight.numel() for layer in layers)
    if not AVAILABLE or torch.is_autocast_enabled("cpu") or size > PACKED_BYTES:
        layers = []
    before = [vars(layer).get("forward") for layer in layers]
    try:
        for layer in layers:
            vars(layer)["forward"] = _Packed(layer)
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            vars(layer).pop("forward", None)
            if forward is not None:
                vars(layer)["forward"] = forward


def _gains(layer: nn.Linear) -> bool:
    """Whether a layer is worth packing; one whose forward pass was replaced, or whose weight is sharded, is not."""
    weight = layer.weight
    plain = type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32
    return plain and weight.numel() >= SMALLEST and is_own(layer)
