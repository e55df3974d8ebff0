"""The log-prob engine alone: shared prompts beside padded rows, and both beside the machine's floor.

`python -m benchmarks.engine` prints a table. A step is the log-probs of a batch and their gradients, without an
optimiser; every figure comes from a process of its own on one thread.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.floor import peak_flops_per_second, step_flops
from benchmarks.workload import ModelSpec, build_model

SMALL = ModelSpec("S32", "llama", hidden=256, layers=6, intermediate=704, heads=4, kv_heads=4, vocabulary=32000)
MEDIUM = ModelSpec("M32", "qwen3", hidden=512, layers=8, intermediate=1408, heads=8, kv_heads=2, vocabulary=32000)
WIDE = dataclasses.replace(MEDIUM, name="M151", vocabulary=151936)
SHAPES = ((512, 128), (256, 256), (64, 512))
STEPS = 3  # the first of them warms up and is not counted
MICRO_BATCH_TOKENS = 4096


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of Groups and how it is laid out.

    Attributes:
        model: directory of the model.
        layout: prompts shared by their responses, or a padded row for each response.
        groups: how many.
        responses: of a Group.
        prompt: its tokens.
        response: tokens of each response.
    """

    model: str
    layout: Literal["shared", "padded"]
    groups: int
    responses: int
    prompt: int
    response: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Processor seconds of the best step, and MiB of memory at the highest above the loaded model and its gradients."""

    seconds: float
    peak: float


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Case))))
        return
    console, peak = Console(width=140), peak_flops_per_second()
    table = Table(title=f"CPU seconds of a step; floor at {peak / 1e9:.0f} GFLOP/s")
    for name in ("model", "shape", "shared s", "padded s", "ratio", "shared x floor", "padded x floor", "net MiB"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        for spec in (SMALL, MEDIUM, WIDE):
            path = build_model(spec, Path(directory))
            for prompt, response in SHAPES if spec is not WIDE else SHAPES[:1]:
                for groups, responses in ((2, 2), (1, 8)) if spec is not WIDE else ((1, 2),):
                    table.add_row(*_measured(spec, path, groups, responses, prompt, response, peak))
                    console.print(table)


def _measured(
    spec: ModelSpec, path: Path, groups: int, responses: int, prompt: int, response: int, peak: float
) -> list[str]:
    """A row of the table."""
    row = {"prompt": "w " * prompt} | {f"response {j}": "w " * (response - 1) for j in range(responses)}
    floor = step_flops(spec, [row] * groups) / peak
    shared, padded = (
        _in_own_process(
            Case(
                model=str(path),
                layout=layout,
                groups=groups,
                responses=responses,
                prompt=prompt,
                response=response,
            )
        )
        for layout in ("shared", "padded")
    )
    return [
        spec.name,
        f"{prompt}:{response} {groups}x{responses}",
        f"{shared.seconds:.2f}",
        f"{padded.seconds:.2f}",
        f"{padded.seconds / shared.seconds:.2f}",
        f"{shared.seconds / floor:.2f}",
        f"{padded.seconds / floor:.2f}",
        f"{shared.peak:.0f} / {padded.peak:.0f}",
    ]


def _in_own_process(case: Case) -> Seen:
    command = [sys.executable, "-m", "benchmarks.engine", msgspec.json.encode(case).decode()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=Seen)


def run(case: Case) -> Seen:
    """Measure a case in this process."""
    import torch

    from accord.policy.budget import within_budget
    from accord.policy.engine.probe import PADDED
    from accord.policy.load import load_policy
    from accord.record import Encoded, EncodedResponse

    torch.set_num_threads(1)
    policy = load_policy(case.model)
    if case.layout == "padded":
        policy.engine = PADDED
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 32000, (count,), generator=generator).tolist())

    batch = [
        Encoded(
            ids(case.prompt),
            tuple(EncodedResponse(ids(case.response), (True,) * case.response) for _ in range(case.responses)),
        )
        for _ in range(case.groups)
    ]
    for parameter in policy.trainable().values():
        parameter.grad = torch.zeros_like(parameter)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of memory starts here
    resident, best = _status("VmRSS"), float("inf")
    for step in range(STEPS):
        started = time.process_time()
        for part in within_budget(batch, MICRO_BATCH_TOKENS, policy.cost, encoded=lambda encoded: encoded):
            summed = policy.logprobs(part).sum(-1)
            torch.autograd.backward((summed * torch.linspace(-1, 1, summed.shape[1])).sum())
        if step:
            best = min(best, time.process_time() - started)
    return Seen(seconds=best, peak=_status("VmHWM") - resident)


def _status(name: str) -> float:
    """A line of this process's memory status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


if __name__ == "__main__":
    main()
