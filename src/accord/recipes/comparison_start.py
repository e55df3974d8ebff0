"""Where objectives are compared from: one seed's fine-tuned model, its answers, and the preferences between them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import msgspec

from accord.errors import DataError
from accord.objectives import resolve, signature_of
from accord.policy.heads import OUTPUTS
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.quickstart import sft_config, write_demonstrations
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer
from accord.record import Feedback, Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.environment import read_environment
from accord.train.measure import PREFERENCE_ACCURACY, sample_answers
from accord.train.run import run_training
from accord.world.annotators import Annotator, prefer
from accord.world.cases import Case, cases
from accord.world.oracle import judge
from accord.world.town import Town

LIKELIHOOD_RATE = 1e-3
"""Learning rate of imitation and of reward models, as the quickstart fine-tunes."""

PREFERENCE_RATE = 3e-4
"""Learning rate of everything else, as the quickstart trains on preferences."""

ORACLE = Annotator()


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        held_out: prompts of the test split that every model answers.
        demonstrations: answers that the start is fine-tuned on.
        prompts: prompts that the fine-tuned model answers for the annotator.
        answers: answers to each, of which the best and the worst are compared.
        epochs: passes over the preferences.
        town: seed of the town that the base model knows.
    """

    held_out: int = 500
    demonstrations: int = 100
    prompts: int = 1000
    answers: int = 8
    epochs: int = 2
    town: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one training came to: judged answers of the policy, or the accuracies of a reward model pair by pair."""

    seconds: float
    answers: tuple[Group, ...] = ()
    kl: float = 0.0
    accuracy: tuple[list[float], list[float], list[str]] | None = None


@dataclass(frozen=True)
class Setting:
    """What all seeds share: the base model, who annotates, how much of everything, and the held-out prompts."""

    base: str
    annotator: Annotator
    budget: Budget
    town: Town
    held_out: list[Case]


class Start:
    """The fine-tuned model of one seed, its answers and the preferences between them."""

    def __init__(self, path: Path, setting: Setting, seed: int) -> None:
        self.path, self.setting, self.seed = path, setting, seed
        budget, town = setting.budget, setting.town
        files = write_demonstrations(path / "data", town, budget.demonstrations, seed=seed)
        self.policy = _trained(sft_config(setting.base, files, path / "sft", seed))
        self.answers = tuple(answer(self.policy, setting.held_out, seed=seed))
        self.pairs = self._pairs(_prompts(town, budget.prompts, seed), setting.annotator)

    @cached_property
    def held_out_pairs(self) -> list[Group]:
        """Pairs of answers to the held-out prompts, compared by the oracle: what a reward model should know."""
        return self._pairs(self.setting.held_out, ORACLE)

    def train(self, name: str) -> Outcome:
        """Train one objective from here and measure what became of it."""
        config = _config(name, self.path, self.seed, self.setting.budget.epochs)
        reward_model = _is_reward_model(name)
        policy = _trained(config, self.pairs, self.held_out_pairs if reward_model else None)
        run = RunDirectory(config.out)
        seconds = float(read_environment(run.environment)["seconds"])
        if reward_model:
            return Outcome(seconds, accuracy=_accuracies(run.heldout))
        answers = tuple(answer(policy, self.setting.held_out, seed=self.seed))
        return Outcome(seconds, answers, self._kl(policy))

    def _pairs(self, prompts: Sequence[Case], annotator: Annotator) -> list[Group]:
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=self.seed)
        groups = [case.group() for case in prompts]
        answered = rollout(self.policy, groups, n=self.setting.budget.answers, sampling=sampling)
        return [_scored(group, annotator) for group in prefer(map(judge, answered), annotator, seed=self.seed)]

    def _kl(self, policy: Policy) -> float:
        """Divergence from this start in nats a response, on the policy's own answers to the held-out prompts."""
        measured = sample_answers(
            policy,
            [case.group() for case in self.setting.held_out],
            start=nullcontext(self.policy),
            step=0,
            tokens=LONGEST_ANSWER,
            seed=self.seed,
            micro_batch_tokens=16384,
        )
        return measured.line["eval/kl"]


def learning_rate(name: str) -> float:
    """The learning rate that an objective is trained with here."""
    needs = signature_of(resolve(name)).needs
    compares = "reference" in needs or ("prefer" in needs and "reward" not in needs)
    return PREFERENCE_RATE if compares else LIKELIHOOD_RATE


def _is_reward_model(name: str) -> bool:
    return any(output in signature_of(resolve(name)).needs for output in OUTPUTS)


def _config(name: str, path: Path, seed: int, epochs: int) -> TrainConfig:
    return TrainConfig(
        objective=name,
        model=str(path / "sft" / "model"),
        data=("preferences",),
        out=str(path / "runs" / name.replace(":", "-")),
        seed=seed,
        epochs=epochs,
        batch_size=32,
        lr=learning_rate(name),
        schedule="linear",
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        log_every=1000,
    )


def _trained(config: TrainConfig, groups: Sequence[Group] | None = None, held_out: list[Group] | None = None) -> Policy:
    policy = run_training(config, groups=groups, eval_groups=held_out).policy
    assert policy is not None
    return policy


def _prompts(town: Town, count: int, seed: int) -> list[Case]:
    return list(islice(cases(town, "align", seed=seed + 1), count))


def _scored(group: Group, annotator: Annotator) -> Group:
    """The pair with the annotator's preference and values only; where it slipped, the values have slipped as well.

    Scores that knew better than the preferences would show an objective which of them are flipped. The cost, for
    objectives that have one, is 1 for an insult.
    """
    preferences = tuple(group.preferences())
    values = [annotator.value(group, response) for response in group.responses]
    scores = [max(values) if index == preferences[0].better else min(values) for index in range(len(values))]
    given = {"overall": tuple(scores), "cost": group.scores("rude") or (0.0,) * len(values)}
    feedback = Feedback("oracle", annotator.name, preferences, scores=given)
    return msgspec.structs.replace(group, feedback=(feedback,))


def _accuracies(path: Path) -> tuple[list[float], list[float], list[str]]:
    """Accuracy on each held-out pair before and after training, and the prompt it belongs to."""
    axes = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    measured = [axis for axis in axes if axis["name"] == PREFERENCE_ACCURACY]
    if not measured:
        raise DataError("learns no ranking, and there is no accuracy to compare")
    return measured[0]["values"], measured[-1]["values"], measured[0]["clusters"]
