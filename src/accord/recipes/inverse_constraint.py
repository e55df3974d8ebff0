"""Inverse constraints: learn from demonstrations what must not be done although it pays, then train within it.

Rounds alternate. A constraint is learned that tells the demonstrations from the answers of every policy so far; then a
policy is trained on the rewards while the cost of its answers stays near that of the demonstrations. What only the new
policy does becomes visible in the next round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec
from msgspec.structs import replace
from rich.console import Console

from accord.errors import ConfigError, DataError
from accord.feedback.constraints import Constraint
from accord.feedback.permissibility import Permissibility
from accord.feedback.reward import Part, Reward
from accord.feedback.reward_model import RewardModel
from accord.objectives.inverse_constraint import Form
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.align import align
from accord.recipes.online import train_online
from accord.record import Feedback, Group
from accord.rollout import rollout
from accord.train.config import TrainConfig

COST = "learned_cost"
"""The name of the learned constraint's violation."""

THRESHOLDS: Mapping[Form, float] = {"max_entropy": 1.0, "classifier": 0.5}
"""How permissible each form finds what demonstrators and policies do alike."""


@dataclass(frozen=True)
class Inferred:
    """What one round left.

    Attributes:
        constraint: the permissibility learned, as a reward.
        policy: the policy trained within it.
        cost_of_demonstrations: mean cost that the constraint finds in the demonstrations.
        cost_of_samples: in the policies' answers it was learned from.
        limit: mean cost that the policy was allowed.
    """

    constraint: Permissibility
    policy: Policy
    cost_of_demonstrations: float
    cost_of_samples: float
    limit: float


def infer_constraint(
    demonstrations: Sequence[Group],
    nominal: Policy,
    rewards: Sequence[Reward | Part],
    *,
    constraint: TrainConfig,
    policy: TrainConfig,
    rounds: int = 1,
    threshold: float | None = None,
    slack: float = 0.05,
    console: Console | None = None,
) -> list[Inferred]:
    r"""Learn what demonstrators leave undone, and train a policy that leaves it undone too.

    An answer of permissibility :math:`\zeta` costs :math:`\max(0,\ 1 - \zeta / t)`: nothing from the threshold on, 1
    where it is surely forbidden. The threshold is the permissibility of what demonstrators and policies do alike, which
    depends on the constraint's `form`.

    Source: Malik et al. 2021, "Inverse constrained reinforcement learning" (arXiv:2011.09999), algorithm 1; each round
    learns its constraint and its policy anew, from answers of all policies before.

    Args:
        demonstrations: prompts with answers that keep the rule.
        nominal: a policy trained on the rewards alone: one that breaks the rule because it pays.
        rewards: what the policy is trained on, the rule not among it.
        constraint: settings of `inverse_constraint`; `out` holds a run for each round.
        policy: settings of a method with a limited cost, `ppo_lagrangian` or `constrained_trpo`; `out` likewise. Its
            prompts are those of the demonstrations.
        rounds: of alternation.
        threshold: permissibility from which an answer costs nothing (t), above 0 and at most 1; default that of
            `THRESHOLDS` for the constraint's form.
        slack: mean cost that the policy may have above that of the demonstrations.
        console: where progress is shown.

    Raises:
        DataError: there are no demonstrations.
        ConfigError: the threshold is out of range.
    """
    if threshold is None:
        threshold = THRESHOLDS[constraint.hyper.get("form", "max_entropy")]
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"threshold={threshold} is no permissibility above 0", where="inverse constraint")
    shown = [group for group in demonstrations if group.responses]
    if not shown:
        raise DataError("there are no demonstrations", mend="Give Groups with answers that keep the rule.")
    found: list[Inferred] = []
    samples: list[Group] = []
    latest = nominal
    for number in range(rounds):
        samples += _answers(latest, shown, policy, seed=policy.seed + number)
        learned = _learned(shown, samples, _of_round(constraint, number), console)
        violation = Constraint(learned, threshold=threshold, name=COST)
        of_shown, of_samples = (_mean(violation, groups) / threshold for groups in (shown, samples))
        limit = of_shown + slack
        settings = _of_round(policy, number)
        settings = replace(settings, hyper={**settings.hyper, "cost_limit": limit})
        cost = Part(violation, weight=1.0 / threshold, role="cost")
        prompts = [replace(group, responses=(), feedback=()) for group in shown]
        trained = train_online(settings, [*rewards, cost], groups=prompts, console=console, fresh=True).policy
        assert trained is not None
        found.append(Inferred(learned, trained, of_shown, of_samples, limit))
        latest = trained
    return found


def labelled(groups: Sequence[Group], *, desirable: bool) -> list[Group]:
    """The Groups with all of their responses labelled alike."""
    return [
        replace(group, feedback=(Feedback("dataset", labels=(desirable,) * len(group.responses)),)) for group in groups
    ]


def _answers(policy: Policy, prompts: Sequence[Group], config: TrainConfig, *, seed: int) -> list[Group]:
    sampling = Sampling(temperature=config.sample_temperature, max_tokens=config.max_tokens, seed=seed)
    return rollout(policy, prompts, n=1, sampling=sampling)


def _learned(
    demonstrations: Sequence[Group], samples: Sequence[Group], config: TrainConfig, console: Console | None
) -> Permissibility:
    data = [*labelled(demonstrations, desirable=True), *labelled(samples, desirable=False)]
    trained = align(config, groups=data, console=console, fresh=True).policy
    assert trained is not None
    return Permissibility(RewardModel(trained))


def _mean(reward: Reward, groups: Sequence[Group]) -> float:
    return fmean(value for row in reward(groups) for value in row if value is not None)


def _of_round(config: TrainConfig, number: int) -> TrainConfig:
    return msgspec.structs.replace(config, out=str(Path(config.out) / f"round-{number}"))
