"""`accord world constrain`: what each way to train under a constraint holds, and whether a hidden one is found.

For each seed a model is fine-tuned once. From it a policy is trained on a reward that pays for breaking a rule, without
a constraint and in each mode with the rule as one; then the rule is hidden, learned from demonstrations, and enforced.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from accord.errors import ConfigError
from accord.evaluate.statistics import compare
from accord.feedback.constraints import Constraint
from accord.feedback.permissibility import Permissibility
from accord.feedback.reward import Part, Role
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.constrained_page import Learned, Mode, Study, render
from accord.recipes.constrained_task import (
    HELPFUL,
    LAWFUL,
    held_out,
    instructs_where_it_may,
    lawful_demonstrations,
    prompts,
    violates,
)
from accord.recipes.inverse_constraint import infer_constraint
from accord.recipes.online import train_online
from accord.recipes.quickstart import sft_config, write_demonstrations
from accord.recipes.threads import one_thread
from accord.record import Comparison, Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.progress import Display
from accord.train.run import run_training
from accord.world.base import BASE
from accord.world.cases import Case, case_of
from accord.world.town import Town, draw_town

_LONGEST = 32


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        demonstrations: answers that the start is fine-tuned on.
        prompts: to train on.
        held_out: to measure on.
        rounds: of sampling and training, each on 64 answers.
        steps: within the trust region, each on 64 answers.
        lawful: demonstrations that the hidden rule is learned from.
        limit: share of the answers that may break the rule.
        price: what breaking it costs where it is penalised.
    """

    demonstrations: int = 200
    prompts: int = 600
    held_out: int = 300
    rounds: int = 20
    steps: int = 16
    lawful: int = 300
    limit: float = 0.05
    price: float = 2.0


@dataclass(frozen=True)
class Way:
    """A mode: its name, the method that trains in it, the part that the rule has, and the method's settings."""

    name: str
    method: str
    role: Role
    weight: float
    hyper: dict[str, float]


def ways(plan: Plan) -> tuple[Way, ...]:
    """The modes, the unconstrained one first."""
    lagrangian = {"cost_limit": plan.limit, "multiplier_rate": 5.0}
    region = {"cost_limit": plan.limit, "iterations": 5, "damping": 0.01, "kl_limit": 0.02}
    return (
        Way("unconstrained", "ppo", "monitor", 1.0, {}),
        Way("reject", "ppo", "reject", 1.0, {}),
        Way("penalty", "ppo", "penalty", plan.price, {}),
        Way("lagrangian", "ppo_lagrangian", "cost", 1.0, lagrangian),
        Way("trust region", "constrained_trpo", "cost", 1.0, region),
    )


class SeedRun:
    """Everything that one seed trains and measures."""

    def __init__(self, path: Path, seed: int, plan: Plan, town: Town, base: str) -> None:
        self.path, self.seed, self.plan, self.town = path, seed, plan, town
        files = write_demonstrations(path / "data", town, plan.demonstrations, seed=seed)
        start = run_training(sft_config(base, files, path / "sft", seed)).policy
        assert start is not None
        self.asked = held_out(town, plan.held_out)
        self.training = [case.group() for case in prompts(town, "align", plan.prompts, seed=seed + 1)]
        self.start = self.answers(start)

    def answers(self, policy: Policy) -> list[Group]:
        """An answer to each held-out prompt, sampled as in training."""
        sampling = Sampling(temperature=1.0, max_tokens=_LONGEST, seed=self.seed)
        return rollout(policy, [case.group() for case in self.asked], n=1, sampling=sampling)

    def config(self, way: Way, name: str) -> TrainConfig:
        """The settings of one training; the critic's rate and everything else are the defaults."""
        steps = self.plan.steps if way.method == "constrained_trpo" else 2 * self.plan.rounds
        return TrainConfig(
            objective=way.method,
            model=str(self.path / "sft" / "model"),
            data=("prompts",),
            out=str(self.path / name.replace(" ", "-")),
            hyper=dict(way.hyper),
            seed=self.seed,
            steps=steps,
            lr=3e-4,
            schedule="constant",
            prompts=64,
            n=1,
            passes=1 if way.method == "constrained_trpo" else 2,
            max_tokens=_LONGEST,
            holdout=0.0,
            samples=0,
            save_every=0,
            log_every=1000,
        )

    def train(self, way: Way) -> tuple[Policy, list[Group], float]:
        """The policy of a mode, its answers, and the seconds of processor time that it took."""
        begun = time.process_time()
        rule = Part(Constraint(LAWFUL, name="violation"), weight=way.weight, role=way.role)
        policy = train_online(self.config(way, way.name), [HELPFUL, rule], groups=self.training).policy
        assert policy is not None
        return policy, self.answers(policy), time.process_time() - begun

    def infer(self, nominal: Policy, way: Way) -> tuple[Permissibility, list[Group], float]:
        """The hidden rule as it is learned, and the answers of the policy trained within it."""
        begun = time.process_time()
        network = msgspec.structs.replace(
            self.config(way, "constraint"),
            objective="inverse_constraint",
            hyper={},
            data=("demonstrations and samples",),
            steps=None,
            epochs=3.0,
            batch_size=32,
            lr=1e-3,
            schedule="linear",
            n=None,
            passes=None,
        )
        found = infer_constraint(
            lawful_demonstrations(self.town, self.plan.lawful, seed=self.seed),
            nominal,
            [HELPFUL],
            constraint=network,
            policy=self.config(way, "within"),
            slack=self.plan.limit,
        )
        return found[-1].constraint, self.answers(found[-1].policy), time.process_time() - begun


