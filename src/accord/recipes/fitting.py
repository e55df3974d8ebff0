"""Settings with which a training fits into a memory, told from the model's configuration without its weights."""

from __future__ import annotations

import re

from accord.errors import ConfigError
from accord.policy.policy import Dtype
from accord.recipes.footprint import unloaded
from accord.train.memory import MICRO_BATCH_TOKENS, MemoryEstimate, estimate_memory

_LADDER: tuple[tuple[tuple[str, ...], Dtype, int, bool], ...] = (
    ((), "fp32", 0, False),
    (("--dtype", "bf16"), "bf16", 0, False),
    (("--dtype", "bf16", "--gradient-checkpointing"), "bf16", 0, True),
    (("--dtype", "bf16", "--lora-r", "16"), "bf16", 16, False),
    (("--dtype", "bf16", "--lora-r", "16", "--gradient-checkpointing"), "bf16", 16, True),
)
"""Flags, and what they mean: precision, rank of adapters, recomputed activations; each step takes less memory."""


def fitting_flags(model: str, memory: int) -> tuple[tuple[str, ...], MemoryEstimate]:
    """The first settings with which training this model fits into so many bytes, and what it takes.

    Raises:
        ConfigError: it does not fit at all; says what it would take.
        ModelError: the model's configuration cannot be loaded.
    """
    for flags, dtype, rank, checkpointing in _LADDER:
        estimate = _estimate(model, dtype, rank, checkpointing)
        if estimate.weights + estimate.to_come <= memory:
            return flags, estimate
    raise ConfigError(
        f"{model} does not fit even with adapters and recomputed activations: {estimate}",
        where="--memory",
        mend="Take a smaller model, or fewer --micro-batch-tokens.",
    )


def parse_memory(text: str) -> int:
    """Bytes of `24GB`, `24GiB` or `24` (GB).

    >>> parse_memory("24GB"), parse_memory("1GiB")
    (24000000000, 1073741824)

    Raises:
        ConfigError: it is none of them.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|GiB|G|MB|MiB)?", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no amount of memory", where="--memory", mend="Write it like 24GB.")
    units = {"GB": 10**9, "G": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}
    return int(float(found[1]) * units[found[2] or "GB"])


def _estimate(model: str, dtype: Dtype, rank: int, checkpointing: bool) -> MemoryEstimate:
    network = unloaded(model, dtype=dtype, rank=rank)
    return estimate_memory(network, dtype=dtype, tokens=MICRO_BATCH_TOKENS, checkpointing=checkpointing)
