"""Where the time of a step goes: products, attention, the rest, each beside its share of the floor.

`python -m benchmarks.breakdown` prints a table. A step is the log-probs of a batch, their gradients, clipping and
AdamW, in a process of its own on one thread. Its processor seconds are those of the best of several steps; PyTorch's
profiler tells how another one divides.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from accord.policy.budget import within_budget
from accord.policy.engine.gradients import Gradients
from accord.policy.load import load_policy
from accord.policy.logprobs import vocabulary_size
from accord.train.loop import make_optimizer
from accord.train.memory import chosen_micro_batch
from benchmarks.cells import CELLS, Cell
from benchmarks.engine import Case, make_batch
from benchmarks.floor import attention_flops, peak_flops_per_second, step_flops
from benchmarks.workload import build_model

MEASURED = (
    "S16 dpo 256:64 x4",
    "M32 dpo 512:128 x2",
    "M32 dpo 64:512 x2",
    "M32 grpo 512:128 x1 of 8",
    "M151 dpo 512:128 x1",
)
STEPS = 6  # the first of them warms up and is not counted
PARTS = {
    "products": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "attention": ("_flash_attention_for_cpu",),
    "optimiser": ("_fused_adamw", "_foreach", "linalg_vector_norm"),
}
"""Names of operators by what they are for; what bears none of them is the rest."""


class Shares(msgspec.Struct, frozen=True):
    """What a process saw.

    Attributes:
        seconds: of the best step.
        peak: operations a second of the machine's best product.
        parts: share of the step, by part.
    """

    seconds: float
    peak: float
    parts: dict[str, float]


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Case))))
        return
    console = Console(width=130)
    table = Table(title="CPU seconds of a step, and times the floor of all, of products, of attention")
    for name in (
        "model, prompt:response",
        "s",
        "x floor",
        "products s",
        "x",
        "attention s",
        "x",
        "optimiser s",
        "rest s",
    ):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        for cell in (cell for cell in CELLS if cell.key in MEASURED):
            table.add_row(*_measured(cell, build_model(cell.model, Path(directory))))
            console.print(table)


def _measured(cell: Cell, path: Path) -> Iterable[str]:
    """A row of the table."""
    shape = cell.shape
    case = Case(str(path), "shared", shape.batch, shape.samples or 2, shape.prompt, shape.response, "cpu", "fp32")
    command = [sys.executable, "-m", "benchmarks.breakdown", msgspec.json.encode(case).decode()]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, stdout=subprocess.PIPE)
    seen = msgspec.json.decode(done.stdout, type=Shares)
    row = {"prompt": "w " * case.prompt} | {f"{j}": "w " * (case.response - 1) for j in range(case.responses)}
    whole = step_flops(cell.model, [row] * case.groups) / seen.peak
    attention = (
        3 * attention_flops(cell.model, [(case.prompt, [case.response] * case.responses)] * case.groups) / seen.peak
    )
    spent = {name: share * seen.seconds for name, share in seen.parts.items()}
    yield f"{cell.model.name} {shape}"
    yield f"{seen.seconds:.2f}"
    yield f"{seen.seconds / whole:.2f}"
    for name, floor in (("products", whole - attention), ("attention", attention)):
        yield f"{spent[name]:.2f}"
        yield f"{spent[name] / floor:.2f}"
    yield f"{spent['optimiser']:.2f}"
    yield f"{seen.seconds - sum(spent.values()):.2f}"


def run(case: Case) -> Shares:
    """Measure a case in this process."""
    torch.set_num_threads(1)
    policy = load_policy(case.model)
    batch = make_batch(case, vocabulary=vocabulary_size(policy.model))
    budget = chosen_micro_batch(policy.model, dtype="fp32", checkpointing=False)
    parts = within_budget(batch, budget, policy.cost, encoded=lambda encoded: encoded)
    gradients = Gradients(policy.trainable().values())
    optimizer = make_optimizer(policy.trainable(), weight_decay=0.0, betas=(0.9, 0.999))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with gradients.collecting():
            for part in parts:
                summed = policy.logprobs(part).sum(-1)
                torch.autograd.backward((summed * torch.linspace(-1, 1, summed.shape[1])).sum())
                del summed
        torch.nn.utils.clip_grad_norm_(list(policy.trainable().values()), 1.0)
        optimizer.step()

    taken, peak = [], peak_flops_per_second()
    for _ in range(STEPS):
        started = time.process_time()
        step()
        taken.append(time.process_time() - started)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    events = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(events.values())
    shares = {
        part: sum(spent for name, spent in events.items() if any(known in name for known in names)) / total
        for part, names in PARTS.items()
    }
    return Shares(min(taken[1:]), peak, shares)


if __name__ == "__main__":
    main()
