"""What a training takes in memory and time, told from a model's configuration without its weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from accord.policy.load import empty_network, with_adapters
from accord.policy.policy import Dtype
from accord.train.memory import MemoryEstimate, estimate_memory

_PROBE_SECONDS = 0.3
_PROBE_SIDE = 1024


@dataclass(frozen=True)
class Footprint:
    """What a training takes.

    Attributes:
        parameters: of the model, adapters included.
        trained: how many of them change.
        memory: in each process.
        operations: floating-point operations a token that goes through the model, in all processes together.
    """

    parameters: int
    trained: int
    memory: MemoryEstimate
    operations: int

    def seconds(self, tokens: int, *, processes: int, speed: float) -> float:
        """Time of an optimiser step of so many tokens, when each process computes at `speed` operations a second."""
        return tokens * self.operations / (processes * speed)


def footprint(
    model: str,
    *,
    dtype: Dtype,
    rank: int,
    checkpointing: bool,
    tokens: int,
    processes: int,
    sampled: int = 0,
    trust_remote_code: bool = False,
) -> Footprint:
    r"""Estimate from the model's shape.

    A token costs :math:`2P` operations forward and :math:`4P` backward, of which frozen weights save :math:`2P` and
    recomputation costs :math:`2P` more; :math:`P` counts the weights that multiply (all but an embedding that is not
    also the head). Attention between tokens is left out.

    Args:
        model: directory with a configuration, or a hub id; no weights are read.
        dtype: compute precision.
        rank: of LoRA adapters; 0 trains all weights.
        checkpointing: whether activations are recomputed.
        tokens: of the largest micro-batch.
        processes: over how many the weights are sharded.
        sampled: tokens that are sampled at once in each process; 0 if none are.
        trust_remote_code: run code that comes with the model.

    Raises:
        ModelError: the model's configuration cannot be loaded.
    """
    network = unloaded(model, dtype=dtype, rank=rank, trust_remote_code=trust_remote_code)
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    trained = sum(size for size, changes in sizes if changes)
    total = sum(size for size, _ in sizes)
    embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
    multiply = total - (0 if embeddings.weight is head.weight else embeddings.weight.numel())
    passes = 2 + 2 + (2 if rank == 0 else 0) + (2 if checkpointing else 0)
    memory = estimate_memory(
        network, dtype=dtype, tokens=tokens, checkpointing=checkpointing, processes=processes, sampled=sampled
    )
    return Footprint(total, trained, memory, passes * multiply)


def unloaded(model: str, *, dtype: Dtype, rank: int, trust_remote_code: bool = False) -> Any:
    """A model as it would be trained, with adapters if their rank is not 0, on the meta device.

    Raises:
        ModelError: its configuration cannot be loaded.
    """
    weights = torch.bfloat16 if dtype == "bf16" and rank else torch.float32
    network = empty_network(model, weights, trust_remote_code)
    return with_adapters(network, rank, None, 0.0) if rank else network


def measured_speed(dtype: Dtype) -> float:
    """Floating-point operations a second of this process's device, in products of large matrices."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 8 * _PROBE_SIDE if device == "cuda" else _PROBE_SIDE
    matrix = torch.ones(side, side, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32, device=device)
    count, begun = 0, 0.0
    while count < 2 or time.perf_counter() - begun < _PROBE_SECONDS:
        if count == 1:  # the first product also starts the device
            begun = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        count += 1
    return 2.0 * side**3 * (count - 1) / (time.perf_counter() - begun)
