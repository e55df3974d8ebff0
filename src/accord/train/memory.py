"""How much memory a training will take, said before the first step, and a way out when there is not enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from accord.errors import ConfigError
from accord.policy.engine.head import kept_bytes
from accord.policy.logprobs import output_head, vocabulary_size
from accord.policy.policy import Dtype
from accord.policy.sharding import decoder_layers

_GIB = 2**30

HEAP = 1.6
"""Resident memory as a multiple of what lives, on a CPU: what one pass frees is not all found again by the next.

Measured on models of 8 layers: 1.2 to 1.5 when all activations are kept, 1.6 to 2.5 under LoRA or recomputation, 3.1
under both in float32.
"""

MICRO_BATCH_TOKENS = 4096
"""Tokens that go through a model at once unless somebody says otherwise."""

_FEWEST_TOKENS = 1024
_KEPT_ON_CPU = 256 * 2**20


def chosen_micro_batch(model: nn.Module, *, dtype: Dtype, checkpointing: bool) -> int:
    """Tokens of a micro-batch where none are given.

    A CPU gains little from more than a thousand tokens at once (4 % for the four times as many, on a model of 8 layers
    of width 512), and activations would soon take more memory than weights, gradients and moments together.
    """
    if next(model.parameters()).device.type != "cpu":
        return MICRO_BATCH_TOKENS
    fitting = _KEPT_ON_CPU // _activations(model, dtype, checkpointing)
    return min(MICRO_BATCH_TOKENS, max(_FEWEST_TOKENS, fitting))


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by purpose, in each process. `weights` are already loaded; the rest is still to come.

    Attributes:
        weights: parameters, in shares where they are sharded.
        gradients: of what is trained.
        optimizer: two moments of what is trained.
        gathered: what is whole for a moment where weights are sharded: two layers, the embeddings, the head.
        activations: of one micro-batch, good to about a factor of 1.5.
        logits: tiles that are kept for the backward pass.
        sampling: while answers are sampled, when nothing of a micro-batch is there: keys and values, and where weights
            are sharded all of them once more.
        available: free memory of the device.
        tokens: of the largest micro-batch.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int
    sampling: int
    available: int
    tokens: int

    @property
    def to_come(self) -> int:
        """What training will add to what is already in use."""
        micro_batch = self.gathered + self.activations + self.logits
        return self.gradients + self.optimizer + max(micro_batch, self.sampling)

    def beside(self, other: MemoryEstimate) -> MemoryEstimate:
        """With another network in the same steps that has no output head of its own, such as a critic."""
        parts = ("weights", "gradients", "optimizer", "gathered", "activations")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in parts})

    def listed(self) -> str:
        """Each purpose with its size."""
        parts = ("weights", "gradients", "optimizer", "gathered", "activations", "logits", "sampling")
        return ", ".join(f"{name} {format_bytes(getattr(self, name))}" for name in parts if getattr(self, name))

    def __str__(self) -> str:
        free, used = format_bytes(self.available), format_bytes(self.to_come)
        return f"{self.listed()}; {free} free of which {used} will be used"


def estimate_memory(
    model: nn.Module, *, dtype: Dtype, tokens: int, checkpointing: bool, processes: int = 1, sampled: int = 0
) -> MemoryEstimate:
    """Estimate from the model's shape; it may be on the meta device.

    Args:
        model: with its adapters, if there are any.
        dtype: compute precision.
        tokens: what the largest micro-batch computes.
        checkpointing: whether activations are recomputed.
        processes: over how many the weights are sharded.
        sampled: tokens, of prompts and answers, that are sampled at once in each process; 0 if none are.
    """
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    weights = sum(p.numel() * p.element_size() for p in parameters)
    device = parameters[0].device
    activations, logits = tokens * _activations(model, dtype, checkpointing), 4 * vocabulary_size(model) * tokens
    heap = HEAP if device.type == "cpu" else 1.0
    fresh = _fresh_gradients(model) if device.type != "cpu" and processes == 1 else 0
    return MemoryEstimate(
        weights=weights // processes,
        gradients=4 * trainable // processes + fresh,
        optimizer=8 * trainable // processes,
        gathered=_gathered(model, dtype) if processes > 1 else 0,
        activations=int(heap * activations),
        logits=int(heap * min(logits, kept_bytes(_head_weight(model)))),
        sampling=sampled * _cached(model) + (_all(model, dtype) if sampled and processes > 1 else 0),
        available=_available(device),
        tokens=tokens,
    )


def _activations(model: nn.Module, dtype: Dtype, checkpointing: bool) -> int:
    """Bytes a token: what is kept for the backward pass, and what the layer needs whose backward pass is running."""
    text: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    inner = int(getattr(text, "intermediate_size", None) or 4 * hidden)
    # Counted in a llama layer. In fp32: residual stream, normalised inputs, queries, keys, values and attention output
    # (8.5 hidden), and of the gated feed-forward 2 inner, 3 under adapters. In bf16: residual stream and norms stay in
    # float32 (4 hidden), the others are in the compute precision (6.5 to 9 hidden, 4 inner).
    per_layer = 4 * (8.5 * hidden + 3 * inner) if dtype == "fp32" else 4 * 4 * hidden + 2 * (9 * hidden + 4 * inner)
    running = (4 if dtype == "fp32" else 2) * 4 * (hidden + inner)
    kept = 4 * layers * hidden + per_layer if checkpointing else layers * per_layer
    return int(kept + running)


def _fresh_gradients(model: nn.Module) -> int:
    """Bytes of a micro-batch's gradients of the largest matrix, before they join those of the micro-batches before it.

    A matrix that is both embedding and head gets one from either end. On a CPU they are added where they are kept.
    """
    head = _head_weight(model)
    embeddings: Any = model.get_input_embeddings().weight  # type: ignore[operator]
    return 4 * head.numel() * (2 if head is embeddings else 1) if head.requires_grad else 0


def _head_weight(model: nn.Module) -> Tensor:
    found: Any = output_head(model).weight
    return found  # type: ignore[no-any-return]


def _gathered(model: nn.Module, dtype: Dtype) -> int:
    """Bytes that are whole at a time where weights are sharded, with the gradients of what is trained.

    The layer that computes and the one that is fetched meanwhile, in the compute precision; and all besides layers.
    """
    layers = decoder_layers(model)
    inside = {id(p) for layer in layers for p in layer.parameters()}
    largest = max((_whole(list(layer.parameters()), 4 if dtype == "fp32" else 2) for layer in layers), default=0)
    return 2 * largest + _whole([p for p in model.parameters() if id(p) not in inside], None)


def _all(model: nn.Module, dtype: Dtype) -> int:
    """Bytes of all weights: of the layers in the compute precision, of the rest as they are held."""
    inside = {id(p) for layer in decoder_layers(model) for p in layer.parameters()}
    width = 4 if dtype == "fp32" else 2
    return sum(p.numel() * (width if id(p) in inside else p.element_size()) for p in model.parameters())


def _cached(model: nn.Module) -> int:
    """Bytes a token of keys and values, which are in float32 in either precision."""
    text: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    heads = int(text.num_attention_heads)
    shared = int(getattr(text, "num_key_value_heads", None) or heads)
    size = int(getattr(text, "head_dim", None) or int(text.hidden_size) // heads)
    return 2 * 4 * int(text.num_hidden_layers) * shared * size


def _whole(parameters: list[nn.Parameter], width: int | None) -> int:
    return sum(p.numel() * (width or p.element_size()) * (2 if p.requires_grad else 1) for p in parameters)


def _available(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else int(psutil.virtual_memory().available)


def require_memory(estimate: MemoryEstimate, *, lora: bool, checkpointing: bool, longest: int) -> None:
    """Refuse to start when the estimate exceeds what is free.

    Args:
        estimate: what training will take.
        lora: whether only adapters are trained.
        checkpointing: whether activations are recomputed.
        longest: tokens of the largest single Group, below which no micro-batch can go.

    Raises:
        ConfigError: too little memory; names the switches that save memory.
    """
    if estimate.to_come > estimate.available:
        ways = ways_out(estimate, lora=lora, checkpointing=checkpointing, longest=longest)
        raise ConfigError(f"this training does not fit into memory: {estimate}", mend=f"Try {ways}.")


def ways_out(estimate: MemoryEstimate, *, lora: bool, checkpointing: bool, longest: int) -> str:
    """What would save memory, of what `require_memory` is given."""
    ways = []
    if not lora:
        ways.append("--lora-r 16 (trains small adapters instead of all weights)")
    variable = estimate.activations + estimate.logits
    fitting = estimate.tokens * (estimate.available - estimate.to_come + variable) // variable
    if fitting >= longest:
        ways.append(f"--micro-batch-tokens {fitting} (does not change the result)")
    if not checkpointing:
        ways.append("--gradient-checkpointing (a third more time)")
    ways.append("a smaller model")
    return ", or ".join(ways)


def format_bytes(size: int) -> str:
    """`1.5 GiB`, or `300 MiB`."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / 2**20:.0f} MiB"
