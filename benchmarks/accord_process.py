"""Train as a job says, through the calls of `accord train`: `python -m benchmarks.accord_process JOB SEEN`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import torch
import transformers
from msgspec.structs import replace

import accord
from accord.feedback.function import FunctionReward
from accord.policy.policy import Policy
from accord.recipes.online import train_online
from accord.train.config import TrainConfig
from accord.train.run import run_training
from benchmarks.measurement import Job, Meter


def main(job_path: str, seen_path: str) -> None:
    job = msgspec.json.decode(Path(job_path).read_bytes(), type=Job)
    transformers.AutoModelForCausalLM, transformers.AutoTokenizer  # noqa: B018 - loaded on first use; an import
    meter = Meter()

    def probe(policy: Policy, step: int) -> dict[str, float]:
        if step:
            meter.step()
        return {}

    config = TrainConfig(
        objective=job.objective,
        hyper=job.hyper,
        model=job.model,
        data=(job.data,),
        out=str(Path(job.directory) / "run"),
        holdout=0.0,
        seed=job.seed,
        steps=job.steps,
        batch_size=job.batch,
        lr=job.lr,
        dtype=job.dtype,
        schedule="constant",
        warmup=0.0,
        samples=0,
        eval_every=1,
        save_every=0,
    )
    if job.samples:

        def early(responses: list[str]) -> list[float]:
            return meter.score(responses)

        online = replace(config, batch_size=None, prompts=job.batch, n=job.samples, max_tokens=job.max_tokens)
        result = train_online(online, [FunctionReward(early)], probe=probe)
    else:
        result = run_training(config, probe=probe)
    lines = [msgspec.json.decode(line) for line in (result.path / "metrics.jsonl").read_bytes().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    versions = {"accord": accord.__version__, "torch": str(torch.__version__), "transformers": transformers.__version__}
    meter.write(seen_path, losses, versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
