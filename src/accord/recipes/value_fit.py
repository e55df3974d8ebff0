"""`accord values fit`: what several values weigh in choices, for all annotators and for each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.errors import ConfigError, DataError
from accord.evaluate.choice_groups import GroupTest, compare_groups
from accord.evaluate.choices import (
    RIDGE,
    Choices,
    Sign,
    bootstrap_weights,
    choice_losses,
    fit_weights,
    percentile_estimates,
    shares_of,
    unknown,
    weight_estimates,
)
from accord.evaluate.identifiable import doubts
from accord.evaluate.statistics import Floats, mean_estimate, paired_difference
from accord.feedback.score import Missing
from accord.feedback.values import LearnedValues, Value, WeightKind, value_part
from accord.recipes.value_choices import ReadChoices, read_choices
from accord.record import Estimate, Group

LEARNED, EQUAL = "learned weights", "equal weights"
LEAST = 20
"""Choices, and prompts beyond the number of values, below which a group of annotators has no weights of its own."""


@dataclass(frozen=True)
class HeldOut:
    """How well choices that were not learned from are foretold.

    Attributes:
        accuracy: share of them, ties counted half.
        loss: negative log-likelihood, nats a choice; a coin's is 0.693.
        accuracy_beside, loss_beside: the learned weights' less this one's; `None` for the learned weights.
    """

    accuracy: Estimate
    loss: Estimate
    accuracy_beside: Estimate | None = None
    loss_beside: Estimate | None = None


@dataclass(frozen=True)
class Annotators:
    """One group of annotators.

    Attributes:
        choices: how many it made.
        weights: its own, by value; none for a group of too few choices.
        own: how well its own weights foretell its choices, beside those of all annotators.
    """

    choices: int
    weights: dict[str, Estimate]
    own: HeldOut | None


@dataclass(frozen=True)
class Fitted:
    """What choices taught.

    Attributes:
        learned: the weights, to be saved.
        bootstrap: intervals of the weights from resampled prompts, by value.
        held_out: the learned weights, equal ones, and each value alone, by name.
        annotators: each group, by name.
        test: whether the groups weigh alike; `None` for fewer than two groups with weights.
        agreement: Krippendorff's alpha of the annotators; `None` where no two compared the same.
        unscored: choices left out because a value is missing.
    """

    learned: LearnedValues
    bootstrap: dict[str, Estimate]
    held_out: dict[str, HeldOut]
    annotators: dict[str, Annotators]
    test: GroupTest | None
    agreement: Estimate | None
    unscored: int


def fit_values(
    groups: Sequence[Group],
    rewards: Sequence[str],
    *,
    kind: WeightKind = "free",
    ridge: float = RIDGE,
    folds: int = 5,
    resamples: int = 300,
    missing: Missing = "stop",
    seed: int = 0,
) -> Fitted:
    """Learn the weights of several values from preferences, and measure what they foretell.

    Free weights have the sandwich interval over prompts, others that of resampled prompts. Every choice is foretold by
    weights that were learned without its prompt. Groups of annotators are named as `accord train group_dpo` names them.

    Args:
        groups: with preferences.
        rewards: what gives each value, as on the command line.
        kind: what the weights may be.
        ridge: price of a squared weight, for values of typical difference 1.
        folds: parts that the prompts are divided into, to foretell each by the others.
        resamples: how often prompts are drawn anew for the bootstrap.
        missing: what becomes of a reward that raises or returns a number that is not finite.
        seed: of folds and draws.

    Raises:
        ConfigError: a reward or a number cannot be used as it is written.
        DataError: there are no preferences, or on fewer prompts than folds.
    """
    for flag, value, least in (("--ridge", ridge, 0.0), ("--folds", folds, 2), ("--resamples", resamples, 20)):
        if value < least:
            raise ConfigError(f"{value:g} is out of range", where=flag, mend=f"Give at least {least:g}.")
    parts = [value_part(spec) for spec in rewards]
    read = read_choices(groups, parts, missing=missing)
    prompts = int(read.choices.clusters.max()) + 1
    if prompts < folds:
        mend = f"Give more choices, or fewer --folds than {folds}."
        raise DataError(f"choices on {prompts} prompts cannot be divided into {folds} parts", mend=mend)
    weights, bootstrap = _weighed(read.choices, kind, ridge, resamples, seed)
    fold = np.random.default_rng([seed, 37]).permutation(prompts)[read.choices.clusters] % folds
    annotators, test = _annotators(read, fold, kind, ridge, resamples, seed)
    values = tuple(
        Value(name, spec, weight, float(typical), low, high)
        for name, spec, weight, typical, low, high in zip(
            read.names, rewards, weights, read.choices.scales, read.lowest, read.highest, strict=True
        )
    )
    learned = LearnedValues(
        values=values,
        kind=kind,
        choices=len(read.choices),
        groups={name: one.weights for name, one in annotators.items() if one.weights},
        doubts=tuple(doubts(read.choices, read.names)),
    )
    return Fitted(
        learned=learned,
        bootstrap=dict(zip(read.names, bootstrap, strict=True)),
        held_out=_held_out(read, fold, _sign(kind), ridge),
        annotators=annotators,
        test=test,
        agreement=read.agreement(seed=seed),
        unscored=read.unscored,
    )


def _sign(kind: WeightKind) -> Sign:
    return "free" if kind == "free" else "positive"


def _weighed(
    choices: Choices, kind: WeightKind, ridge: float, resamples: int, seed: int
) -> tuple[list[Estimate], list[Estimate]]:
    """The weights with their intervals, and with those of the bootstrap."""
    sign = _sign(kind)
    fitted = fit_weights(choices, sign=sign, ridge=ridge)
    draws = bootstrap_weights(choices, resamples=resamples, seed=seed, sign=sign, ridge=ridge)
    if kind == "shares":
        fitted, draws = shares_of(fitted), shares_of(draws)
    bootstrap = [
        one if scale > 0 else unknown(one.mean, one.n)
        for one, scale in zip(percentile_estimates(fitted, draws, len(choices)), choices.scales, strict=True)
    ]
    return (weight_estimates(choices, fitted, ridge=ridge) if kind == "free" else bootstrap), bootstrap


def _held_out(read: ReadChoices, fold: NDArray[np.intp], sign: Sign, ridge: float) -> dict[str, HeldOut]:
    choices, scales = read.choices, read.choices.scales
    equal = Choices(
        (choices.differences / np.where(scales > 0, scales, 1.0)).sum(1, keepdims=True),
        choices.counts,
        choices.clusters,
    )
    contenders = {LEARNED: choices, EQUAL: equal}
    contenders |= {f"{name} alone": choices.columns([place]) for place, name in enumerate(read.names)}
    foretold = {name: _foretold(own, fold, sign, ridge) for name, own in contenders.items()}
    return {
        name: _measured(choices, own, None if name == LEARNED else foretold[LEARNED]) for name, own in foretold.items()
    }


def _foretold(choices: Choices, fold: NDArray[np.intp], sign: Sign, ridge: float) -> Floats:
    """The margin of every choice by weights that were learned on the other folds, `[m]`."""
    margins = np.empty(len(choices))
    for part in np.unique(fold):
        weights = fit_weights(choices.take(fold != part), sign=sign, ridge=ridge)
        margins[fold == part] = choices.differences[fold == part] @ weights
    return margins


def _measured(choices: Choices, margins: Floats, learned: Floats | None) -> HeldOut:
    """Accuracy and loss of margins, and how the learned weights' differ from them."""
    clusters = choices.clusters.tolist()
    right, loss = _right(choices, margins), _loss(choices, margins)
    return HeldOut(
        mean_estimate(right, clusters),
        mean_estimate(loss, clusters),
        None if learned is None else paired_difference(right, _right(choices, learned), clusters),
        None if learned is None else paired_difference(loss, _loss(choices, learned), clusters),
    )


