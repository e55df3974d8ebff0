"""The log-prob engine alone: shared prompts beside padded rows, and both beside the machine's floor.

`python -m benchmarks.engine` prints a table, on a GPU with `--device cuda --dtype bf16`, where it also shows shared
prompts without a block mask ("in parts"). A step is the log-probs of a batch and their gradients, without an optimiser;
every figure comes from a process of its own, on a CPU on one thread. Below the table stands how the engine reads rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.device import METERS, Device
from benchmarks.floor import peak_flops_per_second, step_flops
from benchmarks.measurement import Dtype
from benchmarks.workload import ModelSpec, build_model

SMALL = ModelSpec("S32", "llama", hidden=256, layers=6, intermediate=704, heads=4, kv_heads=4, vocabulary=32000)
MEDIUM = ModelSpec("M32", "qwen3", hidden=512, layers=8, intermediate=1408, heads=8, kv_heads=2, vocabulary=32000)
WIDE = dataclasses.replace(MEDIUM, name="M151", vocabulary=151936)
HALF = ModelSpec("0.5B", "qwen3", hidden=896, layers=24, intermediate=4864, heads=14, kv_heads=2, vocabulary=151936)
LARGE = ModelSpec("1.5B", "qwen3", hidden=1536, layers=28, intermediate=8960, heads=12, kv_heads=2, vocabulary=151936)
SHAPES = ((512, 128), (256, 256), (64, 512))

Way = Literal["shared", "parts", "padded"]
WAYS: dict[Device, tuple[Way, ...]] = {"cpu": ("shared", "padded"), "cuda": ("shared", "parts", "padded")}
STEPS: dict[Device, int] = {"cpu": 3, "cuda": 10}  # the first of them warms up and is not counted
MICRO_BATCH_TOKENS: dict[Device, int] = {"cpu": 4096, "cuda": 16384}


class Case(msgspec.Struct, frozen=True):
    """A batch of Groups and how it is laid out.

    Attributes:
        model: directory of the model.
        layout: prompts shared by their responses, the same without a block mask, or a padded row for each response.
        groups: how many.
        responses: of a Group.
        prompt: its tokens.
        response: tokens of each response.
        device: where it is computed.
        dtype: in what precision.
    """

    model: str
    layout: Way
    groups: int
    responses: int
    prompt: int
    response: int
    device: Device
    dtype: Dtype


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a process saw.

    Attributes:
        seconds: of the best step, of the processor on a CPU.
        peak: MiB of memory at the highest above the loaded model and its gradients.
        note: how the engine reads rows.
    """

    seconds: float
    peak: float
    note: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("case", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=get_args(Device), default="cpu", help="where to measure")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="fp32", help="in what precision")
    arguments = parser.parse_args()
    if arguments.case:
        sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(arguments.case, type=Case))))
        return
    _print_table(arguments.device, arguments.dtype)


def _print_table(device: Device, dtype: Dtype) -> None:
    console, peak = Console(width=150), _peak(device, dtype)
    unit = "CPU seconds" if device == "cpu" else "Seconds"
    table = Table(title=f"{unit} of a step in {dtype}; floor at {peak / 1e9:,.0f} GFLOP/s")
    ways = WAYS[device]
    times = (*(f"{way} s" for way in ways), *(f"{way} x floor" for way in ways))
    for name in ("model", "shape", *times, "padded / shared", "net MiB"):
        table.add_column(name, justify="right")
    notes: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        for spec, batches, shapes in _workload(device):
            path = build_model(spec, Path(directory))
            for (prompt, response), (groups, responses) in itertools.product(shapes, batches):
                case = Case(str(path), "shared", groups, responses, prompt, response, device, dtype)
                seen = {way: _in_own_process(msgspec.structs.replace(case, layout=way)) for way in ways}
                row = {"prompt": "w " * prompt} | {f"response {j}": "w " * (response - 1) for j in range(responses)}
                floor = step_flops(spec, [row] * groups) / peak
                table.add_row(spec.name, f"{prompt}:{response} {groups}x{responses}", *_cells(seen, floor))
                notes |= {f"{spec.name}, {way}: {one.note}": None for way, one in seen.items()}
                console.print(table)
    for note in notes:
        console.print(note)


def _workload(device: Device) -> list[tuple[ModelSpec, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]]:
    """Models with batches (Groups, responses of each) and lengths (of prompt, of response)."""
    if device == "cuda":
        return [(spec, ((16, 2), (4, 8)), SHAPES) for spec in (HALF, LARGE)]
    several = ((2, 2), (1, 8))
    return [(SMALL, several, SHAPES), (MEDIUM, several, SHAPES), (WIDE, ((1, 2),), SHAPES[:1])]


def _peak(device: Device, dtype: Dtype) -> float:
    """Floating-point operations a second of the best matrix product."""
    if device == "cpu":
        return peak_flops_per_second(dtype)
    from accord.recipes.footprint import measured_speed

    return measured_speed(dtype)


def _cells(seen: dict[Way, Seen], floor: float) -> list[str]:
    """Times, times over the floor, the ratio of padded to shared rows, and memory."""
    digits = 2 if seen["shared"].seconds > 1 else 4
    return [
        *(f"{one.seconds:.{digits}f}" for one in seen.values()),
        *(f"{one.seconds / floor:.2f}" for one in seen.values()),
        f"{seen['padded'].seconds / seen['shared'].seconds:.2f}",
        " / ".join(f"{one.peak:.0f}" for one in seen.values()),
    ]


def _in_own_process(case: Case) -> Seen:
    command = [sys.executable, "-m", "benchmarks.engine", msgspec.json.encode(case).decode()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Seen)


def run(case: Case) -> Seen:
    """Measure a case in this process."""
    import torch

    from accord.policy.budget import within_budget
    from accord.policy.engine.probe import PADDED
    from accord.policy.load import load_policy
    from accord.policy.logprobs import vocabulary_size

    torch.set_num_threads(1)
    policy = load_policy(case.model, dtype=case.dtype, device=case.device)
    if case.layout == "padded":
        policy.engine = PADDED
    elif case.layout == "parts":
        policy.engine = dataclasses.replace(policy.engine, attention="parts", note=f"{policy.engine.note}, in parts")
    batch = make_batch(case, vocabulary=vocabulary_size(policy.model))
    for parameter in policy.trainable().values():
        parameter.grad = torch.zeros_like(parameter)
    budget = MICRO_BATCH_TOKENS[case.device]

    def step() -> None:
        for part in within_budget(batch, budget, policy.cost, encoded=lambda encoded: encoded):
            summed = policy.logprobs(part).sum(-1)
            mixture = torch.linspace(-1, 1, summed.shape[1], device=summed.device)
            torch.autograd.backward((summed * mixture).sum())

    meter = METERS[case.device]()
    seconds = [meter.seconds(step) for _ in range(STEPS[case.device])]
    return Seen(seconds=min(seconds[1:]), peak=meter.peak(), note=policy.engine.note)


def make_batch(case: Case, *, vocabulary: int) -> list[Any]:
    """Groups of random token ids."""
    import torch

    from accord.record import Encoded, EncodedResponse

    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, vocabulary, (count,), generator=generator).tolist())

    return [
        Encoded(
            ids(case.prompt),
            tuple(EncodedResponse(ids(case.response), (True,) * case.response) for _ in range(case.responses)),
        )
        for _ in range(case.groups)
    ]


if __name__ == "__main__":
    main()
