"""A policy-gradient method as a row: shaping x credit x surrogate x denominator, and further parts of the loss.

The functions of a row say by their signatures what they need and what can be set. `Method` collects both, leaves out
what a coefficient of 0 switches off, and hands the loop two callables: `credit`, once a round, and `objective`, each
optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from accord.objectives.monitors import Metric
from accord.objectives.policy_gradient.credit import (
    CREDIT_NAMES,
    Credit,
    CreditFunction,
    ShapingFunction,
    counted,
    mean_of,
)
from accord.objectives.policy_gradient.groups import informative
from accord.objectives.policy_gradient.surrogates import SurrogateFunction
from accord.objectives.policy_gradient.watch import watched
from accord.objectives.terms import Terms
from accord.objectives.vocabulary import VOCABULARY, Hyperparameter, Signature, read_signature

Hyper = Mapping[str, Any]
_KNOWN = {*VOCABULARY, *CREDIT_NAMES, "loss"}


def nonzero(name: str) -> Callable[[Hyper], bool]:
    """Whether that hyperparameter is set to something other than 0."""
    return lambda hyper: bool(hyper[name])


@dataclass(frozen=True)
class Stage:
    """A function of the shaping, and at which hyperparameters it takes part."""

    function: ShapingFunction
    active: Callable[[Hyper], bool]


@dataclass(frozen=True)
class Part:
    """A loss of tokens beside the surrogate, and at which hyperparameters it takes part.

    Attributes:
        name: the component's name in the metrics.
        function: from tensors to losses of tokens.
        active: at which hyperparameters.
        denominator: how its tokens are averaged; None as those of the surrogate.
        mask: the tensor that says which of its tokens count.
    """

    name: str
    function: Callable[..., Tensor]
    active: Callable[[Hyper], bool]
    denominator: Callable[..., Terms] | None = None
    mask: str = "mask"


@dataclass(frozen=True)
class Rollout:
    """How a method samples and uses what it sampled, where the user does not say.

    Attributes:
        n: answers to each prompt.
        least: the fewest answers that its credit can compare.
        passes: how often a round's answers are trained on.
        refill: how often further prompts may replace those whose answers all score alike.
    """

    n: int = 8
    least: int = 1
    passes: int = 1
    refill: int = 0


@dataclass(frozen=True)
class Method:
    """A policy-gradient method.

    It is an objective too: called with tensors in the order of `objective(hyper).signature.needs` it gives their terms.

    Attributes:
        name: what the command line calls it.
        text: what it is: purpose, equation, what sets it apart, source.
        estimator: the credit.
        surrogate: what is minimised in place of the expected reward.
        denominator: how its tokens are averaged.
        shaping: what changes the rewards before credit is given, in order.
        masking: what leaves tokens out of the loss.
        parts: further parts of the loss.
        step: for a method with an optimiser step of its own, what makes its settings; all of its parameters are
            hyperparameters.
        defaults: hyperparameters whose default is not that of the function.
        rollout: how it samples.
    """

    name: str
    text: str
    estimator: CreditFunction
    surrogate: SurrogateFunction
    denominator: Callable[..., Terms]
    shaping: tuple[Stage, ...] = ()
    masking: tuple[Stage, ...] = ()
    parts: tuple[Part, ...] = ()
    step: Callable[..., Any] | None = None
    defaults: Hyper = field(default_factory=dict)
    rollout: Rollout = Rollout()

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.text)
        unknown = set(self.defaults) - {parameter.name for parameter in self.hyperparameters}
        if unknown:
            raise TypeError(f"{self.name}: no function of the row has the hyperparameter {', '.join(sorted(unknown))}")

    @cached_property
    def hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """All that can be set, the row's own defaults in place."""
        found: dict[str, Hyperparameter] = {}
        for function in self._functions():
            for parameter in _signature(function).hyperparameters:
                default = self.defaults.get(parameter.name, parameter.default)
                found.setdefault(parameter.name, replace(parameter, default=default))
        return tuple(found.values())

    @property
    def signature(self) -> Signature:
        """What the loss needs at the defaults, and all that can be set."""
        return Signature(self.objective({}).signature.needs, self.hyperparameters)

    def settings(self, hyper: Hyper) -> dict[str, Any]:
        """All hyperparameters: the given ones, the others at their defaults.

        Raises:
            ValueError: the method has no such hyperparameter.
        """
        defaults = {parameter.name: parameter.default for parameter in self.hyperparameters}
        unknown = set(hyper) - set(defaults)
        if unknown:
            raise ValueError(f"{self.name} has no hyperparameter {', '.join(sorted(unknown))}")
        return defaults | dict(hyper)

    def credit(self, hyper: Hyper) -> BoundCredit:
        """What gives a round its advantages at these hyperparameters."""
        return BoundCredit(self, self.settings(hyper))

    def objective(self, hyper: Hyper) -> BoundObjective:
        """The loss at these hyperparameters."""
        return BoundObjective(self, self.settings(hyper))

    def step_settings(self, hyper: Hyper) -> Any:
        """The settings of the method's own optimiser step at these hyperparameters, None if it has none."""
        return None if self.step is None else _call(self.step, {}, self.settings(hyper))

    def __call__(self, *tensors: Tensor, **hyper: Any) -> Terms:  # noqa: D102 (the class says it)
        return self.objective(hyper)(*tensors)

    def _functions(self) -> Iterable[Callable[..., Any]]:
        yield self.estimator
        yield self.surrogate
        yield self.denominator
        yield from (part.function for part in self.parts)
        yield from (stage.function for stage in self.shaping)
        yield from (stage.function for stage in self.masking)
        if self.step is not None:
            yield self.step


