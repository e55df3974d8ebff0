"""`accord world`: the embedded world."""

from __future__ import annotations

from typing import Literal

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
    *objectives: str,
    annotator: Literal["all", "plain", "flipped", "length"] = "all",
    seeds: int = 3,
    processes: int = 1,
    out: str = "docs/methods.md",
) -> int:
    """Train objectives from one start on the same preferences, and write a table of what the oracle says.

    What has been trained is kept beside the page: the same command goes on where it was stopped, and a call with some
    objectives or one annotator adds to the table.

    Args:
        objectives: their names; all of them if none is given.
        annotator: whose preferences: the oracle's (plain), a fifth of them the wrong way round (flipped), or of one
            who pays for length.
        seeds: how many times, each with its own start and preferences.
        processes: how many train at a time, with one thread each.
        out: the Markdown page; its figures go beside it as JSON, those of each training into the directory of its name.
    """
    from accord.recipes.comparison_entries import CONDITIONS
    from accord.recipes.world_compare import compare_objectives

    screen = console()
    conditions = tuple(CONDITIONS) if annotator == "all" else (annotator,)
    compare_objectives(objectives, conditions=conditions, seeds=seeds, processes=processes, out=out, console=screen)
    screen.print(f"comparison: {out}", soft_wrap=True)
    return 0


def online(*methods: str, seeds: int = 3, out: str = "docs/online.md") -> int:
    """Train policy-gradient methods on the world, follow one against a learned reward, and write a page.

    What has been trained is kept beside the page: the same command goes on where it was stopped.

    Args:
        methods: their names; all of them if none is given.
        seeds: how many times.
        out: the Markdown page.
    """
    from accord.recipes.online_study import online_study

    screen = console()
    online_study(methods=methods, seeds=seeds, out=out, console=screen)
    screen.print(f"study: {out}", soft_wrap=True)
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


def guides(*, seeds: int = 3, out: str = "docs/guides.md") -> int:
    """Train with guides, from teachers and into a soup, and write what the oracle says of each.

    Args:
        seeds: how many times, each with its own prompts and answers.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.guide_study import study_guides

    screen = console()
    study_guides(seeds=seeds, out=out, console=screen)
    screen.print(f"guides: {out}", soft_wrap=True)
    return 0


def constrain(*, seeds: int = 3, out: str = "docs/constrained.md") -> int:
    """Train under a constraint in every mode, find a hidden one from demonstrations, and write a page.

    Args:
        seeds: how many times, each with its own start, prompts and demonstrations.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.constrained_study import study

    screen = console()
    study(seeds=seeds, out=out, console=screen)
    screen.print(f"page: {out}", soft_wrap=True)
    return 0


def feedback(*, seeds: int = 3, out: str = "docs/ai-feedback.md") -> int:
    """Have the base judge answers, audit it, train on its labels and on gold, and write what the oracle says of each.

    Args:
        seeds: how many times, each with its own start, prompts and answers.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.feedback_study import study_feedback

    screen = console()
    study_feedback(seeds=seeds, out=out, console=screen)
    screen.print(f"AI feedback: {out}", soft_wrap=True)
    return 0


def groups(*, seeds: int = 3, out: str = "docs/group-preference.md") -> int:
    """Predict what groups of annotators prefer from a few of their answers, and write a page.

    Args:
        seeds: how many times, each with its own groups, prompts, answers and network.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.group_study import study_groups

    screen = console()
    study_groups(seeds=seeds, out=out, console=screen)
    screen.print(f"groups: {out}", soft_wrap=True)
    return 0


def constitution(*, seeds: int = 3, out: str = "docs/constitutional-ai.md") -> int:
    """Have the base criticise, revise and label its own answers, train on them, and write what the oracle says.

    Args:
        seeds: how many times, each with its own prompts and answers.
        out: the Markdown page; its figures go beside it as JSON.
    """
    from accord.recipes.constitution_study import study_constitution

    screen = console()
    study_constitution(seeds=seeds, out=out, console=screen)
    screen.print(f"constitutional AI: {out}", soft_wrap=True)
    return 0


def values(*, seeds: int = 3, out: str = "docs/values.md") -> int:
    """Learn planted values from choices, tell groups apart, train and mix a policy for each value, and write a page.

    What has been found is kept beside the page: the same command goes on where it was stopped.

    Args:
        seeds: how many times, each with its own choices, trainings and answers.
        out: the Markdown page; its drawing and its figures go beside it.
    """
    from accord.recipes.value_study import study_values

    screen = console()
    study_values(seeds=seeds, out=out, console=screen)
    screen.print(f"values: {out}", soft_wrap=True)
    return 0
