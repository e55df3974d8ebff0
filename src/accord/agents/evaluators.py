"""Evaluators for a loop of one's own: a model's answers scored by functions, dimension by dimension.

    evaluator = AlignmentEvaluator(prompts, {"helpfulness": helpful, "harmlessness": harmless})
    found = evaluator.evaluate(model)
    found.estimates["helpfulness"]

Each is a task of `accord.evaluate` under another name: the same intervals, slices and degenerate models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from accord.chat.spec import ScriptChat
from accord.chat.types import Chat
from accord.data import Dataset
from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate.ask import generate, name_of
from accord.evaluate.controls import constant_answer, echo, empty_answer
from accord.evaluate.measure import measure
from accord.evaluate.subject import Subject
from accord.evaluate.subjects import chat_subject, policy_subject
from accord.evaluate.suites.preference import preference_task
from accord.evaluate.task import Task, Values, axis, each
from accord.objectives.policy_gradient.scalarise import Scalarisation, pareto_front, scalarised
from accord.policy.policy import Policy
from accord.record import Estimate, Group
from accord.record.measurement import Axis, Measurement

Scorer = Callable[[str, str], float]
"""From a prompt and a response to a number from 0, bad, to 1, good."""

Comparer = Callable[[str, str, str], float]
"""From a prompt, an answer and a reference to the probability that the answer is the better one."""

Model = Subject | Policy | Chat | Callable[[str], str]
"""What is evaluated: a function from a prompt to an answer is enough."""


def as_subject(model: object, *, name: str = "model") -> Subject:
    """A `Model` as what tasks are put to.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(model, Subject):
        return model
    if isinstance(model, Policy):
        return policy_subject(model, name=name)
    if not callable(model):
        mend = "Give a policy, a Chat, or a function from a prompt to an answer."
        raise ConfigError(f"{type(model).__name__} does not answer", where="model", mend=mend)
    if hasattr(model, "identity"):
        return chat_subject(cast(Chat, model), name=name)
    return chat_subject(ScriptChat(lambda request: str(model(request.messages[-1].content)), name=name), name=name)


