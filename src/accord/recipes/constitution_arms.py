"""The arms of the study of constitutions, and what is found of each."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.recipes.constitution import Kept
from accord.recipes.constitution_cast import CRITICS
from accord.recipes.constitution_compare import ConstitutionComparison
from accord.record import Estimate

AXES = ("gold", "helpful", "harmless", "honest", "over-refusal", "sycophancy", "rude", "words")
STAGES = ("base", "SL-CAI", "RL-CAI")
MARGIN = 0.05
"""How far helpfulness may fall, at the lower limit of its interval, before the recipe has failed."""


class Arm(msgspec.Struct, frozen=True):
    """One way to do it.

    Attributes:
        kept: which revisions are kept, in words.
        labels: who labels the pairs of RL-CAI, in words.
        rules: of revision, beside those that all arms share.
        accept: whether the base must prefer a revision in both orders.
        judge: who labels: `CRITICS`, or the base as a judge of pairs.
        helpful: weight of the principle of that name; the town's constitution has 3, the others 1.
    """

    kept: str
    labels: str
    rules: dict[str, Any]
    accept: bool
    judge: str
    helpful: float = 3.0


THE_BASE = "base"
"""The judge's name where the shipped base compares answers itself."""

_EVERY: dict[str, Any] = {"clean": None, "keep": "last"}
ARMS = {
    "critics label": Arm("every revision, four rounds", "critics", _EVERY, False, CRITICS),
    "judge labels": Arm("every revision, four rounds", "judge of pairs", _EVERY, False, THE_BASE),
    "best kept": Arm("the best by the critics", "critics", {}, False, CRITICS),
    "both orders": Arm("what the judge prefers in both orders", "critics", {}, True, CRITICS),
    "even weights": Arm("every revision, by principles of one weight", "critics", _EVERY, False, CRITICS, 1.0),
}


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything; the defaults take some minutes of one core for three seeds.

    Attributes:
        held_out: prompts of the test split that every model answers.
        prompts: prompts whose answers are revised, and that the tuned model answers twice.
        epochs: passes over the demonstrations, and over the pairs.
    """

    held_out: int = 300
    prompts: int = 400
    epochs: int = 2


class Stage(msgspec.Struct, frozen=True):
    """A model on the held-out prompts of all seeds, by the oracle.

    Attributes:
        axes: mean of every axis, clustered by prompt.
        change: of every axis since the base.
        last: of every axis since the stage before; nothing for the first.
    """

    axes: dict[str, Estimate]
    change: dict[str, Estimate]
    last: dict[str, Estimate]


class ArmFound(msgspec.Struct, frozen=True):
    """What one arm came to, over the seeds.

    Attributes:
        arm: which.
        answers: that were revised, and of which another than the first was kept.
        outcomes: of all rounds.
        revised: by the oracle, every axis of the first answers, and its change by revision.
        principles: how far each is kept by the critics; nothing where they do not score.
        sl, rl: the model after either stage.
        by_seed: for each seed, the change of every axis from the base to RL-CAI.
    """

    arm: Arm
    answers: tuple[int, int]
    outcomes: dict[str, int]
    revised: dict[str, tuple[Estimate, Estimate]]
    principles: dict[str, Kept]
    sl: Stage
    rl: Stage
    by_seed: list[dict[str, float]]


class ConstitutionStudy(msgspec.Struct, frozen=True):
    """What the study found.

    Attributes:
        command: that repeats it.
        seeds: how many.
        scale: how much of everything.
        margin: how far helpfulness may fall.
        base: the shipped base on the held-out prompts.
        arms: by name.
        edit: what the weight of the principle "helpful" does to the critics' labels, against the oracle's, on the first
            seed's answers after SL-CAI.
    """

    command: str
    seeds: int
    scale: Scale
    margin: float
    base: dict[str, Estimate]
    arms: dict[str, ArmFound]
    edit: ConstitutionComparison
