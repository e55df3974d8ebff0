"""`accord world online`: what each policy-gradient method learns on the embedded world, and what over-optimising does.

Two tasks, each from the world's flawed base model: the oracle's gold on all kinds of prompts, and sums, successors and
comparisons checked by the `numeric` verifier. Every method samples the same number of answers. A third study trains
against a reward model that saw few comparisons, while the oracle watches.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from rich.console import Console

from accord.errors import DataError
from accord.feedback.reward import Part, Reward
from accord.feedback.spec import parse_one
from accord.objectives.policy_gradient import METHODS
from accord.recipes.online import train_online
from accord.recipes.online_study_page import write_page
from accord.recipes.overoptimised import Curve, Oracle, Pursuit, pursue
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.record import Group
from accord.train.config import TrainConfig
from accord.world.base import BASE
from accord.world.cases import Case, Exercise, cases, distinct_cases
from accord.world.town import Town, draw_town

TaskName = Literal["oracle", "sums"]

TASKS: tuple[TaskName, ...] = ("oracle", "sums")
NUMERIC = ("add", "next", "bigger")
LEFT_OUT = {
    "grpo_process": "needs scores of steps",
    "gdpo": "is grpo where there is one reward",
    "ppo_lagrangian": "needs a cost: see constrained.md",
    "constrained_trpo": "needs a cost: see constrained.md",
}
"""Methods that need more than these tasks have."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        rounds: of sampling and updating.
        answers: sampled in each round, over all of its prompts.
        prompts: different prompts to learn from.
        held_out: prompts that are never trained on.
        learning_rate: of the policy.
    """

    rounds: int = 10
    answers: int = 256
    prompts: int = 600
    held_out: int = 150
    learning_rate: float = 3e-4


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One training.

    Attributes:
        method: name in `METHODS`.
        task: what it learned.
        seed: of sampling and order.
        before: the reward of one answer to each held-out prompt at the start.
        after: the same at the end.
        clusters: what each held-out prompt is about.
        kl: nats a response from the start.
        length: tokens of an answer at the end.
        seconds: of the training, by the clock.
        budget: how much of everything.
    """

    method: str
    task: TaskName
    seed: int
    before: list[float]
    after: list[float]
    clusters: list[str]
    kl: float
    length: float
    seconds: float
    budget: Budget


def online_study(
    *,
    methods: Sequence[str] = (),
    seeds: int = 3,
    out: str | Path = "docs/online.md",
    budget: Budget | None = None,
    pursuit: Pursuit | None = None,
    console: Console | None = None,
) -> None:
    """Train every method on both tasks, follow a policy against a learned reward, and write the page.

    What has been trained is kept beside the page, and taken up from there.

    Args:
        methods: of `METHODS`; all that the tasks can serve if none is given.
        seeds: how many times.
        out: the page.
        budget: how much of everything.
        pursuit: of the learned reward.
        console: where progress is shown.
    """
    budget, pursuit, path = budget or Budget(), pursuit or Pursuit(), Path(out)
    screen = console or Console(quiet=True)
    kept = path.with_suffix(".jsonl")
    found = {(one.method, one.task, one.seed): one for one in _read(kept, Outcome) if one.budget == budget}
    with one_thread():
        for seed in range(seeds):
            for method in methods or [name for name in METHODS if name not in LEFT_OUT]:
                for task in TASKS:
                    if (method, task, seed) not in found:
                        screen.print(f"{method}, {task}, seed {seed}")
                        found[method, task, seed] = _trained(method, task, seed, budget)
                        _write(kept, list(found.values()))
        curve_path = path.with_name(f"{path.stem}-curve.jsonl")
        curves = {one.seed: one for one in _read(curve_path, Curve) if one.pursuit == pursuit}
        for seed in range(seeds):
            if seed not in curves:
                screen.print(f"against a learned reward, seed {seed}")
                curves[seed] = pursue(seed, pursuit)
                _write(curve_path, list(curves.values()))
    write_page(path, list(found.values()), list(curves.values()), budget)


def _trained(method: str, task: TaskName, seed: int, budget: Budget) -> Outcome:
    prompts, held_out = _prompts(task, seed, budget)
    reward: Reward | Part = Oracle() if task == "oracle" else parse_one("numeric")
    with tempfile.TemporaryDirectory() as directory:
        config = _config(method, directory, seed, budget)
        asked = [_with_answer(case) if task == "sums" else case.group() for case in held_out]
        train_online(config, [reward], groups=prompts, eval_groups=asked)
        axes = [line for line in _lines(Path(config.out) / "heldout.jsonl") if line["name"] == "reward"]
        metrics = _lines(Path(config.out) / "metrics.jsonl")
    last = [line for line in metrics if "eval/kl" in line][-1]
    steps = [line for line in metrics if "loss" in line]
    return Outcome(
        method=method,
        task=task,
        seed=seed,
        before=axes[0]["values"],
        after=axes[-1]["values"],
        clusters=[case.key for case in held_out],
        kl=float(last["eval/kl"]),
        length=float(steps[-1]["response_length"]),
        seconds=float(steps[-1]["seconds"]),
        budget=budget,
    )


def _config(method: str, directory: str, seed: int, budget: Budget) -> TrainConfig:
    n = METHODS[method].rollout.n
    return TrainConfig(
        objective=method,
        model=str(BASE),
        data=("the embedded world",),
        out=str(Path(directory) / "run"),
        seed=seed,
        lr=budget.learning_rate,
        schedule="constant",
        prompts=budget.answers // n,
        steps=budget.rounds * METHODS[method].rollout.passes,
        max_tokens=LONGEST_ANSWER,
        sample_tokens=LONGEST_ANSWER,
        samples=32,
        save_every=0,
        log_every=10_000,
    )


def _prompts(task: TaskName, seed: int, budget: Budget) -> tuple[list[Group], list[Case]]:
    """Prompts to learn from, and held-out cases that share no key with them."""
    town = draw_town(0)
    if task == "oracle":
        learned = [case.group() for case in islice(cases(town, "align", seed=seed + 1), budget.prompts)]
        return learned, distinct_cases(town, "test", budget.held_out, seed=0)
    learned = [_with_answer(case) for case in _sums(town, "align", seed + 1, budget.prompts)]
    return learned, list({case.text: case for case in _sums(town, "test", 0, budget.held_out)}.values())


def _sums(town: Town, split: Literal["align", "test"], seed: int, count: int) -> list[Case]:
    drawn = (
        case
        for case in cases(town, split, seed=seed, family="task")
        if isinstance(case.subject, Exercise) and case.subject.kind in NUMERIC
    )
    return list(islice(drawn, count))


def _with_answer(case: Case) -> Group:
    assert isinstance(case.subject, Exercise)
    return replace(case.group(), answer=case.subject.answer)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw) for raw in path.read_bytes().splitlines()]


def _read(path: Path, kind: type[Any]) -> list[Any]:
    if not path.exists():
        return []
    try:
        return [msgspec.json.decode(raw, type=kind) for raw in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"is damaged ({error})", path=path, mend="Delete it, and run the study again.") from error


def _write(path: Path, kept: Sequence[Outcome] | Sequence[Curve]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    os.replace(beside, path)
