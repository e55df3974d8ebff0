"""Data parallelism by hand: every rank sees the whole plan, takes its share of the micro-batches, and sums.

Losses are divided by global weights before the backward pass, so that the only thing to do with gradients is to add
them. With one process every function here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Part = TypeVar("Part")


def start() -> None:
    """Join the process group that torchrun describes in the environment, if it does."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(backend)


def rank() -> int:
    """This process's number; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(parts: Sequence[Part]) -> list[Part]:
    """This rank's share of a list of work."""
    return list(parts[rank() :: world_size()])


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


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()
