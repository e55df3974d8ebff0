"""`accord compare`: evaluations of two models or more, or their answers, as one page with one verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from accord.chat.types import Progress
from accord.data import read
from accord.errors import ConfigError, DataError
from accord.evaluate.comparing import compare_models
from accord.evaluate.gate import Conditions, gate
from accord.evaluate.pairing import by_task, pair
from accord.evaluate.power import detectable, items_needed, spread
from accord.evaluate.summary import MEAN
from accord.feedback.judge.pair import PairJudge
from accord.recipes.compare_answers import compare_answers, join_answers
from accord.record import Group
from accord.record.compared import Finding, ModelsComparison
from accord.record.measurement import Measurement
from accord.record.measurement_files import NAME, measurements_in, read_measurement

SAMPLES = (1, 2, 4, 8)
"""Answers to a question that a plan is made for."""


@dataclass(frozen=True)
class Source:
    """One argument of the command: a model's measurements, or Groups with answers.

    Attributes:
        path: as it was given.
        name: what the model is called.
        measurements: of one model, a task each; empty for answers.
        groups: with answers; empty for measurements.
    """

    path: Path
    name: str
    measurements: tuple[Measurement, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Planned:
    """How many items would show an effect on one axis.

    Attributes:
        task, axis: which.
        effect: the difference to be seen.
        items: questions needed, by answers a question; with a pilot that answered each once, of one answer alone.
        pilot: questions that the spread was learned from.
    """

    task: str
    axis: str
    effect: float
    items: dict[int, int]
    pilot: int


def read_sources(
    paths: Sequence[str],
    *,
    names: Sequence[str] = (),
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
) -> list[Source]:
    """What the arguments hold.

    Args:
        paths: directories with measurements below them, measurement files, or data with answers.
        names: what the models are called; by default the directories or files.
        columns, split, limit: how data are read.

    Raises:
        ConfigError: another number of names than of paths.
        DataError: a path holds neither, or a measurement that cannot be read.
    """
    if names and len(names) != len(paths):
        raise ConfigError(f"{len(names)} names for {len(paths)} models", where="--names", mend="Name each, in order.")
    called = list(names) or _distinct([Path(path) for path in paths])
    sources = []
    for text, name in zip(paths, called, strict=True):
        path = Path(text)
        if _is_measured(path):
            sources.append(Source(path, name, tuple(read_measurement(file) for file in measurements_in(path))))
        else:
            groups = read([text], columns=columns, split=split).groups[:limit]
            sources.append(Source(path, name, (), tuple(groups)))
    return sources


def compare_sources(
    sources: Sequence[Source],
    *,
    judge: PairJudge | None = None,
    primary: Sequence[str] = (),
    despite: Collection[str] = (),
    conditions: Conditions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelsComparison:
    """Compare what was read: measurements with measurements, or answers with answers.

    Args:
        sources: a model each; data may hold several models.
        judge: who compares answers.
        primary, despite: as for `compare_measurements`.
        conditions: of a regression gate, for two models.
        seed: of the ratings' bootstrap.
        progress: told how many pairs are judged.

    Raises:
        ConfigError: measurements beside answers, a judge or settings that have no effect, or a gate of more than two.
        DataError: too little to compare.
    """
    answers = [source for source in sources if source.groups]
    if answers and len(answers) < len(sources):
        mend = "Give evaluations of all, or answers of all."
        raise ConfigError("measurements cannot be compared with answers", where=str(answers[0].path), mend=mend)
    if answers:
        if despite or primary:
            flag = "--despite" if despite else "--primary"
            raise ConfigError("has no effect on answers, which are compared by wins alone", where=flag)
        joined = join_answers([(source.name, source.groups) for source in answers])
        found = compare_answers(joined, judge, seed=seed, progress=progress)
    else:
        if judge is not None:
            mend = "Give files with answers, or leave it out."
            raise ConfigError(
                "has no effect on measurements, whose tasks have their own judge", where="--judge", mend=mend
            )
        measured = {source.name: source.measurements for source in sources}
        found = compare_models(measured, primary=primary, despite=despite)
    if conditions is None:
        return found
    if len(found.pairs) != 1:
        mend = "Name the old model and the new one."
        raise ConfigError(f"a gate decides between two models, not {len(found.models)}", where="--gate", mend=mend)
    return replace(found, gate=gate(found.pairs[0], conditions))


def plan(
    sources: Sequence[Source],
    effect: float,
    *,
    power: float = 0.8,
    primary: Sequence[str] = (),
    despite: Collection[str] = (),
) -> list[Planned]:
    """How many items would show a difference on the primary axes, by the spread that two measurements have.

    Of a mean, by Miller's formula, with what repeated answers would save where the pilot has any; of any other
    statistic, by the width of its interval, which shrinks with the root of the items.

    Raises:
        ConfigError: not two measured models, no effect, or a power not between 0 and 1.
        DataError: as for `accord.evaluate.power.items_needed` and `spread`.
    """
    if len(sources) != 2 or any(not source.measurements for source in sources):
        raise ConfigError(
            "is made from the evaluations of two models", where="--plan", mend="Measure both on a few items."
        )
    if not effect > 0 or not 0 < power < 1:
        mend = "Give the difference to be seen, and a power such as 0.8."
        raise ConfigError(
            f"no plan for a difference of {effect:g} at power {power:g}", where="--plan, --power", mend=mend
        )
    measured = {source.name: source.measurements for source in sources}
    found = compare_models(measured, primary=primary, despite=despite).pairs[0]
    before, after = (by_task(source.measurements, source.name) for source in sources)
    tests = len(found.primary)
    planned = []
    for finding in found.primary:
        items = pair(before[finding.task], after[finding.task], despite=despite).items
        axis = next(one for one in before[finding.task].axes if one.name == finding.comparison.axis)
        if axis.statistic == MEAN:
            pilot = spread(axis, *items)
            needed = {
                count: items_needed(
                    effect,
                    between=pilot.between,
                    within=pilot.within,
                    samples=(count, count),
                    power=power,
                    tests=tests,
                )
                for count in (SAMPLES if pilot.repeated else SAMPLES[:1])
            }
            planned.append(Planned(finding.task, axis.name, effect, needed, pilot.items))
        else:
            planned.append(_planned_by_width(finding, effect, power=power, tests=tests))
    return planned


def _planned_by_width(finding: Finding, effect: float, *, power: float, tests: int) -> Planned:
    change = finding.comparison.difference
    shown = detectable(change, power=power, tests=tests)
    if shown is None:
        raise DataError(f"no number of items can be planned for {finding.comparison.axis!r} from {change.n} items")
    needed = max(2, math.ceil(change.n * (shown / effect) ** 2))
    return Planned(finding.task, finding.comparison.axis, effect, {1: needed}, change.n)


def plan_lines(planned: Sequence[Planned]) -> Iterator[str]:
    """A plan in words, a line an axis."""
    for one in planned:
        ways = "; ".join(
            f"{items:,} with {count} answer{'s' if count > 1 else ''} each" for count, items in one.items.items()
        )
        yield (
            f"{one.task}/{one.axis}: to see a difference of {one.effect:g}, questions needed: {ways} "
            f"(by the spread of {one.pilot:,})."
        )


def page_of(sources: Sequence[Source], out: str | None) -> Path:
    """Where the page goes: as told, else `compare.html` beside the first source."""
    return Path(out) if out is not None else sources[0].path.resolve().parent / "compare.html"


def _is_measured(path: Path) -> bool:
    """Whether a path is one of measurements, or of a run that should hold some, rather than data."""
    if not path.is_dir():
        return path.name == NAME
    run = any((path / name).exists() for name in ("config.toml", "metrics.jsonl", "evaluation.json"))
    return run or next(path.rglob(NAME), None) is not None


def _distinct(paths: Sequence[Path]) -> list[str]:
    """Names by which paths are told apart: the last part, or as much more as it takes."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        mend = "Name two models."
        raise ConfigError("the same path is given twice", where=str(paths[0]), mend=mend)
    named = [
        path.parent if path.name == NAME else path.with_suffix("") if path.is_file() else path for path in resolved
    ]
    most = max(len(path.parts) for path in named)
    for depth in range(1, most + 1):
        names = ["/".join(path.parts[-depth:]) for path in named]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
