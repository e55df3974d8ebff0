"""How much memory a training will take, said before the first step, and a way out when there is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil
import torch

from accord.errors import ConfigError
from accord.policy.engine.head import KEEP_BYTES
from accord.policy.logprobs import output_head, vocabulary_size
from accord.policy.policy import Policy

_GIB = 2**30


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by purpose. `weights` are already loaded; the rest is still to come.

    Activations and logits are an estimate for one micro-batch, good to about a factor of two.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    available: int
    tokens: int

    @property
    def to_come(self) -> int:
        """What training will add to what is already in use."""
        return self.gradients + self.optimizer + self.activations + self.logits

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "logits")
        listed = ", ".join(f"{name} {_size(getattr(self, name))}" for name in parts)
        return f"{listed}; {_size(self.available)} free of which {_size(self.to_come)} will be used"


def estimate_memory(policy: Policy, *, tokens: int, checkpointing: bool) -> MemoryEstimate:
    """Estimate from the model's shape.

    Args:
        policy: the loaded model.
        tokens: what the largest micro-batch computes.
        checkpointing: whether activations are recomputed.
    """
    trainable = sum(p.numel() for p in policy.trainable().values())
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    text = policy.model.config.get_text_config()
    layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    inner = int(getattr(text, "intermediate_size", None) or 4 * hidden)
    width = 2 if policy.dtype == "bf16" else 4
    # Kept for the backward pass, per token and layer: the residual stream and norms (about 6 hidden), queries, keys,
    # values and attention output on their way through rotation (6 hidden), and the gated feed-forward (4 inner).
    # Checkpointing keeps one hidden. The layer whose backward pass is running needs room for gradients as well.
    per_layer = width * (12 * hidden + 4 * inner)
    running = width * (4 * hidden + 4 * inner)
    kept = layers * width * hidden + per_layer if checkpointing else layers * per_layer
    activations = tokens * (kept + running)
    logits = min(4 * vocabulary_size(policy.model) * tokens, KEEP_BYTES)
    if policy.device.type == "cuda":
        available = torch.cuda.mem_get_info(policy.device)[0]
    else:
        available = psutil.virtual_memory().available
    gradients = 4 * trainable + _fresh_gradients(policy)
    return MemoryEstimate(weights, gradients, 8 * trainable, activations, logits, available, tokens)


def _fresh_gradients(policy: Policy) -> int:
    """Bytes of a micro-batch's gradients of the largest matrix, before they join those of the micro-batches before it.

    A matrix that is both embedding and head gets one from either end.
    """
    head: Any = output_head(policy.model).weight
    tied = head is policy.model.get_input_embeddings().weight
    return 4 * head.numel() * (2 if tied else 1) if head.requires_grad else 0


def require_memory(estimate: MemoryEstimate, *, lora: bool, checkpointing: bool, longest: int) -> None:
    """Refuse to start when the estimate exceeds what is free, and name the ways out.

    Args:
        estimate: what training will take.
        lora: whether only adapters are trained.
        checkpointing: whether activations are recomputed.
        longest: tokens of the largest single Group, below which no micro-batch can go.

    Raises:
        ConfigError: too little memory; names the switches that save memory.
    """
    if estimate.to_come <= estimate.available:
        return
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
    raise ConfigError(f"this training does not fit into memory: {estimate}", mend=f"Try {', or '.join(ways)}.")


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / 2**20:.0f} MiB"
