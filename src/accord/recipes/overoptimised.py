"""A policy that maximises a weak learned reward for longer than is good, while the oracle watches.

Source of the experiment: Gao et al. 2022, "Scaling laws for reward model overoptimization" (arXiv:2210.10760).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from accord.feedback.reward import Part, Row
from accord.feedback.reward_model import load_reward_model
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.online import train_online
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.record import Feedback, Group, Preference, SourceKind
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.run import run_training
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.oracle import judge
from accord.world.town import draw_town


class Pursuit(msgspec.Struct, frozen=True, kw_only=True):
    """How weak the reward model is, and how hard it is pursued.

    Attributes:
        comparisons: prompts of which the reward model sees one comparison each.
        noise: share of the comparisons that are turned round.
        rounds: of sampling and one update.
        answers: sampled in each round, eight to a prompt.
        prompts: different prompts to learn from.
        held_out: prompts that are never trained on.
        learning_rate: of the policy.
        every: rounds between measurements.
    """

    comparisons: int = 40
    noise: float = 0.25
    rounds: int = 60
    answers: int = 128
    prompts: int = 600
    held_out: int = 150
    learning_rate: float = 1.5e-3
    every: int = 6


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement on the way.

    Attributes:
        step: optimiser steps taken.
        proxy: the reward model's mean score on held-out prompts.
        gold: the oracle's.
        kl: nats a response from the start.
    """

    step: int
    proxy: float
    gold: float
    kl: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One reward model and one policy.

    Attributes:
        seed: of both.
        pursuit: how it was made.
        points: the measurements.
        alarms: what the run itself had to say, in order.
    """

    seed: int
    pursuit: Pursuit
    points: list[Point]
    alarms: list[str]


class Oracle:
    """The oracle's gold as a reward."""

    name = "gold"
    source: SourceKind = "oracle"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The gold of every response."""
        return [tuple(judge(group).scores("gold") or ()) for group in groups]


def pursue(seed: int, pursuit: Pursuit) -> Curve:
    """Train a reward model on few noisy comparisons, and a policy on it by RLOO without a price on divergence."""
    town = draw_town(0)
    prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), pursuit.prompts)]
    held_out = [case.group() for case in distinct_cases(town, "test", pursuit.held_out, seed=0)]
    with tempfile.TemporaryDirectory() as scratch:
        proxy = load_reward_model(_reward_model(Path(scratch), prompts[: pursuit.comparisons], seed, pursuit.noise))
        config = TrainConfig(
            objective="rloo",
            model=str(BASE),
            data=("the embedded world",),
            out=str(Path(scratch) / "policy"),
            hyper={"kl_reward": 0.0},
            seed=seed,
            lr=pursuit.learning_rate,
            schedule="constant",
            n=8,
            prompts=pursuit.answers // 8,
            steps=pursuit.rounds,
            eval_every=pursuit.every,
            max_tokens=LONGEST_ANSWER,
            sample_tokens=LONGEST_ANSWER,
            samples=32,
            save_every=0,
            log_every=10_000,
        )
        train_online(config, [proxy, Part(Oracle(), role="monitor")], groups=prompts, eval_groups=held_out)
        directory = RunDirectory(config.out)
        measured = [line for line in _lines(directory.metrics) if "eval/reward" in line]
        alarms = [f"after step {line['step']}: {line['message']}" for line in _lines(directory.alarms)]
    points = [
        Point(
            step=int(line["step"]),
            proxy=float(line["eval/reward"]),
            gold=float(line["eval/reward/gold"]),
            kl=float(line["eval/kl"]),
        )
        for line in measured
    ]
    return Curve(seed=seed, pursuit=pursuit, points=points, alarms=alarms)


def _reward_model(scratch: Path, prompts: Sequence[Group], seed: int, noise: float) -> Path:
    """A reward model of one comparison a prompt: as the oracle decides it, or turned round."""
    policy, rng = load_policy(BASE), random.Random(f"noise:{seed}")
    sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
    pairs = rollout(policy, prompts, n=2, sampling=sampling)
    compared = [group for group in (_compared(pair, rng.random() < noise) for pair in pairs) if group is not None]
    config = TrainConfig(
        objective="bradley_terry",
        model=str(BASE),
        data=("comparisons",),
        out=str(scratch / "reward"),
        seed=seed,
        lr=1e-3,
        epochs=3,
        batch_size=16,
        holdout=0.0,
        save_every=0,
        log_every=10_000,
    )
    run_training(config, groups=compared)
    return RunDirectory(config.out).model


def _compared(pair: Group, turned: bool) -> Group | None:
    """The pair with the oracle's preference, or its opposite; `None` for a tie."""
    first, second = judge(pair).scores("gold") or (None, None)
    if first is None or second is None or first == second:
        return None
    preference = Preference(0, 1) if (first > second) is not turned else Preference(1, 0)
    return replace(pair, feedback=(Feedback("oracle", preferences=(preference,)),))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw) for raw in path.read_bytes().splitlines()] if path.exists() else []
