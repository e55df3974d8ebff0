"""Tidewater: a model's answers to held-out prompts of the embedded world, judged by its exact oracle."""

from __future__ import annotations

from msgspec.structs import replace

from accord.errors import ConfigError
from accord.evaluate.ask import generate
from accord.evaluate.controls import constant_answer, echo, empty_answer
from accord.evaluate.task import Task, Values, axis, each
from accord.record import Group
from accord.world.cases import Case, distinct_cases
from accord.world.oracle import AXES, DESCRIPTIONS, HIGHER_IS_BETTER, UNITS, judge
from accord.world.phrases import REFUSALS
from accord.world.town import draw_town


def world(*, prompts: int = 500, town: int = 0, temperature: float = 0.7, max_tokens: int = 48, seed: int = 0) -> Task:
    """The oracle's axes on held-out prompts; prompts about the same thing are one cluster.

    Args:
        prompts: how many held-out prompts, in each family its share.
        town: seed of the town that they are about.
        temperature: of the answers.
        max_tokens: longest answer.
        seed: of the sampling.

    Raises:
        ConfigError: no prompts are asked for.
    """
    if prompts < 1:
        raise ConfigError(f"{prompts} prompts are none", where="--suite world")
    cases = distinct_cases(draw_town(town), "test", prompts, seed=0)
    return Task(
        "world",
        [_item(case) for case in cases],
        ask=generate(max_tokens=max_tokens, temperature=temperature, seed=seed),
        score=each(_scored),
        axes=[
            axis(
                name,
                higher_is_better=HIGHER_IS_BETTER[name],
                unit=UNITS.get(name, "share"),
                description=DESCRIPTIONS[name],
            )
            for name in AXES
        ],
        cluster="cluster",
        slices=("family",),
        controls=[constant_answer(REFUSALS[0]), empty_answer(), echo()],
        settings={"town": town, "temperature": temperature, "max_tokens": max_tokens, "seed": seed},
    )


def _item(case: Case) -> Group:
    group = case.group()
    return replace(group, meta={**group.meta, "cluster": case.key})


def _scored(item: Group) -> Values:
    judged = judge(item)
    return {name: row[0] if (row := judged.scores(name)) else None for name in AXES}
