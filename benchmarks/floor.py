"""The least time a step can take on this machine's matrix products: the opponent that no library beats.

Each distinct token goes once forward and twice backward through the layers (a prompt is shared by its responses), and
each trained token through the output head in three matrix products. The reference comes from a cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch

from accord.policy.engine.products import times_transposed
from benchmarks.workload import ModelSpec, Row, row_lengths


def step_flops(spec: ModelSpec, rows: Iterable[Row]) -> float:
    """Floating-point operations of one optimiser step over `rows`."""
    return 3 * forward_flops(spec, map(row_lengths, rows))


def forward_flops(spec: ModelSpec, lengths: Iterable[tuple[int, Sequence[float]]]) -> float:
    """Floating-point operations of one pass over prompts with their responses, given the tokens of each."""
    head_size = spec.hidden // spec.heads
    matrices = 2 * spec.hidden**2 + 2 * spec.hidden * spec.kv_heads * head_size + 3 * spec.hidden * spec.intermediate
    lengths = list(lengths)
    forward = attention_flops(spec, lengths)
    for prompt, responses in lengths:
        tokens = prompt + sum(length - 1 for length in responses)
        forward += 2 * matrices * spec.layers * tokens + 2 * spec.hidden * spec.vocabulary * sum(responses)
    return forward


def attention_flops(spec: ModelSpec, lengths: Iterable[tuple[int, Sequence[float]]]) -> float:
    """Those of `forward_flops` that are attention between tokens."""
    attended = sum(
        prompt**2 / 2 + sum(prompt * length + length**2 / 2 for length in responses) for prompt, responses in lengths
    )
    return 4 * spec.hidden * spec.layers * attended


def peak_flops_per_second(dtype: str = "fp32", size: int = 1024, seconds: float = 1.0) -> float:
    """The best rate of a matrix product on one thread: by PyTorch's own library or by oneDNN, whichever is faster."""
    torch.set_num_threads(1)
    left, right = torch.randn(2, size, size, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for multiply in (torch.mm, times_transposed):
            started = time.process_time()
            multiply(left, right)
            best = min(best, time.process_time() - started)
    return 2 * size**3 / best