@dataclass(frozen=True)
class BoundCredit:
    """A method's credit with its hyperparameters: called with the tensors of a whole round, by name."""

    method: Method
    hyper: Hyper

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The tensors it reads, `state` among them where numbers are carried from round to round."""
        functions = [stage.function for stage in self._stages()]
        return _needs([*functions, self.method.estimator], ("mask", "score", "scored", "valid"))

    def __call__(self, tensors: Mapping[str, Any]) -> Credit:
        """The credit of a round.

        Args:
            tensors: what `needs` names, with the shapes of the vocabulary.
        """
        given = dict(tensors)
        given.setdefault("state", {})
        with torch.no_grad():
            given["token_reward"] = torch.zeros_like(given["mask"])
            metrics: dict[str, Metric] = {}
            state: dict[str, Tensor] = {}
            for stage in self._stages():
                shaped = _call(stage.function, given, self.hyper)
                given.update(shaped.values)
                metrics.update(shaped.metrics)
                state.update(shaped.state)
            credit: Credit = _call(self.method.estimator, given, self.hyper)
        return replace(
            credit,
            metrics={**_of_round(tensors, credit), **metrics, **credit.metrics},
            state={**state, **credit.state},
        )

    def _stages(self) -> list[Stage]:
        return [stage for stage in self.method.shaping if stage.active(self.hyper)]


@dataclass(frozen=True)
class BoundObjective:
    """A method's loss with its hyperparameters: called with the tensors that `signature.needs` names, in that order."""

    method: Method
    hyper: Hyper

    @cached_property
    def signature(self) -> Signature:
        """Exactly the tensors that the loss needs; there is nothing left to set."""
        functions = [*(stage.function for stage in self._masking()), *(part.function for part in self._parts())]
        masks = [part.mask for part in self._parts()]
        return Signature(_needs([self.method.surrogate, *functions], ("mask", *masks)), ())

    def __call__(self, *tensors: Tensor) -> Terms:
        """The terms of a batch; the surrogate's component is the first, named `loss`."""
        given = dict(zip(self.signature.needs, tensors, strict=True))
        for stage in self._masking():
            given.update(_call(stage.function, given, self.hyper).values)
        surrogate = _call(self.method.surrogate, given, self.hyper)
        terms: Terms = _reduced(self.method.denominator, surrogate.loss, given["mask"], self.hyper)
        terms = replace(terms, metrics=watched(given, surrogate))
        for part in self._parts():
            loss, denominator = _call(part.function, given, self.hyper), part.denominator or self.method.denominator
            terms = terms + replace(_reduced(denominator, loss, given[part.mask], self.hyper), name=part.name)
        return terms

    def _parts(self) -> list[Part]:
        return [part for part in self.method.parts if part.active(self.hyper)]

    def _masking(self) -> list[Stage]:
        return [stage for stage in self.method.masking if stage.active(self.hyper)]


@cache
def _signature(function: Callable[..., Any]) -> Signature:
    return read_signature(function, _KNOWN)


def _needs(functions: Iterable[Callable[..., Any]], always: Iterable[str]) -> tuple[str, ...]:
    """The tensors of the vocabulary that functions read, in its order, and those that are needed always."""
    named = {name for function in functions for name in _signature(function).needs} | set(always)
    return tuple(name for name in VOCABULARY if name in named)


def _call(function: Callable[..., Any], given: Mapping[str, Any], hyper: Hyper) -> Any:
    signature = _signature(function)
    tensors = [given[name] for name in signature.needs]
    return function(*tensors, **{parameter.name: hyper[parameter.name] for parameter in signature.hyperparameters})


def _reduced(denominator: Callable[..., Terms], loss: Tensor, mask: Tensor, hyper: Hyper) -> Terms:
    parameters = _signature(denominator).hyperparameters
    return denominator(loss, mask, **{parameter.name: hyper[parameter.name] for parameter in parameters})


def _of_round(tensors: Mapping[str, Any], credit: Credit) -> dict[str, Metric]:
    """What to watch of any credit."""
    score, mask = tensors["score"], tensors["mask"]
    counts = counted(tensors["scored"], tensors["valid"])
    tokens = mask * counts.unsqueeze(-1)
    total, count = mean_of(credit.advantage, tokens)
    deviation = mean_of((credit.advantage - total / count.clamp_min(1.0)).square(), tokens)
    groups = (counts.sum(-1) > 1).to(counts.dtype)
    same = groups * ~informative(score, tensors["scored"], tensors["valid"])
    return {
        "score": mean_of(score, counts),
        "unscored": mean_of(tensors["valid"] - counts, tensors["valid"]),
        "zero_variance_groups": (same.sum(), groups.sum()),
        "advantage_mean": (total, count),
        "advantage_std": ((deviation[0] / count.clamp_min(1.0)).sqrt() * count, count),
    }