class AlignmentEvaluator:
    """How a model's answers score on several dimensions.

    Args:
        prompts: texts, or Groups; what their `meta` says can be reported by.
        scorers: by dimension, such as helpfulness, harmlessness, honesty, robustness, fairness.
        heuristic: the dimensions whose scorer is a rule of thumb; the report says so.
        slices: entries of the prompts' `meta` to report by.
        max_tokens, temperature, seed: of the answers.

    Raises:
        ConfigError: there are no scorers, or `heuristic` names one that does not exist.
    """

    def __init__(
        self,
        prompts: Sequence[Group | str],
        scorers: Mapping[str, Scorer],
        *,
        heuristic: Collection[str] = (),
        slices: Sequence[str] = (),
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        unknown = [name for name in heuristic if name not in scorers]
        if unknown:
            raise ConfigError(f"there is no dimension {unknown[0]!r}", where="heuristic")
        self.task = Task(
            "alignment",
            [one if isinstance(one, Group) else Group(one) for one in prompts],
            ask=generate(max_tokens=max_tokens, temperature=temperature, seed=seed),
            score=each(lambda item: _scored(item, scorers)),
            axes=[axis(name, description="By a rule of thumb." if name in heuristic else "") for name in scorers],
            slices=slices,
            controls=[constant_answer(), empty_answer(), echo()],
            settings={"max_tokens": max_tokens, "temperature": temperature, "seed": seed},
            notes=[f"{name} is told by a rule of thumb, not by a judge or by people." for name in heuristic],
        )

    def evaluate(self, model: Model, *, name: str = "model") -> Measurement:
        """The model's answers, scored: every dimension with its 95% interval."""
        return measure(self.task, as_subject(model, name=name))


class PreferenceAlignmentEvaluator:
    """How a model agrees with preferences, and how its answers fare against given ones.

    Args:
        groups: prompts with responses, and for `accuracy` preferences between them.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = Dataset.of(groups).groups

    def accuracy(self, model: Model, *, name: str = "model") -> Measurement:
        """Share of the preferences that the model's rewards or likelihoods have the same way round."""
        return measure(preference_task(self.groups), as_subject(model, name=name))

    def win_rate(
        self, model: Model, compare: Comparer, *, name: str = "model", max_tokens: int = 256, seed: int = 0
    ) -> Measurement:
        """How often the model's answer is better than the first response of each Group.

        Args:
            model: who answers.
            compare: who compares; one half is a tie.
            name: of the model.
            max_tokens, seed: of the answers.

        Raises:
            DataError: a Group has no response to compare with.
        """
        references: dict[str, str] = {}
        items: list[Group] = []
        for place, group in enumerate(self.groups):
            if not group.responses:
                raise DataError("has no response to compare with", path=name_of(group, place))
            references[str(place)] = group.responses[0].text
            items.append(Group(group.prompt, id=str(place), meta=group.meta))

        def wins(item: Group) -> Values:
            won = compare(item.prompt_text(), item.responses[0].text, references[str(item.id)])
            return {"win rate": _share(won, "compare", item)}

        task = Task(
            "win rate",
            items,
            ask=generate(max_tokens=max_tokens, seed=seed),
            score=each(wins),
            axes=[axis("win rate", description="Against the given responses; a tie is one half.")],
            controls=[constant_answer(), empty_answer(), echo()],
            settings={"max_tokens": max_tokens, "seed": seed},
        )
        return measure(task, as_subject(model, name=name))


@dataclass(frozen=True)
class Placed:
    """One of several models on several objectives.

    Attributes:
        name: of the model.
        measurement: what it got.
        vector: its number on each objective, turned so that higher is better.
        value: one number of all, by the weights.
        rank: 1 if no other model is as good everywhere and better somewhere, 2 if only those of rank 1 are, and so on.
    """

    name: str
    measurement: Measurement
    vector: dict[str, float]
    value: float
    rank: int


class MultiObjectiveAlignmentEvaluator:
    """Several models on several objectives: vectors, one number of each, and Pareto ranks.

    Args:
        evaluator: of the objectives, which are its dimensions.
        weights: of the objectives; equal if not given.
        how: what makes one number of several.

    Raises:
        ConfigError: a weight is negative, or its objective does not exist.
    """

    def __init__(
        self,
        evaluator: AlignmentEvaluator,
        *,
        weights: Mapping[str, float] | None = None,
        how: Scalarisation = "linear",
    ) -> None:
        self.evaluator, self.how = evaluator, how
        self.objectives: tuple[Axis, ...] = tuple(evaluator.task.axes)
        names = [one.name for one in self.objectives]
        given = weights if weights is not None else dict.fromkeys(names, 1 / len(names))
        wrong = [name for name, weight in given.items() if name not in names or not 0 <= weight < math.inf]
        if wrong:
            mend = f"The objectives: {', '.join(names)}; weights are 0 or more."
            raise ConfigError(f"the weight of {wrong[0]!r} cannot be used", where="weights", mend=mend)
        self.weights = {name: given.get(name, 0.0) for name in names}

    def evaluate(self, models: Mapping[str, Model]) -> list[Placed]:
        """Every model on every objective, the best ranks first, and within a rank the highest value.

        Raises:
            DataError: an objective has no number for a model.
        """
        measured = {name: self.evaluator.evaluate(model, name=name) for name, model in models.items()}
        vectors = {name: self._vector(found) for name, found in measured.items()}
        points = torch.tensor([[*one.values()] for one in vectors.values()], dtype=torch.float64)
        weights = torch.tensor([*self.weights.values()], dtype=torch.float64)
        values = scalarised(points, weights, how=self.how).tolist()
        placed = [
            Placed(name, measured[name], vectors[name], value, rank)
            for name, value, rank in zip(vectors, values, pareto_ranks(points), strict=True)
        ]
        return sorted(placed, key=lambda one: (one.rank, -one.value))

    def _vector(self, found: Measurement) -> dict[str, float]:
        missing = [one.name for one in self.objectives if one.name not in found.estimates]
        if missing:
            raise DataError(f"no item has a number for {missing[0]!r}", path=found.model)
        return {
            one.name: found.estimates[one.name].mean * (-1 if one.higher_is_better is False else 1)
            for one in self.objectives
        }


def pareto_ranks(points: torch.Tensor) -> list[int]:
    """The rank of each point, `[N,K]`: 1 on the front, 2 on that of the rest, and so on."""
    ranks, left, rank = [0] * len(points), list(range(len(points))), 1
    while left:
        front = [place for place, on in zip(left, pareto_front(points[left]).tolist(), strict=True) if on]
        for place in front:
            ranks[place] = rank
        left, rank = [place for place in left if place not in front], rank + 1
    return ranks


def worst_slice(found: Measurement, name: str) -> tuple[str, Estimate] | None:
    """Where an axis is worst: `slice=value`, and its estimate there; `None` where nothing is reported by slice."""
    direction = next(one for one in found.axes if one.name == name).higher_is_better
    rows = [
        (f"{by}={value}", estimates[name])
        for by, values in found.slices.items()
        for value, estimates in values.items()
        if name in estimates
    ]
    if not rows or direction is None:
        return None
    return min(rows, key=lambda row: row[1].mean if direction else -row[1].mean)


def evaluate_alignment(
    model: Model, prompts: Sequence[Group | str], scorers: Mapping[str, Scorer], *, heuristic: Collection[str] = ()
) -> Measurement:
    """A model's answers to prompts, scored dimension by dimension; see `AlignmentEvaluator`."""
    return AlignmentEvaluator(prompts, scorers, heuristic=heuristic).evaluate(model)


def _scored(item: Group, scorers: Mapping[str, Scorer]) -> Values:
    prompt, text = item.prompt_text(), item.responses[0].text
    return {name: _share(scorer(prompt, text), name, item) for name, scorer in scorers.items()}


def _share(value: float, name: str, item: Group) -> float:
    """A scorer's number, which must be a share."""
    if not 0 <= value <= 1:
        mend = "Return a number from 0 to 1."
        raise NumericsError(f"{name} gave {value}", where=name_of(item, 0), mend=mend)
    return float(value)
