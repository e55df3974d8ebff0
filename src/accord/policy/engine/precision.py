"""Whether a machine gains from bf16: measured, because a processor without units for it is many times slower in it."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn.functional import linear

_SIZE, _TIMES = 192, 3


@cache
def bf16_gain(device: torch.device) -> float:
    """How many times faster a matrix product is in bf16 than in float32 on this device; below 1 it is slower.

    Measured once in a process, in a few milliseconds.
    """
    return _seconds(device, torch.float32) / _seconds(device, torch.bfloat16)


def _seconds(device: torch.device, dtype: torch.dtype) -> float:
    """Of the fastest of a few products, after one that warms up."""
    states, weight = (torch.ones(_SIZE, _SIZE, device=device, dtype=dtype) for _ in range(2))
    taken = []
    for _ in range(1 + _TIMES):
        _wait(device)
        started = time.perf_counter()
        linear(states, weight)
        _wait(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
