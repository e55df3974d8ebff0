"""Self-play fine-tuning: the policy learns to tell the data's answers from those it gave a round before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from rich.console import Console

from accord.errors import DataError
from accord.policy.policy import Policy
from accord.recipes.align import align
from accord.recipes.answers import preferred, sampling_of, share_of_ranks
from accord.record import Group
from accord.train.actor import PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.prepare_rounds import with_rollout
from accord.train.run import Probe, RunResult


@dataclass(frozen=True)
class SelfPlayActor:
    """Puts the policy's answers beside the data's, and prefers the data's.

    Attributes:
        config: how to sample.
    """

    config: TrainConfig

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """Each prompt with the data's answers first and the policy's own after them.

        Raises:
            DataError: a prompt has no answer to be preferred.
        """
        drawn = prompts.of_round(number)
        for group in drawn:
            if not group.responses:
                mend = "Give demonstrations: prompts with answers to imitate."
                raise DataError("self-play needs an answer to prefer to its own, and the row has none", mend=mend)
        sampling = sampling_of(self.config, number)
        answered = share_of_ranks(policy, drawn, n=self.config.n or 1, sampling=sampling)
        return Round([preferred(given, own, "self-play") for given, own in zip(drawn, answered, strict=True)])

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """Nothing scores the answers."""
        return []


def train_self_play(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    r"""SPIN: rounds in which the data's answers are preferred to those of the policy a round before.

    .. math:: -\log\sigma\left(\beta\log\frac{\pi(y)}{\pi_k(y)} - \beta\log\frac{\pi(y')}{\pi_k(y')}\right),
        \qquad y \sim \text{data},\; y' \sim \pi_k

    Any objective that learns from pairs takes the place of `dpo`'s loss; `sppo` is its sibling. The reference becomes
    the policy after every round unless `reference_every` says otherwise. It is at rest when the policy answers as the
    data does, and can become no better than the data. Arguments and errors are those of `train_online`, without
    rewards.

    Source: Chen et al. 2024, "Self-play fine-tuning converts weak language models to strong language models"
    (arXiv:2401.01335), eq. 4.7; the paper trains on the answers of the round before as well (`replay` 1).
    """
    config = with_rollout(msgspec.structs.replace(config, n=config.n or 1))
    if not config.reference_every:
        assert config.passes is not None
        parts = 1 if config.batch_size is None else -(-config.prompts // config.batch_size)
        config = msgspec.structs.replace(config, reference_every=parts * config.passes, reference_mix=1.0)
    return align(
        config,
        groups=groups,
        eval_groups=eval_groups,
        actor=SelfPlayActor(config),
        probe=probe,
        console=console,
        fresh=fresh,
    )
