"""`accord world constrain`: what each way to train under a constraint holds, and whether a hidden one is found.

For each seed a model is fine-tuned once. From it a policy is trained on a reward that pays for breaking a rule, without
a constraint and in each mode with the rule as one; then the rule is hidden, learned from demonstrations, and enforced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console

from accord.errors import ConfigError
from accord.evaluate.statistics import compare
from accord.feedback.permissibility import Permissibility
from accord.policy.policy import Policy
from accord.recipes.constrained_page import Learned, Mode, Study, render
from accord.recipes.constrained_run import LAGRANGIAN, Plan, SeedRun, ways
from accord.recipes.constrained_task import instructs_where_it_may, violates
from accord.recipes.inverse_constraint import THRESHOLDS
from accord.recipes.threads import one_thread
from accord.record import Group
from accord.train.progress import Display
from accord.world.base import BASE
from accord.world.cases import case_of
from accord.world.town import draw_town

HIDDEN = "hidden rule"
"""The name of the policy that is trained within the learned constraint."""


def study(
    *,
    seeds: int = 3,
    plan: Plan | None = None,
    base: str | Path = BASE,
    out: str | Path = "docs/constrained.md",
    console: Console | None = None,
) -> Study:
    """Train, measure, and write the page and its figures (JSON beside it) after each seed.

    Args:
        seeds: 0, 1, ...: each has its own start, prompts, demonstrations and sampling; held-out prompts are the same.
        plan: how much of everything.
        base: the model to start from.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, plan = Path(out), plan or Plan()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    models = seeds * (len(ways(plan)) + 1)
    command = f"accord world constrain --seeds {seeds} --out {out}"
    done: list[_Seed] = []
    with one_thread(), tempfile.TemporaryDirectory() as scratch, Display(console).bar("models", models) as bar:
        for seed in range(seeds):
            run = SeedRun(Path(scratch) / f"seed-{seed}", seed, plan, draw_town(0), str(base))
            done.append(_seed(run, lambda said: bar.advance(numbers=said)))
            result = _study(command, seeds, plan, done)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(render(result), encoding="utf-8")
            out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return result


@dataclass(frozen=True)
class _Seed:
    """What one seed gave: its answers at the start and in each mode with their seconds, and the hidden rule."""

    start: list[Group]
    answers: dict[str, list[Group]]
    seconds: dict[str, float]
    learned: Learned


def _seed(run: SeedRun, advance: Callable[[str], None]) -> _Seed:
    answers: dict[str, list[Group]] = {}
    seconds: dict[str, float] = {}
    nominal: Policy | None = None
    for way in ways(run.plan):
        policy, answers[way.name], seconds[way.name] = run.train(way)
        nominal = nominal or policy
        advance(f"{way.name}, seed {run.seed}")
    assert nominal is not None
    lagrangian = next(way for way in ways(run.plan) if way.name == LAGRANGIAN)
    constraint, answers[HIDDEN], seconds[HIDDEN] = run.infer(nominal, lagrangian)
    advance(f"{HIDDEN}, seed {run.seed}")
    judged = [*run.start, *answers[ways(run.plan)[0].name]]
    return _Seed(run.start, answers, seconds, _learned(constraint, judged))


def _study(command: str, asked: int, plan: Plan, done: Sequence[_Seed]) -> Study:
    methods = {way.name: way.method for way in ways(plan)}
    return Study(
        command=command,
        asked=asked,
        seeds=len(done),
        plan=msgspec.to_builtins(plan),
        modes=tuple(_mode(name, method, done) for name, method in methods.items()),
        learned=tuple(one.learned for one in done),
        within=_mode(HIDDEN, methods[LAGRANGIAN], done),
    )


def separation(lawful: ArrayLike, broken: ArrayLike) -> float:
    """How often a broken rule is more forbidden than a kept one, a tie counting one half: area under the ROC curve.

    >>> separation([0.1, 0.2], [0.9, 0.2])
    0.875
    """
    low, high = np.asarray(lawful)[:, None], np.asarray(broken)[None, :]
    return float(((high > low) + 0.5 * (high == low)).mean())


def _mode(name: str, method: str, done: Sequence[_Seed]) -> Mode:
    """All seeds together; prompts about the same thing are one cluster."""
    before = [group for one in done for group in one.start]
    after = [group for one in done for group in one.answers[name]]
    innocent = [place for place, group in enumerate(before) if instructs_where_it_may(group) is not None]
    keys = [case_of(group).key for group in before]
    return Mode(
        name=name,
        method=method,
        violations=compare("violations", _broken(before), _broken(after), clusters=keys, higher_is_better=False),
        helpful=compare(
            "helpful",
            [instructs_where_it_may(before[place]) or 0.0 for place in innocent],
            [instructs_where_it_may(after[place]) or 0.0 for place in innocent],
            clusters=[keys[place] for place in innocent],
        ),
        by_seed=tuple(fmean(_broken(one.answers[name])) for one in done),
        seconds=fmean(one.seconds[name] for one in done),
    )


def _broken(groups: Sequence[Group]) -> list[float]:
    return [float(violates(group)[0]) for group in groups]


def _learned(constraint: Permissibility, answered: Sequence[Group]) -> Learned:
    """The learned constraint on answers that the oracle labels."""
    permissible = np.array(constraint(answered), dtype=np.float64)[:, 0]
    costs = np.maximum(0.0, 1.0 - permissible / THRESHOLDS["classifier"])
    broken = np.array([violates(group)[0] for group in answered])
    helped = np.array([instructs_where_it_may(group) == 1.0 for group in answered])
    return Learned(
        violations=int(broken.sum()),
        lawful=int((~broken).sum()),
        separation=separation(-permissible[~broken], -permissible[broken]),
        cost_of_violations=float(costs[broken].mean()),
        cost_of_lawful=float(costs[~broken].mean()),
        cost_of_help=float(costs[helped].mean()),
    )
