"""Where objectives are compared from: one seed's fine-tuned model, its answers, and the preferences between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.quickstart import sft_config, write_demonstrations
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer
from accord.record import Feedback, Group, read_groups, write_groups
from accord.rollout import rollout
from accord.train.config import TrainConfig
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
        demonstrations: answers that the start is fine-tuned on; the teacher of `distill` has ten times as many.
        prompts: prompts that the fine-tuned model answers for the annotator.
        answers: answers to each, of which the best and the worst are compared.
        epochs: passes over the preferences.
        town: seed of the town that the base model knows.
    """

    held_out: int = 400
    demonstrations: int = 100
    prompts: int = 1000
    answers: int = 8
    epochs: int = 2
    town: int = 0


@dataclass(frozen=True)
class Setting:
    """What all seeds share: the base model, who annotates, how much of everything, and the held-out prompts."""

    base: str
    annotator: Annotator
    budget: Budget
    town: Town
    held_out: list[Case]


class Start:
    """The fine-tuned model of one seed, its answers and the preferences between them.

    All of it is kept in a directory as it is made, and taken up from there: the model and its answers are the same
    whoever annotates.
    """

    def __init__(self, path: Path, setting: Setting, seed: int) -> None:
        self.path, self.setting, self.seed = path, setting, seed

    @property
    def model(self) -> Path:
        """Directory of the fine-tuned model."""
        return self._tuned("sft", self.setting.budget.demonstrations)

    @property
    def teacher(self) -> Path:
        """Directory of a model that is fine-tuned on ten times the demonstrations."""
        return self._tuned("teacher", 10 * self.setting.budget.demonstrations)

    @cached_property
    def policy(self) -> Policy:
        """The fine-tuned model."""
        return load_policy(self.model)

    @cached_property
    def answers(self) -> list[Group]:
        """Its judged answers to the held-out prompts, one to each."""
        return self._kept("answers", lambda: answer(self.policy, self.setting.held_out, seed=self.seed))

    @cached_property
    def pairs(self) -> list[Group]:
        """The annotator's preferences between its answers to new prompts."""
        prompts = _prompts(self.setting.town, self.setting.budget.prompts, self.seed)
        return self._preferred(self._sampled("sampled", prompts), self.setting.annotator)

    @cached_property
    def held_out_pairs(self) -> list[Group]:
        """Pairs of answers to the held-out prompts, compared by the oracle: what a reward model should know."""
        return self._preferred(self._sampled("held-out", self.setting.held_out), ORACLE)

    def _tuned(self, name: str, demonstrations: int) -> Path:
        if not (self.path / name / "model" / "config.json").exists():
            files = write_demonstrations(self.path / f"{name}-data", self.setting.town, demonstrations, seed=self.seed)
            run_training(sft_config(self.setting.base, files, self.path / name, self.seed), fresh=True)
        return self.path / name / "model"

    def _sampled(self, name: str, prompts: Sequence[Case]) -> list[Group]:
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=self.seed)
        groups = [case.group() for case in prompts]
        n = self.setting.budget.answers
        return self._kept(name, lambda: map(judge, rollout(self.policy, groups, n=n, sampling=sampling)))

    def _preferred(self, answered: list[Group], annotator: Annotator) -> list[Group]:
        return [_scored(group, annotator) for group in prefer(answered, annotator, seed=self.seed)]

    def _kept(self, name: str, make: Callable[[], Iterable[Group]]) -> list[Group]:
        """Groups from a file, which is written when they are made."""
        path = self.path / f"{name}.jsonl"
        if not path.exists():
            write_groups(path, make())
        return list(read_groups(path))


def preference_config(objective: str, start: Start, out: Path, *, lr: float, hyper: dict[str, Any]) -> TrainConfig:
    """How an objective is trained from a start on its preferences, which come as Groups."""
    return TrainConfig(
        objective=objective,
        model=str(start.model),
        data=("preferences",),
        out=str(out),
        hyper=hyper,
        seed=start.seed,
        epochs=start.setting.budget.epochs,
        batch_size=32,
        lr=lr,
        schedule="linear",
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        log_every=1000,
        save_every=0,
        teacher=str(start.teacher) if objective == "distill" else None,
    )


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