def study(
    *,
    seeds: int = 3,
    plan: Plan | None = None,
    base: str | Path = BASE,
    out: str | Path = "docs/constrained.md",
    console: Console | None = None,
) -> Study:
    """Train, measure, and write the page and its figures (JSON beside it) after each seed.

    Args:
        seeds: 0, 1, ...: each has its own start, prompts, demonstrations and sampling; held-out prompts are the same.
        plan: how much of everything.
        base: the model to start from.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, plan = Path(out), plan or Plan()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    town, all_ways = draw_town(0), ways(plan)
    starts: list[list[Group]] = []
    answers: dict[str, list[list[Group]]] = {way.name: [] for way in all_ways}
    seconds: dict[str, list[float]] = {way.name: [] for way in all_ways}
    learned: list[Learned] = []
    within: list[list[Group]] = []
    with one_thread(), tempfile.TemporaryDirectory() as scratch, Display(console).bar("models", seeds * 6) as bar:
        for seed in range(seeds):
            run = SeedRun(Path(scratch) / f"seed-{seed}", seed, plan, town, str(base))
            starts.append(run.start)
            nominal: Policy | None = None
            for way in all_ways:
                policy, said, spent = run.train(way)
                answers[way.name].append(said)
                seconds[way.name].append(spent)
                nominal = nominal or policy
                bar.advance(numbers=f"{way.name}, seed {seed}")
            assert nominal is not None
            constraint, said, spent = run.infer(nominal, all_ways[3])
            within.append(said)
            learned.append(_learned(constraint, [*run.start, *answers["unconstrained"][seed]], spent))
            bar.advance(numbers=f"hidden rule, seed {seed}")
            result = Study(
                command=f"accord world constrain --seeds {seeds} --out {out}",
                asked=seeds,
                seeds=seed + 1,
                plan=msgspec.to_builtins(plan),
                modes=tuple(
                    _mode(way, run.asked, starts, answers[way.name], float(np.mean(seconds[way.name])))
                    for way in all_ways
                ),
                learned=tuple(learned),
                within=_mode(
                    Way("hidden rule", all_ways[3].method, "cost", 1.0, {}),
                    run.asked,
                    starts,
                    within,
                    float(np.mean([one.seconds for one in learned])),
                ),
            )
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(render(result), encoding="utf-8")
            out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return result


def separation(lawful: Sequence[float], broken: Sequence[float]) -> float:
    """How often a broken rule costs more than a kept one, a tie counting one half: the area under the ROC curve.

    >>> separation([0.1, 0.2], [0.9, 0.2])
    0.875
    """
    low, high = np.asarray(lawful)[:, None], np.asarray(broken)[None, :]
    return float(((high > low) + 0.5 * (high == low)).mean())


def _mode(
    way: Way, asked: Sequence[Case], starts: list[list[Group]], answers: list[list[Group]], seconds: float
) -> Mode:
    before, after = [group for one in starts for group in one], [group for one in answers for group in one]
    broken = [float(violates(group)[0]) for group in after]
    by_seed = np.asarray(broken).reshape(len(answers), -1).mean(1).tolist()
    return Mode(
        name=way.name,
        method=way.method,
        violations=_compared("violations", before, after),
        helpful=_compared("helpful", before, after),
        by_seed=tuple(by_seed),
        seconds=seconds,
    )


def _compared(axis: str, before: Sequence[Group], after: Sequence[Group]) -> Comparison:
    """The answers of all seeds; prompts about the same thing are one cluster."""
    if axis == "violations":
        values = [[float(violates(group)[0]) for group in groups] for groups in (before, after)]
        keys = [case_of(group).key for group in before]
        return compare(axis, *values, clusters=keys, higher_is_better=False)
    pairs = [
        (one, other)
        for one, other in zip(map(instructs_where_it_may, before), map(instructs_where_it_may, after), strict=True)
    ]
    kept = [place for place, (one, _) in enumerate(pairs) if one is not None]
    values = [[float(pairs[place][side] or 0.0) for place in kept] for side in (0, 1)]
    return compare(axis, *values, clusters=[case_of(before[place]).key for place in kept])


def _learned(constraint: Permissibility, answered: Sequence[Group], seconds: float) -> Learned:
    """The learned constraint on answers that the oracle labels."""
    costs = [1.0 - (row[0] or 0.0) for row in constraint(answered)]
    labels = [violates(group)[0] for group in answered]
    helped = [instructs_where_it_may(group) == 1.0 for group in answered]
    broken = [cost for cost, label in zip(costs, labels, strict=True) if label]
    lawful = [cost for cost, label in zip(costs, labels, strict=True) if not label]
    return Learned(
        violations=len(broken),
        lawful=len(lawful),
        separation=separation(lawful, broken),
        found=float(np.mean([cost > 0.5 for cost in broken])),
        false_alarms=float(np.mean([cost > 0.5 for cost in lawful])),
        false_alarms_on_help=float(np.mean([cost > 0.5 for cost, right in zip(costs, helped, strict=True) if right])),
        seconds=seconds,
    )
