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
from accord.feedback.reward import Part, Reward, Row
from accord.feedback.reward_model import load_reward_model
from accord.feedback.spec import parse_one
from accord.objectives.policy_gradient import METHODS
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.online import train_online
from accord.recipes.online_study_page import write_page
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.record import Feedback, Group, Preference, SourceKind
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.world.base import BASE
from accord.world.cases import Case, Exercise, cases, distinct_cases
from accord.world.oracle import judge
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


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement on the way against a learned reward.

    Attributes:
        seed: of reward model and policy.
        step: optimiser steps taken.
        proxy: the reward model's mean score.
        gold: the oracle's.
        kl: nats a response from the start.
    """

    seed: int
    step: int
    proxy: float
    gold: float
    kl: float


class Oracle:
    """The oracle's gold as a reward."""

    name = "gold"
    source: SourceKind = "oracle"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The gold of every response."""
        return [tuple(judge(group).scores("gold") or ()) for group in groups]


def online_study(
    *,
    methods: Sequence[str] = (),
    seeds: int = 3,
    out: str | Path = "docs/online.md",
    budget: Budget | None = None,
    console: Console | None = None,
) -> None:
    """Train every method on both tasks, follow a policy against a learned reward, and write the page.

    What has been trained is kept beside the page, and taken up from there.

    Args:
        methods: of `METHODS`; all that the tasks can serve if none is given.
        seeds: how many times.
        out: the page.
        budget: how much of everything.
        console: where progress is shown.
    """
    budget, screen, path = budget or Budget(), console or Console(quiet=True), Path(out)
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
        points = _read(curve_path, Point)
        for seed in range(seeds):
            if all(point.seed != seed for point in points):
                screen.print(f"against a learned reward, seed {seed}")
                points += _against_learned_reward(seed, budget)
                _write(curve_path, points)
    write_page(path, list(found.values()), points, budget)


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


def _against_learned_reward(seed: int, budget: Budget) -> list[Point]:
    """REINFORCE without a price on divergence against a reward model of 150 comparisons, measured by the oracle."""
    town = draw_town(0)
    prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), budget.prompts)]
    held_out = [case.group() for case in distinct_cases(town, "test", budget.held_out, seed=0)]
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "reward"
        _few_comparisons(model, prompts[:150], seed)
        proxy = load_reward_model(model)
        config = replace(
            _config("rloo", directory, seed, budget),
            steps=4 * budget.rounds,
            eval_every=4,
            hyper={"kl_reward": 0.0},
        )
        train_online(config, [proxy, Part(Oracle(), role="monitor")], groups=prompts, eval_groups=held_out)
        lines = [line for line in _lines(Path(config.out) / "metrics.jsonl") if "eval/reward" in line]
    return [
        Point(
            seed=seed,
            step=int(line["step"]),
            proxy=float(line["eval/reward"]),
            gold=float(line["eval/reward/gold"]),
            kl=float(line["eval/kl"]),
        )
        for line in lines
    ]


def _few_comparisons(out: Path, prompts: Sequence[Group], seed: int) -> None:
    """A reward model of one comparison a prompt, as the oracle decides it."""
    policy = load_policy(BASE)
    sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
    compared = [
        group for group in map(_compared, rollout(policy, prompts, n=2, sampling=sampling)) if group is not None
    ]
    config = TrainConfig(
        objective="bradley_terry",
        model=str(BASE),
        data=("comparisons",),
        out=str(out.with_name("training")),
        seed=seed,
        lr=1e-3,
        epochs=3,
        batch_size=16,
        holdout=0.0,
        save_every=0,
        log_every=10_000,
    )
    run_training(config, groups=compared)
    (out.with_name("training") / "model").rename(out)


def _compared(group: Group) -> Group | None:
    first, second = judge(group).scores("gold") or (None, None)
    if first is None or second is None or first == second:
        return None
    preference = Preference(0, 1) if first > second else Preference(1, 0)
    return replace(group, feedback=(Feedback("oracle", preferences=(preference,)),))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw) for raw in path.read_bytes().splitlines()]


def _read(path: Path, kind: type[Any]) -> list[Any]:
    if not path.exists():
        return []
    try:
        return [msgspec.json.decode(raw, type=kind) for raw in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"is damaged ({error})", path=path, mend="Delete it, and run the study again.") from error


def _write(path: Path, kept: Sequence[Outcome] | Sequence[Point]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    os.replace(beside, path)
