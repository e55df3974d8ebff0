"""Several processes: every rank sees the whole plan, takes its share of the micro-batches, and sums.

Losses are divided by global weights before the backward pass, so that the only thing to do with gradients is to add
them: here where every rank holds all weights, in the backward pass itself where they are sharded. With one process
every function here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from accord.errors import ConfigError
from accord.objectives.policy_gradient import METHODS
from accord.policy import sharding
from accord.train.config import TrainConfig

Part = TypeVar("Part")

PATIENCE = timedelta(hours=2)
"""How long ranks wait for each other: the first reads and writes a large model for all."""


def start() -> None:
    """Join the process group that torchrun describes in the environment, if it does."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(backend, timeout=PATIENCE)


def rank() -> int:
    """This process's number; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shards(config: TrainConfig) -> bool:
    """Whether the weights are held in shares.

    Raises:
        ConfigError: sharding was asked for where it is not possible.
    """
    if world_size() == 1 or config.shard == "none":
        return False
    obstacle = _not_sharded(config)
    if config.shard == "auto":
        return obstacle is None and torch.cuda.is_available() and config.device != "cpu"
    if obstacle is not None:
        raise ConfigError(f"{obstacle} works on whole weights only", where="--shard full", mend="Give --shard none.")
    return True


def _not_sharded(config: TrainConfig) -> str | None:
    """What in these settings computes with whole weights besides passes through the model."""
    if config.objective == "ilql":
        return "offline reinforcement learning (ilql)"
    method = METHODS.get(config.objective)
    if method is not None and method.step is not None:
        return f"a step within a trust region ({config.objective})"
    return None


def share(parts: Sequence[Part]) -> list[Part]:
    """This rank's share of a list of work."""
    return list(parts[rank() :: world_size()])


def idle(parts: Sequence[Part]) -> list[Part]:
    """What this rank does over again for its `share` to be as long as the longest: nothing, or one part."""
    passes = -(-len(parts) // world_size())
    return list(parts[:1]) * (passes - len(share(parts)))


def sum_tensors(tensors: Iterable[Tensor]) -> None:
    """Add tensors over all ranks, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def gather(value: Any) -> list[Any]:
    """One Python value of every rank, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(value: Part) -> Part:
    """The value of the first rank, whatever this one has."""
    return sharding.from_first(value) if world_size() > 1 else value


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()
