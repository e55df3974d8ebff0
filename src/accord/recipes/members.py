"""The members of an ensemble: the same training from several seeds, each on its own share of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from accord.data import read
from accord.errors import ConfigError
from accord.recipes.align import align
from accord.record import Group
from accord.train.config import TrainConfig
from accord.train.run import RunResult


def train_members(
    config: TrainConfig,
    *,
    members: int,
    share: float = 1.0,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> list[RunResult]:
    """Train `members` models into `OUT/member-0`, `OUT/member-1`, ..., from the seeds that follow `config.seed`.

    A member's seed decides the order of the data, which prompts are held out, and the adapters' initial weights. With a
    share below 1 it also decides which of the prompts the member sees at all: what members disagree about is then what
    depends on the data.

    Args:
        config: the settings; `out` holds the runs.
        members: how many, at least two.
        share: of the prompts, drawn without replacement for each member.
        groups: train on these instead of reading `config.data`.
        eval_groups: measure on these instead of held-out data.
        console: where progress is shown.
        fresh: start again in runs that are there.

    Raises:
        ConfigError: fewer than two members, or a share outside (0, 1].
    """
    if members < 2:
        raise ConfigError(f"{members} is out of range", where="--members", mend="Give at least 2.")
    if not 0 < share <= 1:
        raise ConfigError(f"{share:g} is out of range", where="--member-share", mend="Give more than 0, at most 1.")
    if groups is None and share < 1:
        groups = read(config.data, columns=config.columns, template=config.template).groups
    results = []
    for index in range(members):
        own = msgspec.structs.replace(config, seed=config.seed + index, out=str(Path(config.out) / f"member-{index}"))
        if console is not None:
            console.print(f"member {index + 1} of {members}: {own.out}", soft_wrap=True)
        drawn = None if groups is None else shared_out(groups, share=share, seed=own.seed)
        results.append(align(own, groups=drawn, eval_groups=eval_groups, console=console, fresh=fresh))
    return results


def shared_out(groups: Sequence[Group], *, share: float, seed: int) -> list[Group]:
    """The Groups of a share of the prompts, drawn by the seed; the same prompt is never divided."""
    prompts = list(dict.fromkeys(group.prompt for group in groups))
    count = max(1, round(share * len(prompts)))
    drawn = {prompts[index] for index in np.random.default_rng([seed, 11]).permutation(len(prompts))[:count].tolist()}
    return [group for group in groups if group.prompt in drawn]
