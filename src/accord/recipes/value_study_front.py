"""The study of values, second part: one policy for each value, their soups, and policies trained on mixed rewards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.feedback.reward import Part
from accord.feedback.spec import parse_one
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.online import train_online
from accord.recipes.value_front import Standing, simplex, soups, stand
from accord.recipes.world_evaluation import LONGEST_ANSWER, TEMPERATURE
from accord.record import Group
from accord.train.config import TrainConfig
from accord.world.base import BASE

FRONT_VALUES = ("right", "brief", "warm")
METHOD = "gdpo"
"""Standardises each reward by itself, so that shares of rewards mean the same whatever their units."""

START, SINGLE, SOUP, MIXED = "start", "single", "soup", "trained on a mix"


class FrontScale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        rounds: of sampling and updating, for every policy.
        prompts: of a round.
        answers: to each of them.
        batch_size: prompts of an optimiser step.
        learning_rate: of all.
        parts: shares of soups are multiples of 1 over this.
        judged: answers to each held-out prompt.
        mixes: shares of the rewards that further policies are trained on.
    """

    rounds: int = 12
    prompts: int = 32
    answers: int = 8
    batch_size: int = 8
    learning_rate: float = 3e-4
    parts: int = 6
    judged: int = 2
    mixes: tuple[tuple[float, ...], ...] = ((0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5), (1 / 3, 1 / 3, 1 / 3))


def study_front(
    prompts: Sequence[Group], held_out: Sequence[Group], *, seed: int, scale: FrontScale
) -> tuple[Standing, ...]:
    """Train, cook and measure; every model answers the same held-out prompts.

    Args:
        prompts: to learn from.
        held_out: to be measured on.
        seed: of training and sampling.
        scale: how much of everything.
    """
    singles = [tuple(float(one == other) for other in FRONT_VALUES) for one in FRONT_VALUES]
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=LONGEST_ANSWER, seed=seed)
    values = _parts((1.0,) * len(FRONT_VALUES))

    def measured(policy: Any, shares: tuple[float, ...], kind: str) -> Standing:
        name = f"{named(shares)}, {kind}" if any(shares) else START
        found = stand(
            policy,
            held_out,
            values,
            n=scale.judged,
            sampling=sampling,
            name=name,
            kind=kind,
            shares=shares,
        )
        rounded = tuple(tuple(round(value, 4) for value in row) for row in found.scores)
        return msgspec.structs.replace(found, scores=rounded)

    points = [measured(load_policy(BASE), (0.0,) * len(FRONT_VALUES), START)]
    with tempfile.TemporaryDirectory() as directory:
        models = [_trained(Path(directory), shares, prompts, seed, scale) for shares in singles]
        points += [measured(load_policy(one), own, SINGLE) for one, own in zip(models, singles, strict=True)]
        mixed = [shares for shares in simplex(len(models), scale.parts) if max(shares) < 1]
        cooked = soups(models, scale.parts, load_policy)
        points += [measured(policy, shares, SOUP) for policy, shares in zip(cooked, mixed, strict=True)]
        for shares in scale.mixes:
            model = _trained(Path(directory), shares, prompts, seed, scale)
            points.append(measured(load_policy(model), shares, MIXED))
    return tuple(points)


def named(shares: Sequence[float]) -> str:
    """Shares by the names of the values.

    >>> named((0.5, 0.0, 0.5))
    '0.5 right + 0.5 warm'
    """
    given = [(share, name) for share, name in zip(shares, FRONT_VALUES, strict=True) if share]
    return given[0][1] if len(given) == 1 else " + ".join(f"{share:.2g} {name}" for share, name in given)


def _parts(shares: Sequence[float]) -> list[Part]:
    return [
        Part(parse_one(f"accord.world.values:{name}").reward, share)
        for name, share in zip(FRONT_VALUES, shares, strict=True)
        if share
    ]


def _trained(directory: Path, shares: Sequence[float], prompts: Sequence[Group], seed: int, scale: FrontScale) -> Path:
    """A policy trained on these shares of the rewards: its model directory."""
    out = directory / "-".join(f"{share:.2f}" for share in shares)
    config = TrainConfig(
        objective=METHOD,
        model=str(BASE),
        data=("the embedded world",),
        out=str(out),
        seed=seed,
        lr=scale.learning_rate,
        schedule="constant",
        batch_size=scale.batch_size,
        prompts=scale.prompts,
        n=scale.answers,
        steps=scale.rounds * -(-scale.prompts // scale.batch_size),
        max_tokens=LONGEST_ANSWER,
        holdout=0.0,
        samples=0,
        save_every=0,
        log_every=10_000,
    )
    train_online(config, _parts(shares), groups=prompts)
    return out / "model"
