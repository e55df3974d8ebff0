"""Models between several values: what each comes to, which are on the front, and the volume that they dominate.

Rewarded soups: models that were fine-tuned from one start, each for one value, are averaged with every mix of shares,
so that a few trainings give the whole front (Rame et al. 2023, arXiv:2306.04488).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.evaluate.statistics import LEVEL, Floats, mean_estimate
from accord.feedback.reward import Part, Reward, place
from accord.feedback.score import parts_of, score
from accord.objectives.policy_gradient.scalarise import (
    Scalarisation,
    hypervolume,
    pareto_front,
    scalarised,
    within_floors,
)
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.policy.soup import cook
from accord.record import Estimate, Group
from accord.rollout import rollout
from accord.train.progress import Display

RESAMPLES = 300
"""How often prompts are drawn anew for the interval of a volume."""

BELOW = 0.1
"""How far the reference point lies below the lowest means, as a share of their span."""

LEAST = 1e-6
"""What the rules that have no answer at 0 take in its place."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    Attributes:
        name: of the model or soup.
        shares: of the models in a soup; none for what is no soup.
        scores: each value of every prompt: the mean over its answers, `[P][K]`.
        kind: what sort of model it is, such as `"single"` and `"soup"`.
    """

    name: str
    shares: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]
    kind: str

    @property
    def means(self) -> Floats:
        """The mean of each value, `[K]`."""
        means: Floats = np.asarray(self.scores).mean(0)
        return means

    def estimates(self) -> list[Estimate]:
        """The mean of each value with its interval over prompts."""
        return [mean_estimate(column) for column in np.asarray(self.scores).T]


@dataclass(frozen=True)
class Front:
    """Models on the same prompts.

    Values are measured from the reference point (0) to the best mean of any model (1), and the volume is a share of the
    box between them.

    Attributes:
        values: their names.
        points: the models.
        reference: the reference point.
    """

    values: tuple[str, ...]
    points: tuple[Standing, ...]
    reference: tuple[float, ...]

    @cached_property
    def means(self) -> Floats:
        """Mean values, `[N,K]`."""
        return np.stack([point.means for point in self.points])

    @cached_property
    def best(self) -> Floats:
        """The best mean on each value, `[K]`."""
        best: Floats = self.means.max(0)
        return best

    def scaled(self, means: Floats) -> Tensor:
        """Values from 0, at the reference, to 1, at the best of all."""
        span = np.maximum(self.best - self.reference, 1e-12)
        return torch.from_numpy((means - self.reference) / span)

    def on_front(self) -> list[bool]:
        """Whether no other model is at least as good on every value and better on one."""
        return [bool(one) for one in pareto_front(torch.from_numpy(self.means))]

    def volume(self, kinds: Sequence[str]) -> Estimate:
        """Volume that models of these kinds dominate, with the middle 95% over resampled prompts.

        The means that stand out of many are partly luck, in the volume and in every resampled one; the more models, the
        more of it.
        """
        whole, draws = self._volumes(kinds)
        return _percentiles(whole, draws, len(self.points[0].scores))

    def gain(self, kinds: Sequence[str], over: Sequence[str]) -> Estimate:
        """How much more one set of kinds dominates than another, over the same resampled prompts."""
        (own, drawn), (other, beside) = self._volumes(kinds), self._volumes(over)
        return _percentiles(own - other, drawn - beside, len(self.points[0].scores))

    def chosen(self) -> dict[Scalarisation, str]:
        """The model that each rule picks, at equal weights."""
        scaled = self.scaled(self.means).clamp_min(LEAST)
        weights = torch.full((len(self.values),), 1 / len(self.values), dtype=torch.float64)
        rules: tuple[Scalarisation, ...] = get_args(Scalarisation)
        return {how: self.points[int(scalarised(scaled, weights, how=how).argmax())].name for how in rules}

    def within(self, value: str, floors: Mapping[str, float]) -> str | None:
        """The model that is best on one value among those that reach the others' floors; `None` if none does."""
        limits = torch.tensor([floors.get(name, -torch.inf) for name in self.values], dtype=torch.float64)
        found = within_floors(torch.from_numpy(self.means), self.values.index(value), limits)
        return None if found is None else self.points[found].name

    def _volumes(self, kinds: Sequence[str]) -> tuple[float, Floats]:
        """The volume of some kinds, and those of resampled prompts: the same draws for all kinds."""
        scores = np.stack([point.scores for point in self.points if point.kind in kinds])
        origin = torch.zeros(len(self.values), dtype=torch.float64)
        generator = np.random.default_rng(41)
        prompts = scores.shape[1]
        counts = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES) / prompts
        draws = [hypervolume(self.scaled(np.einsum("p,npk->nk", one, scores)), origin) for one in counts]
        return hypervolume(self.scaled(scores.mean(1)), origin), np.asarray(draws)


