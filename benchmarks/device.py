"""Seconds and memory of steps: of a processor's thread, and of a GPU, where work goes on after the call returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import torch

from benchmarks.measurement import memory_status

Device = Literal["cpu", "cuda"]


class Meter(Protocol):
    """Measures this process from the moment it is made."""

    def seconds(self, step: Callable[[], None]) -> float:
        """How long a step takes."""

    def peak(self) -> float:
        """MiB of memory at the highest, above what was taken at the beginning."""


class CpuMeter:
    """Processor seconds, so that waiting does not count, and resident memory."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of memory starts here
        self._resident = memory_status("VmRSS")

    def seconds(self, step: Callable[[], None]) -> float:
        started = time.process_time()
        step()
        return time.process_time() - started

    def peak(self) -> float:
        return memory_status("VmHWM") - self._resident


class CudaMeter:
    """Seconds between two events on the device, and memory that tensors had of it."""

    def __init__(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self._allocated = torch.cuda.memory_allocated()

    def seconds(self, step: Callable[[], None]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000

    def peak(self) -> float:
        return (torch.cuda.max_memory_allocated() - self._allocated) / 2**20


METERS: dict[Device, Callable[[], Meter]] = {"cpu": CpuMeter, "cuda": CudaMeter}
