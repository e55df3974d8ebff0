"""The sampler beside transformers' `generate`: prompts of equal length, n samples each, all of the same length.

`python -m benchmarks.sampler` prints a table. Every case is measured in a process of its own on one thread, in which
both draw in turn from the same model; figures are processor seconds of the best round.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.engine import MEDIUM, SMALL
from benchmarks.workload import build_model

SHAPES = ((2, 256, 64), (1, 512, 128), (1, 64, 256))
SAMPLES = 8
ROUNDS = 3


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn.

    Attributes:
        model: directory of the model.
        prompts: how many.
        prompt: tokens of each.
        response: tokens of each of its samples.
    """

    model: str
    prompts: int
    prompt: int
    response: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Processor seconds of each round, and the largest gap to the trainer's log-probs in nats."""

    accord: list[float]
    generate: list[float]
    gap: float


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Case))))
        return
    console = Console(width=120)
    table = Table(title=f"CPU seconds for {SAMPLES} samples a prompt, best of {ROUNDS}")
    for name in ("model", "prompt:response", "accord s", "generate s", "ratio (spread)", "gap, nats"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        for spec in (SMALL, MEDIUM):
            path = build_model(spec, Path(directory))
            for prompts, prompt, response in SHAPES:
                seen = _in_own_process(Case(model=str(path), prompts=prompts, prompt=prompt, response=response))
                ratios = [theirs / ours for theirs, ours in zip(seen.generate, seen.accord, strict=True)]
                table.add_row(
                    spec.name,
                    f"{prompt}:{response} x{prompts}",
                    f"{min(seen.accord):.2f}",
                    f"{min(seen.generate):.2f}",
                    f"{min(seen.generate) / min(seen.accord):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                    f"{seen.gap:.1e}",
                )
    console.print(table)


def _in_own_process(case: Case) -> Seen:
    command = [sys.executable, "-m", "benchmarks.sampler", msgspec.json.encode(case).decode()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=Seen)


def run(case: Case) -> Seen:
    """Measure a case in this process."""
    import torch

    from accord.policy.load import load_policy
    from accord.policy.sample import Sampled, Sampling, sample
    from accord.record import Encoded, EncodedResponse

    torch.set_num_threads(1)
    policy = load_policy(case.model)
    prompts = torch.randint(3, 32000, (case.prompts, case.prompt), generator=torch.Generator().manual_seed(0))

    def accord() -> list[list[Sampled]]:
        sampling = Sampling(max_tokens=case.response)
        return sample(policy.model, prompts.tolist(), n=SAMPLES, sampling=sampling, stop_ids=(), pad_id=0)

    def generate() -> None:
        policy.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            num_return_sequences=SAMPLES,
            do_sample=True,
            top_k=0,
            min_new_tokens=case.response,
            max_new_tokens=case.response,
            pad_token_id=0,
        )

    seen: dict[str, list[float]] = {"accord": [], "generate": []}
    for _ in range(ROUNDS):
        seen["accord"].append(_seconds(accord))
        seen["generate"].append(_seconds(generate))
    gap = 0.0
    for prompt, drawn in zip(prompts.tolist(), accord(), strict=True):
        encoded = Encoded(tuple(prompt), tuple(EncodedResponse(one.tokens, (True,) * len(one.tokens)) for one in drawn))
        with torch.inference_mode():
            trained = policy.logprobs([encoded])[0]
        gap = max(gap, float((trained - torch.tensor([one.logprobs for one in drawn])).abs().max()))
    return Seen(accord=seen["accord"], generate=seen["generate"], gap=gap)


def _seconds(draw: Callable[[], object]) -> float:
    started = time.process_time()
    draw()
    return time.process_time() - started


if __name__ == "__main__":
    main()
