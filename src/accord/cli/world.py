"""`accord world`: the embedded world."""

from __future__ import annotations

from accord.cli.terminal import console


def build(*, out: str = "runs/world-base", seed: int = 0, steps: int | None = None) -> int:
    """Train the embedded world's base model from its seed, as the one in the package was.

    Args:
        out: directory of the model.
        seed: of the town, the corpus and the initial weights.
        steps: optimiser steps; default what the base in the package took.
    """
    from accord.recipes.world_build import STEPS, build_world

    screen = console()
    path = build_world(out, seed=seed, steps=STEPS if steps is None else steps, console=screen)
    screen.print(f"base model: {path}", soft_wrap=True)
    return 0


def compare(
    *objectives: str, seeds: int = 3, noise: float = 0.0, length_bias: float = 0.0, out: str = "docs/methods.md"
) -> int:
    """Train objectives from one start on the same preferences, and write a table of what the oracle says.

    Args:
        objectives: their names; all of them if none is given.
        seeds: how many times, each with its own start and preferences.
        noise: share of the preferences that the annotator records the wrong way round.
        length_bias: value that the annotator sees in every ten words, where gold goes from 0 to 1.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.world_compare import compare_objectives
    from accord.world.annotators import Annotator

    screen = console()
    annotator = Annotator(noise=noise, length_bias=length_bias)
    compare_objectives(objectives, seeds=seeds, annotator=annotator, out=out, console=screen)
    screen.print(f"comparison: {out}", soft_wrap=True)
    return 0


def reward(*, seeds: int = 3, out: str = "docs/reward-models.md") -> int:
    """Train reward models, ensembles and a process reward model, and write what the oracle says of them.

    Args:
        seeds: how many times, each with its own start, preferences and models.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.reward_study import study_rewards

    screen = console()
    study_rewards(seeds=seeds, out=out, console=screen)
    screen.print(f"reward models: {out}", soft_wrap=True)
    return 0
