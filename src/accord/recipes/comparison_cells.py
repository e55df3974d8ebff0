"""One training of the comparison, in a process of its own, and the file that keeps what it came to."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import psutil

from accord.errors import AccordError, Interrupted
from accord.feedback.reward_model import RewardModel
from accord.policy.policy import Policy
from accord.recipes.comparison_entries import CONDITIONS, ConditionName, Entry
from accord.recipes.comparison_start import Budget, Setting, Start, preference_config
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer, scores
from accord.record import Group
from accord.train.measure import sample_answers
from accord.train.run import run_training
from accord.world.cases import Case, case_of, distinct_cases
from accord.world.town import draw_town

AXES = ("gold", "over-refusal", "words")


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one training came to.

    Attributes:
        entry: the objective and its flags.
        condition: who annotated.
        seed: of everything.
        learning_rate: peak learning rate.
        hyperparameters: the objective's own.
        budget: how much of everything.
        start: which fine-tuned model it began from.
        pairs: preferences that it learned from.
        values: by axis, one number an answer; `gold`, `over-refusal` and `words`, or a reward model's `accuracy`.
        clusters: of a reward model's pairs: what each is about, counted through.
        kl: nats a response away from the start, on the policy's own answers; `None` for a reward model.
        seconds: of processor time, from the settings to the saved model.
        memory: MiB that training added to the process at its highest.
    """

    entry: str
    condition: ConditionName
    seed: int
    learning_rate: float
    hyperparameters: dict[str, Any]
    budget: Budget
    start: str
    pairs: int
    values: dict[str, list[float]]
    clusters: list[int] = []
    kl: float | None = None
    seconds: float
    memory: float


class StartCell(msgspec.Struct, frozen=True, kw_only=True):
    """A fine-tuned model's figures before anything is learned from preferences.

    Attributes:
        name: digest of its answers.
        seed: of the demonstrations.
        budget: how much of everything.
        values: by axis, one number an answer.
        clusters: by axis, what each answer is about, counted through.
    """

    name: str
    seed: int
    budget: Budget
    values: dict[str, list[float]]
    clusters: dict[str, list[int]]


@dataclass(frozen=True)
class Job:
    """What a process is told to train.

    Attributes:
        entry: the objective; `None` for the start alone.
        condition: who annotates.
        seed: of everything.
        budget: how much of everything.
        base: the model to start from.
        work: directory that keeps the starts.
    """

    entry: Entry | None
    condition: ConditionName
    seed: int
    budget: Budget
    base: str
    work: Path

    def start(self) -> Start:
        """Where it starts."""
        town = draw_town(self.budget.town)
        held_out = distinct_cases(town, "test", self.budget.held_out, seed=0)
        setting = Setting(self.base, CONDITIONS[self.condition], self.budget, town, held_out)
        # Another base or budget is another start.
        told = msgspec.json.encode([self.base, self.budget])
        return Start(self.work / f"{hashlib.sha256(told).hexdigest()[:8]}-seed-{self.seed}", setting, self.seed)


def measured_start(job: Job) -> StartCell:
    """Make the start, unless it is there, and all that the trainings take from it."""
    start = job.start()
    assert start.pairs
    assert start.held_out_pairs
    assert start.teacher
    return _start_cell(start)


def trained(job: Job) -> Cell:
    """Train an objective from its start, and measure what became of it.

    Raises:
        AccordError: the training failed.
    """
    assert job.entry is not None
    entry, start = job.entry, job.start()
    begun = _start_cell(start).name
    # The model and its answers are read before the clocks start, and with them the libraries' late imports.
    start.policy  # noqa: B018
    pairs = start.pairs
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ACCORD_CACHE"] = str(Path(scratch) / "cache")  # each pays for its own reference
        rate, hyper = entry.learning_rate, dict(entry.hyper)
        config = preference_config(entry.objective, start, Path(scratch) / "run", lr=rate, hyper=hyper)
        resident, clock = psutil.Process().memory_info().rss, time.process_time()
        policy = run_training(config, groups=pairs).policy
        seconds, memory = time.process_time() - clock, (_highest() - resident) / 2**20
    assert policy is not None
    cell = Cell(
        entry=entry.name,
        condition=job.condition,
        seed=job.seed,
        learning_rate=rate,
        hyperparameters=entry.hyperparameters,
        budget=job.budget,
        start=begun,
        pairs=len(pairs),
        values={},
        seconds=round(seconds, 2),
        memory=round(memory, 1),
    )
    if entry.learns_rewards:
        values, clusters = _accuracies(policy, start)
        return msgspec.structs.replace(cell, values={"accuracy": values}, clusters=clusters)
    answers = answer(policy, start.setting.held_out, seed=job.seed)
    return msgspec.structs.replace(cell, values=_values(answers), kl=round(_kl(policy, start), 4))


def in_process(work: Callable[[Job], Any], job: Job) -> Any:
    """Call a function of this module in a process of its own, so that its memory is its own.

    Raises:
        AccordError: as the function raised; or the process died.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, work, job))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    try:
        done, result = ours.recv()
    except EOFError:
        process.join()
        raise AccordError(f"the process ended with code {process.exitcode}") from None
    except BaseException:
        process.terminate()
        raise
    process.join()
    if not done:
        raise AccordError(result)
    return result


def _child(pipe: Connection, work: Callable[[Job], Any], job: Job) -> None:
    try:
        with one_thread():
            pipe.send((True, work(job)))
    except (AccordError, Interrupted) as error:
        pipe.send((False, str(error)))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _highest() -> int:
    """Bytes of memory that this process held at its highest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _start_cell(start: Start) -> StartCell:
    values = _values(start.answers)
    numbers = _numbers(start.setting.held_out)
    clusters = {
        axis: [
            numbers[case.key]
            for case, group in zip(start.setting.held_out, start.answers, strict=True)
            if scores([group], axis)
        ]
        for axis in AXES
    }
    name = hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:12]
    return StartCell(name=name, seed=start.seed, budget=start.setting.budget, values=values, clusters=clusters)


def _values(answers: Sequence[Group]) -> dict[str, list[float]]:
    return {axis: [round(value, 4) for value in scores(answers, axis)] for axis in AXES}


def _numbers(held_out: Sequence[Case]) -> dict[str, int]:
    """What the prompts are about, counted through."""
    numbers: dict[str, int] = {}
    for case in held_out:
        numbers.setdefault(case.key, len(numbers))
    return numbers


def _accuracies(policy: Policy, start: Start) -> tuple[list[float], list[int]]:
    """Whether a reward model ranks each held-out pair as the oracle does, a tie being one half; and its cluster."""
    numbers, right, clusters = _numbers(start.setting.held_out), [], []
    for group, row in zip(start.held_out_pairs, RewardModel(policy)(start.held_out_pairs), strict=True):
        (preference,) = group.preferences()
        better, worse = row[preference.better], row[preference.worse]
        assert better is not None
        assert worse is not None
        right.append(0.5 if better == worse else float(better > worse))
        clusters.append(numbers[case_of(group).key])
    return right, clusters


def _kl(policy: Policy, start: Start) -> float:
    """Divergence from the start in nats a response, on the policy's own answers to the held-out prompts."""
    measured = sample_answers(
        policy,
        [case.group() for case in start.setting.held_out],
        start=nullcontext(start.policy),
        step=0,
        tokens=LONGEST_ANSWER,
        seed=start.seed,
        micro_batch_tokens=16384,
    )
    return measured.line["eval/kl"]
