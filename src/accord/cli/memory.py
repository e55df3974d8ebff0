"""`accord memory`: what a training takes, without loading a model."""

from __future__ import annotations

from typing import Literal

from accord.cli.terminal import console
from accord.errors import ConfigError


def memory(
    model: str,
    *,
    dtype: Literal["fp32", "bf16"] = "fp32",
    lora_r: int = 0,
    gradient_checkpointing: bool = False,
    micro_batch_tokens: int = 4096,
    tokens_per_step: int = 16384,
    processes: int = 1,
    rounds: bool = False,
    tflops: float | None = None,
    trust_remote_code: bool = False,
) -> int:
    """What memory and time a training takes, told from the model's configuration: no weights are read.

    Args:
        model: directory with config.json, or a hub id.
        dtype: as in training.
        lora_r: as in training.
        gradient_checkpointing: as in training.
        micro_batch_tokens: as in training, where a CPU takes fewer for large models.
        tokens_per_step: as in training.
        processes: over how many processes, one a device, the weights are sharded.
        rounds: whether training goes in rounds of sampling in these processes.
        tflops: what a device computes in a second of training, in 10^12 operations; default what this one computes in
            products of large matrices, which is an upper bound.
        trust_remote_code: run code that comes with the model.
    """
    from accord.policy.sample import BATCH_TOKENS
    from accord.recipes.footprint import footprint, measured_speed
    from accord.train.memory import format_bytes

    flags = {"processes": processes, "lora-r": lora_r, "micro-batch-tokens": micro_batch_tokens, "tflops": tflops}
    for (flag, value), least in zip(flags.items(), (1, 0, 1, 1e-9), strict=True):
        if value is not None and value < least:
            raise ConfigError(f"{value} is out of range", where=f"--{flag}", mend=f"Give at least {least}.")
    found = footprint(
        model,
        dtype=dtype,
        rank=lora_r,
        checkpointing=gradient_checkpointing,
        tokens=micro_batch_tokens,
        processes=processes,
        sampled=BATCH_TOKENS if rounds else 0,
        trust_remote_code=trust_remote_code,
    )
    speed = measured_speed(dtype) if tflops is None else tflops * 1e12
    step = found.seconds(tokens_per_step, processes=processes, speed=speed)
    whole = format_bytes(found.memory.weights + found.memory.to_come)
    where = "" if processes == 1 else f" in each of {processes} processes"
    source = "measured here" if tflops is None else "as given"
    screen = console()
    screen.print(f"parameters: {found.parameters / 1e9:.3g} billion, {found.trained / 1e9:.3g} billion trained")
    screen.print(f"memory{where}: {whole}: {found.memory.listed()}", soft_wrap=True)
    screen.print(
        f"time: {step:.3g} s for a step of {tokens_per_step} tokens at {speed / 1e12:.3g} TFLOP/s a process ({source})",
        soft_wrap=True,
    )
    return 0
