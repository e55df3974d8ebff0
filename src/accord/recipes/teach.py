"""Knowledge transfer in rounds: the policy learns a teacher's distributions, or where tokenizers differ its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from msgspec.structs import replace
from rich.console import Console

from accord.errors import ConfigError
from accord.objectives import resolve, signature_of
from accord.objectives.policy_gradient import METHODS
from accord.policy.policy import Policy
from accord.recipes.align import align
from accord.recipes.answers import preferred, sampling_of, share_of_ranks
from accord.record import Group, Response
from accord.train.actor import Actor, PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.models import load_frozen
from accord.train.prepare import checked
from accord.train.prepare_rounds import with_rollout
from accord.train.run import Probe, RunResult


@dataclass
class TaughtActor:
    """Answers to learn on: the policy's own in a share of the rounds, otherwise the data's or the teacher's.

    Source: Agarwal et al. 2023 (arXiv:2306.13649), algorithm 1; there the share is drawn batch by batch as well.

    Attributes:
        config: how to sample.
    """

    config: TrainConfig

    @cached_property
    def teacher(self) -> Policy:
        """The teacher, frozen; it also answers prompts to which the data has no answer."""
        assert self.config.teacher is not None
        return load_frozen(self.config, self.config.teacher)

    @property
    def others(self) -> tuple[Policy, ...]:
        """See `Accompanied`."""
        return (self.teacher,)

    @property
    def mixes(self) -> bool:
        """See `Accompanied`."""
        return False

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The Groups of a round."""
        drawn = prompts.of_round(number)
        own = float(np.random.default_rng([self.config.seed, 23, number]).random()) < self.config.own_answers
        if own:
            return Round(self._answered(policy, drawn, number), {"round/own_answers": 1.0})
        given = [group for group in drawn if group.responses]
        bare = [group for group in drawn if not group.responses]
        return Round(
            [*given, *(self._answered(self.teacher, bare, number) if bare else [])], {"round/own_answers": 0.0}
        )

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """Nothing scores the answers."""
        return []

    def _answered(self, policy: Policy, prompts: Sequence[Group], number: int) -> list[Group]:
        sampling = sampling_of(self.config, number)
        return share_of_ranks(policy, prompts, n=self.config.n or 1, sampling=sampling)


@dataclass
class WritingTeacher:
    """Has the teacher write answers, which the policy reads as text: nothing of the tokenizers need agree.

    An objective that learns from preferences sees them preferred to the policy's own answers, any other one imitates
    them.

    Attributes:
        config: how to sample.
        opposed: whether the policy answers as well.

    Source: Kim and Rush 2016, "Sequence-level knowledge distillation" (arXiv:1606.07947).
    """

    config: TrainConfig
    opposed: bool

    @cached_property
    def teacher(self) -> Policy:
        """The teacher, frozen."""
        assert self.config.teacher is not None
        return load_frozen(self.config, self.config.teacher)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """Each prompt with the teacher's finished answers first, and the policy's own after them."""
        drawn, n = prompts.of_round(number), self.config.n or 1
        written = share_of_ranks(self.teacher, drawn, n=n, sampling=sampling_of(self.config, number))
        texts = [_as_text(group) for group in written]
        total = len(drawn) * n
        notes = {"round/teacher_finished": sum(len(group.responses) for group in texts) / total}
        if not self.opposed:
            return Round(texts, notes)
        own = share_of_ranks(policy, drawn, n=n, sampling=sampling_of(self.config, number, 1))
        return Round([preferred(group, mine, "teacher") for group, mine in zip(texts, own, strict=True)], notes)

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """Nothing scores the answers."""
        return []


def train_taught(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Learn from `config.teacher` in rounds; arguments and errors are those of `train_online`, without rewards.

    `distill` learns its distributions, which takes a common vocabulary. `sft` imitates what it writes, and an objective
    on pairs prefers that to what the policy writes; the teacher may then be any model.

    Raises:
        ConfigError: the objective learns from something else than answers.
    """
    config = checked(config)
    needs = signature_of(resolve(config.objective)).needs
    if config.objective in METHODS or "reward" in needs or {"score", "label", "distribution"} & set(needs):
        mend = "Distil (distill), imitate its answers (sft), or prefer them (dpo and other objectives on pairs)."
        raise ConfigError(f"{config.objective} cannot learn from it", where="--teacher", mend=mend)
    config = with_rollout(msgspec.structs.replace(config, n=config.n or (None if "teacher" in needs else 1)))
    actor: Actor = TaughtActor(config) if "teacher" in needs else WritingTeacher(config, "prefer" in needs)
    return align(config, groups=groups, eval_groups=eval_groups, actor=actor, probe=probe, console=console, fresh=fresh)


def _as_text(group: Group) -> Group:
    """The finished answers, without the ids of another tokenizer."""
    finished = (response for response in group.responses if response.finished)
    return replace(group, responses=tuple(Response(response.text, meta=response.meta) for response in finished))
