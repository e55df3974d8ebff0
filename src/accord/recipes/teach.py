"""On-policy distillation: the policy learns a teacher's distributions on answers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.align import align
from accord.recipes.online import share_of_ranks
from accord.record import Group
from accord.train.config import TrainConfig
from accord.train.prepare import load_teacher
from accord.train.prepare_rounds import with_rollout
from accord.train.rounds import PromptOrder, Round
from accord.train.run import Probe, RunResult


@dataclass
class TaughtActor:
    """Answers to learn on: the policy's own in a share of the rounds, otherwise the data's or the teacher's.

    Source: Agarwal et al. 2023 (arXiv:2306.13649), algorithm 1; there the share is drawn batch by batch as well.

    Attributes:
        config: how to sample.
        teacher: answers prompts to which the data has no answer; loaded when the first comes.
    """

    config: TrainConfig
    teacher: list[Policy] = field(default_factory=list)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The Groups of a round."""
        drawn = prompts.of_round(number)
        own = float(np.random.default_rng([self.config.seed, 23, number]).random()) < self.config.own_answers
        if own:
            return Round(self._answered(policy, drawn, number), {"round/own_answers": 1.0})
        given = [group for group in drawn if group.responses]
        bare = [group for group in drawn if not group.responses]
        return Round(
            [*given, *(self._answered(self._teacher(), bare, number) if bare else [])], {"round/own_answers": 0.0}
        )

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """Nothing scores the answers."""
        return []

    def _answered(self, policy: Policy, prompts: Sequence[Group], number: int) -> list[Group]:
        seed = int(np.random.SeedSequence([self.config.seed, 17, number]).generate_state(1)[0])
        sampling = Sampling(temperature=self.config.sample_temperature, max_tokens=self.config.max_tokens, seed=seed)
        return share_of_ranks(policy, prompts, n=self.config.n or 1, sampling=sampling)

    def _teacher(self) -> Policy:
        if not self.teacher:
            teacher = load_teacher(self.config)
            assert teacher is not None
            self.teacher.append(teacher)
        return self.teacher[0]


def train_taught(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Distil in rounds; arguments and errors are those of `train_online`, without rewards."""
    config = with_rollout(config)
    return align(
        config,
        groups=groups,
        eval_groups=eval_groups,
        actor=TaughtActor(config),
        probe=probe,
        console=console,
        fresh=fresh,
    )
