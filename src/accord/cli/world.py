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