def _right(choices: Choices, margins: Floats) -> Floats:
    return _weighted(choices, (1.0 + np.sign(margins)) / 2)


def _loss(choices: Choices, margins: Floats) -> Floats:
    return _weighted(choices, choice_losses(margins[:, None], np.ones(1)))


def _weighted(choices: Choices, values: Floats) -> Floats:
    """Values whose plain mean is the mean by count."""
    counts = choices.counts
    weighted: Floats = values if np.all(counts == counts[0]) else values * counts / counts.mean()
    return weighted


def _annotators(
    read: ReadChoices, fold: NDArray[np.intp], kind: WeightKind, ridge: float, resamples: int, seed: int
) -> tuple[dict[str, Annotators], GroupTest | None]:
    """Each group of annotators where there are several, and whether those with weights weigh alike."""
    rows = read.by_annotator()
    if len(rows) < 2:
        return {}, None
    shared = _foretold(read.choices, fold, _sign(kind), ridge)
    able = {name: own for name, own in rows.items() if _enough(read.choices.take(own))}
    found: dict[str, Annotators] = {}
    for name, own in rows.items():
        if name not in able:
            found[name] = Annotators(len(own), {}, None)
            continue
        choices = read.choices.take(own)
        weights, _ = _weighed(choices, kind, ridge, resamples, seed)
        alone = _foretold(choices, fold[own], _sign(kind), ridge)
        measured = _measured(choices, shared[own], alone)
        found[name] = Annotators(len(own), dict(zip(read.names, weights, strict=True)), measured)
    return found, _tested(read, able, ridge) if len(able) > 1 else None


def _tested(read: ReadChoices, able: Mapping[str, NDArray[np.intp]], ridge: float) -> GroupTest:
    return compare_groups({name: read.choices.take(own) for name, own in able.items()}, read.names, ridge=ridge)


def _enough(choices: Choices) -> bool:
    return len(choices) >= LEAST and len(np.unique(choices.clusters)) >= choices.differences.shape[1] + LEAST