def front_of(values: Sequence[str], points: Sequence[Standing], reference: Mapping[str, float] | None = None) -> Front:
    """The front of measured models.

    Without one that is given, the reference point lies a tenth of the models' span below the lowest mean of any on each
    value: at the lowest itself, a model that is best on one value and last on another would dominate nothing
    (Ishibuchi et al. 2018, "How to specify a reference point in hypervolume calculation").

    Args:
        values: their names.
        points: the models, on the same prompts.
        reference: the reference point, where it is given, by value.

    Raises:
        ConfigError: a reference of a value that is not measured.
    """
    given = reference or {}
    for name in given:
        if name not in values:
            raise ConfigError(
                f"no value is called {name!r}", where="--reference", mend=f"There are {', '.join(values)}."
            )
    means = np.stack([point.means for point in points])
    below = means.min(0) - BELOW * (means.max(0) - means.min(0))
    chosen = tuple(float(given.get(name, low)) for name, low in zip(values, below, strict=True))
    return Front(tuple(values), tuple(points), chosen)


def simplex(count: int, parts: int) -> list[tuple[float, ...]]:
    """All shares of so many models that are multiples of 1 / parts and sum to 1.

    >>> simplex(2, 2)
    [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    """
    return [tuple(one / parts for one in own) for own in _compositions(count, parts)]


def stand(
    policy: Policy,
    groups: Sequence[Group],
    rewards: Sequence[Reward | Part],
    *,
    n: int,
    sampling: Sampling,
    name: str,
    kind: str,
    shares: tuple[float, ...] = (),
) -> Standing:
    """What a model comes to on every value: its answers to the prompts, scored.

    Raises:
        DataError: an answer lacks one of the values; names its prompt.
    """
    parts = parts_of(rewards)
    rows = []
    for group in score(rollout(policy, groups, n=n, sampling=sampling), parts):
        columns = [group.scores(part.name) or () for part in parts]
        if any(value is None for column in columns for value in column):
            mend = "Name rewards that score every answer."
            raise DataError(f"an answer of {name} lacks a value ({place(group)})", mend=mend)
        given = np.asarray(columns, dtype=np.float64).mean(1) * [part.factor for part in parts]
        rows.append(tuple(given.tolist()))
    return Standing(name=name, shares=shares, scores=tuple(rows), kind=kind)


def soups(models: Sequence[str | Path], parts: int, load: Callable[[str], Policy]) -> Iterator[Policy]:
    """The soup of every mix of shares in turn, in the order of `simplex`; those of one model alone are left out.

    One policy is given the weights of each: what is done with a soup is done before the next.
    """
    first, *others = [load(str(model)) for model in models]
    own = {name: parameter.detach().clone() for name, parameter in first.trainable().items()}
    for shares in simplex(len(models), parts):
        if max(shares) < 1:
            with torch.no_grad():
                for name, parameter in first.trainable().items():
                    parameter.copy_(own[name])
            yield cook([first, *others], shares)


def measure_front(
    models: Sequence[str | Path],
    groups: Sequence[Group],
    rewards: Sequence[Reward | Part],
    *,
    parts: int = 0,
    reference: Mapping[str, float] | None = None,
    n: int = 1,
    sampling: Sampling | None = None,
    load: Callable[[str], Policy] | None = None,
    console: Console | None = None,
) -> Front:
    """Have models answer, and with `parts` their soups as well, and measure the front.

    Args:
        models: directories or hub ids; for soups, fine-tuned from one start.
        groups: prompts.
        rewards: what gives each value, at least two.
        parts: shares of soups are multiples of 1 over this; 0 cooks none.
        reference: the reference point by value; default as `front_of` takes it.
        n: answers a prompt.
        sampling: how to draw; every model draws with the same seed.
        load: how a model is loaded.
        console: where progress is shown.

    Raises:
        ConfigError: fewer than two values, or soups of one model.
        DataError: no prompts, or an answer without one of the values.
    """
    if len(rewards) < 2:
        raise ConfigError("a front has two values or more", where="--reward", mend="Name another.")
    if parts and len(models) < 2:
        raise ConfigError("a soup takes two models or more", where="--soups", mend="Name another model.")
    if not groups:
        raise DataError("there is no prompt to answer")
    sampling, load = sampling or Sampling(), load or load_policy
    mixed = [shares for shares in simplex(len(models), parts) if max(shares) < 1] if parts else []
    names = _short_names(models)
    found = []
    with Display(console).bar("models", len(models) + len(mixed)) as bar:
        for place_, (name, model) in enumerate(zip(names, models, strict=True)):
            own = tuple(float(place_ == other) for other in range(len(models)))
            found.append(
                stand(load(str(model)), groups, rewards, n=n, sampling=sampling, name=name, kind="single", shares=own)
            )
            bar.advance()
        for shares, policy in zip(mixed, soups(models, parts, load) if parts else (), strict=True):
            name = " + ".join(f"{share:.2g} {own}" for share, own in zip(shares, names, strict=True) if share)
            found.append(stand(policy, groups, rewards, n=n, sampling=sampling, name=name, kind="soup", shares=shares))
            bar.advance()
    return front_of([part.name for part in parts_of(rewards)], found, reference)


def _short_names(models: Sequence[str | Path]) -> list[str]:
    """The last part of each path that says something; the whole path where two are alike."""
    short = [next((part for part in reversed(Path(one).parts) if part != "model"), str(one)) for one in models]
    return short if len(set(short)) == len(short) else [str(one) for one in models]


def _compositions(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    if count == 1:
        yield (parts,)
        return
    for first in range(parts, -1, -1):
        for rest in _compositions(count - 1, parts - first):
            yield (first, *rest)


def _percentiles(value: float, draws: Floats, n: int) -> Estimate:
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), n)
