"""Which Groups make up which optimiser step: a pure function of lengths and seed, so that a resume needs no state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from accord.errors import DataError
from accord.policy.budget import Cost, within_budget
from accord.train.collate import Example


def plan_steps(
    tokens: Sequence[int],
    *,
    seed: int,
    epochs: float,
    steps: int | None,
    tokens_per_step: int,
    batch_size: int | None,
) -> list[list[int]]:
    """Shuffle each epoch and cut it into optimiser steps.

    Args:
        tokens: tokens of each Group.
        seed: of the order; every epoch has its own.
        epochs: passes over the data, fractions allowed.
        steps: number of steps, instead of epochs.
        tokens_per_step: Groups are added to a step until it holds this many tokens.
        batch_size: Groups a step, instead of tokens.

    Returns:
        for each step the indices of its Groups.
    """
    if not tokens:
        raise DataError("no Groups to train on")
    planned: list[list[int]] = []
    epoch = 0
    wanted = steps
    while wanted is None or len(planned) < wanted:
        order = np.random.default_rng([seed, epoch]).permutation(len(tokens)).tolist()
        cut = _cut(order, tokens, tokens_per_step, batch_size)
        if wanted is None:
            wanted = max(1, math.ceil(len(cut) * epochs - 1e-9))
        planned += cut
        epoch += 1
    return planned[:wanted]


def _cut(order: list[int], tokens: Sequence[int], tokens_per_step: int, batch_size: int | None) -> list[list[int]]:
    if batch_size is not None:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    steps: list[list[int]] = []
    filled = tokens_per_step
    for index in order:
        if filled >= tokens_per_step:
            steps.append([])
            filled = 0
        steps[-1].append(index)
        filled += tokens[index]
    return steps


def micro_batches(examples: Sequence[Example], tokens: int, cost: Cost) -> list[list[Example]]:
    """Examples of similar length together, each batch within a budget of tokens; an example beyond it goes alone."""
    return within_budget(examples, tokens, cost, encoded=lambda example: example.encoded)
