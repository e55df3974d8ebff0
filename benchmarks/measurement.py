"""A measurement: one process that trains as its job says and writes what it saw."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.workload import early_words

Library = Literal["accord", "trl"]
Dtype = Literal["fp32", "bf16"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One training, in terms both libraries understand.

    Attributes:
        library: who trains.
        objective: Accord's name of it.
        hyper: its hyperparameters, by Accord's names.
        model: directory of the starting model.
        data: JSONL file, in the order of training.
        directory: where this process may write.
        steps: optimiser steps.
        batch: rows an optimiser step.
        lr: learning rate, constant; AdamW, no decay, gradients clipped at norm 1.
        dtype: precision of the computation; weights and moments are float32.
        seed: of the order in which Accord reads the data, and of sampling.
        samples: answers sampled to each prompt, for objectives that learn from their own.
        max_tokens: of a sampled answer.
        precompute: whether TRL computes the reference before training; Accord always does.
        at_once: rows that TRL takes through the model at a time, 0 for all of a step. Accord goes by tokens.
        label_rows: whether TRL takes only trained positions to the output head, as it does on a GPU.
    """

    library: Library
    objective: str
    hyper: dict[str, Any]
    model: str
    data: str
    directory: str
    steps: int
    batch: int
    lr: float
    dtype: Dtype = "fp32"
    seed: int = 0
    samples: int = 0
    max_tokens: int = 0
    precompute: bool = False
    at_once: int = 0
    label_rows: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a training process measured of itself.

    Attributes:
        losses: of each step.
        cpu: seconds of processor time of each step but the first.
        wall: seconds on the clock of each step but the first.
        sampling: of `cpu`, the seconds before the step's answers were scored.
        sampled: mean words of the answers of each step but the first, the end counted as one.
        total_cpu: processor seconds from the call to the end of training, the reference included.
        peak: MiB of memory at the highest until the last step's end, less what the imports had taken.
        versions: of the libraries that matter.
    """

    losses: list[float]
    cpu: list[float]
    wall: list[float]
    sampling: list[float]
    sampled: list[float]
    total_cpu: float
    peak: float
    versions: dict[str, str]


class Meter:
    """Clocks and memory of this process; made after the imports, so that they do not count."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of memory starts here
        self._resident = memory_status("VmRSS")
        self._begun = time.process_time()
        self._cpu: list[float] = []
        self._wall: list[float] = []
        self._scored: list[float] = []
        self._words: list[float] = []
        self._peak = 0.0

    def score(self, answers: list[str]) -> list[float]:
        """Scores of a step's answers; called once a step, so that it marks the end of sampling."""
        self._scored.append(time.process_time())
        self._words.append(sum(len(answer.split()) + 1 for answer in answers) / len(answers))
        return [early_words(answer) for answer in answers]

    def step(self) -> None:
        """Called at the end of every optimiser step."""
        self._cpu.append(time.process_time())
        self._wall.append(time.perf_counter())
        self._peak = memory_status("VmHWM") - self._resident

    def write(self, path: str, losses: list[float], versions: dict[str, str]) -> None:
        """Write what was seen, as JSON."""
        seen = Seen(
            losses=losses,
            cpu=_differences(self._cpu),
            wall=_differences(self._wall),
            sampling=[scored - before for before, scored in zip(self._cpu, self._scored[1:], strict=False)],
            sampled=self._words[1:],
            total_cpu=self._cpu[-1] - self._begun,
            peak=self._peak,
            versions=versions,
        )
        Path(path).write_bytes(msgspec.json.encode(seen))


def measure(job: Job) -> Seen:
    """Run a job in a process of its own, on one thread, offline, with an empty reference cache.

    Raises:
        RuntimeError: the process failed; carries the end of its output.
    """
    directory = Path(job.directory)
    directory.mkdir(parents=True)
    paths = {name: directory / f"{name}.json" for name in ("job", "seen")}
    paths["job"].write_bytes(msgspec.json.encode(job))
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(directory / "datasets"),
        "ACCORD_CACHE": str(directory / "cache"),
    }
    command = [sys.executable, "-m", f"benchmarks.{job.library}_process", str(paths["job"]), str(paths["seen"])]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    if done.returncode:
        what = f"{job.library} ended with {done.returncode} on {job.objective}"
        raise RuntimeError(f"{what}:\n{(done.stdout + done.stderr)[-3000:]}")
    return msgspec.json.decode(paths["seen"].read_bytes(), type=Seen)


def _differences(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def memory_status(name: str) -> float:
    """A line of this process's memory status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)
