"""One seed of the study of constrained training: its start, and the policies that are trained from it in each mode."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from accord.feedback.constraints import Constraint
from accord.feedback.permissibility import Permissibility
from accord.feedback.reward import Part, Role
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.constrained_task import HELPFUL, LAWFUL, held_out, lawful_demonstrations, prompts
from accord.recipes.inverse_constraint import infer_constraint
from accord.recipes.online import train_online
from accord.recipes.quickstart import sft_config, write_demonstrations
from accord.record import Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.world.town import Town

LAGRANGIAN = "lagrangian"
"""The mode in which a policy is trained within the learned constraint, too."""

_LONGEST = 32


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        demonstrations: answers that the start is fine-tuned on.
        prompts: to train on.
        held_out: to measure on.
        rounds: of sampling and training, each on 64 answers, each answer used twice.
        steps: within the trust region, each on 192 answers: what a step promises has to hold beyond them.
        lawful: demonstrations that the hidden rule is learned from.
        limit: share of the answers that may break the rule.
        price: what breaking it costs where it is penalised.
    """

    demonstrations: int = 200
    prompts: int = 600
    held_out: int = 300
    rounds: int = 16
    steps: int = 8
    lawful: int = 600
    limit: float = 0.05
    price: float = 2.0


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        name: of the mode.
        method: that trains in it.
        role: the part that the rule has.
        weight: of the rule in that part.
        hyper: the method's settings.
        prompts: of a round.
        passes: over a round's answers.
        steps: in all.
    """

    name: str
    method: str
    role: Role
    weight: float
    hyper: dict[str, float]
    prompts: int
    passes: int
    steps: int


def ways(plan: Plan) -> tuple[Way, ...]:
    """The modes, the unconstrained one first."""
    usual = {"prompts": 64, "passes": 2, "steps": 2 * plan.rounds}
    within = {"prompts": 192, "passes": 1, "steps": plan.steps}
    limit = {"cost_limit": plan.limit}
    region = {**limit, "iterations": 5, "damping": 0.01, "kl_limit": 0.01}
    return (
        Way("unconstrained", "ppo", "monitor", 1.0, {}, **usual),
        Way("reject", "ppo", "reject", 1.0, {}, **usual),
        Way("penalty", "ppo", "penalty", plan.price, {}, **usual),
        Way(LAGRANGIAN, "ppo_lagrangian", "cost", 1.0, {**limit, "multiplier_rate": 5.0}, **usual),
        Way("trust region", "constrained_trpo", "cost", 1.0, region, **within),
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
        return TrainConfig(
            objective=way.method,
            model=str(self.path / "sft" / "model"),
            data=("prompts",),
            out=str(self.path / name.replace(" ", "-")),
            hyper=dict(way.hyper),
            seed=self.seed,
            steps=way.steps,
            lr=3e-4,
            schedule="constant",
            prompts=way.prompts,
            n=1,
            passes=way.passes,
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
            hyper={"form": "classifier", "regulariser": 0.0},
            data=("demonstrations and samples",),
            steps=None,
            epochs=4.0,
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
