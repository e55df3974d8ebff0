"""What the page, the Markdown and the terminal show of several models compared: computed once, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accord.record import Comparison, Estimate
from accord.record.compared import AxisStandings, Example, Finding, Gate, ModelsComparison, PairComparison
from accord.record.ratings import Ratings
from accord.report.compared_verdict import axis_name, pair_headline
from accord.report.text import brief_number, decimals_of, figure, interval, one_line
from accord.report.verdict import Headline, judge_facts
from accord.report.view import AxisRow, Mark, axis_row, reaches

_COLUMNS = ("before", "after")


@dataclass(frozen=True)
class SliceTable:
    """One axis by the values of one slice."""

    title: str
    slice: str
    rows: tuple[AxisRow, ...]
    primary: bool


@dataclass(frozen=True)
class ControlRow:
    """What a degenerate model gets on an axis, beside the two models."""

    axis: str
    control: str
    value: str
    interval: str
    models: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ExampleView:
    """An item behind the verdict, with the answers side by side."""

    title: str
    prompt: str
    answers: tuple[tuple[str, str, Mapping[str, float]], ...]
    gained: bool


@dataclass(frozen=True)
class PairView:
    """One model against the first."""

    name: str
    headline: Headline
    columns: tuple[str, str]
    axes: tuple[AxisRow, ...]
    leading: tuple[AxisRow, ...]
    slices: tuple[SliceTable, ...]
    controls: tuple[ControlRow, ...]
    gains: tuple[ExampleView, ...]
    losses: tuple[ExampleView, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RatingRow:
    """One model among all."""

    rank: int
    model: str
    rating: str
    interval: str
    styled: str
    wins: str
    mark: Mark | None


@dataclass(frozen=True)
class StandingRow:
    """All models on one axis: number, interval and rank of each."""

    axis: str
    unit: str
    direction: str
    primary: bool
    models: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class CheckRow:
    """One condition of the gate."""

    axis: str
    condition: str
    change: str
    outcome: str
    message: str


@dataclass(frozen=True)
class ComparedView:
    """Several models, ready to be shown."""

    title: str
    models: tuple[str, ...]
    pairs: tuple[PairView, ...]
    gate: tuple[CheckRow, ...]
    accepted: bool | None
    ratings: tuple[RatingRow, ...]
    rating_notes: tuple[str, ...]
    standings: tuple[StandingRow, ...]
    facts: tuple[tuple[str, str], ...]
    judge: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def view_comparison(compared: ModelsComparison) -> ComparedView:
    """Everything that is shown of a comparison."""
    names = tuple(one_line(name, 60) for name in compared.models)
    title = f"{names[1]} against {names[0]}" if len(names) == 2 else f"{len(names)} models compared"
    return ComparedView(
        title=title,
        models=names,
        pairs=tuple(_pair(pair) for pair in compared.pairs),
        gate=tuple(_checks(compared.gate)) if compared.gate else (),
        accepted=compared.gate.accept if compared.gate else None,
        ratings=_ratings(compared.ratings, compared.style_ratings) if compared.ratings else (),
        rating_notes=tuple(_rating_notes(compared)),
        standings=tuple(_standing(one, len(compared.tasks) > 1) for one in compared.standings),
        facts=tuple(_facts(compared)),
        judge=judge_facts(compared.judge),
        notes=tuple(one_line(note, 600) for note in compared.notes),
    )


def _pair(pair: PairComparison) -> PairView:
    columns = (one_line(pair.before, 40), one_line(pair.after, 40))
    if columns[0] == columns[1]:
        columns = (f"{columns[0]} (first)", f"{columns[1]} (second)")
    rows = tuple(
        _rows([(axis_name(one, pair), one.comparison, _verdict(one), one.primary) for one in pair.findings], columns)
    )
    leading = [
        row
        for row, one in zip(rows, pair.findings, strict=True)
        if one.primary or (pair.verdict == "trade-off" and one.verdict in ("better", "worse"))
    ]
    examples = [(_example(one, pair), one.gain > 0) for one in pair.examples]
    return PairView(
        name=f"{columns[1]} against {columns[0]}",
        headline=pair_headline(pair),
        columns=columns,
        axes=rows,
        leading=tuple(leading[:4]),
        slices=tuple(_slices(pair, columns)),
        controls=tuple(row for one in pair.findings for row in _controls(one, pair)),
        gains=tuple(one for one, gained in examples if gained),
        losses=tuple(one for one, gained in examples if not gained),
        notes=tuple(one_line(note, 600) for note in pair.notes),
    )


def _rows(found: Sequence[tuple[str, Comparison, str, bool]], columns: tuple[str, str]) -> Iterator[AxisRow]:
    """Rows with a name, the verdict after adjustment, and the models' own names."""
    scale = reaches([comparison for _, comparison, _, _ in found])
    for name, comparison, verdict, primary in found:
        row = axis_row(comparison, _COLUMNS, primary, scale.get(comparison.unit, 0.0))
        models = tuple((column, *ends[1:]) for column, ends in zip(columns, row.models, strict=True))
        yield replace(row, axis=name, verdict=verdict, models=models)


def _verdict(finding: Finding) -> str:
    return finding.verdict or "neutral"


def _slices(pair: PairComparison, columns: tuple[str, str]) -> Iterator[SliceTable]:
    for finding in pair.findings:
        for name in dict.fromkeys(one.slice for one in finding.slices):
            found = [
                (one_line(one.value, 60), one.comparison, one.verdict or "neutral", False)
                for one in finding.slices
                if one.slice == name
            ]
            rows = tuple(replace(row, description="", direction="") for row in _rows(found, columns))
            title = f"{axis_name(finding, pair)} by {one_line(name, 40)}"
            yield SliceTable(title, one_line(name, 40), rows, finding.primary)


def _controls(finding: Finding, pair: PairComparison) -> Iterator[ControlRow]:
    unit = finding.comparison.unit
    both = (finding.comparison.before, finding.comparison.after)
    models = tuple(
        (one_line(name, 40), figure(one.mean, decimals_of(one, unit)))
        for name, one in zip((pair.before, pair.after), both, strict=True)
    )
    for name, control in finding.controls.items():
        value = figure(control.mean, decimals_of(control, unit))
        yield ControlRow(axis_name(finding, pair), one_line(name, 80), value, interval(control, unit), models)


def _example(example: Example, pair: PairComparison) -> ExampleView:
    moved = f"{figure(example.gain, 2, signed=True)} on {one_line(example.axis, 60)}"
    return ExampleView(
        title=f"{one_line(example.item, 60)}: {moved}",
        prompt=example.prompt,
        answers=(
            (one_line(pair.before, 40), "\n\n".join(example.before), example.values_before),
            (one_line(pair.after, 40), "\n\n".join(example.after), example.values_after),
        ),
        gained=example.gain > 0,
    )


def _checks(gate: Gate) -> Iterator[CheckRow]:
    for check in gate.checks:
        condition = (
            f"must not lose more than {check.margin:g}"
            if check.kind == "guard"
            else f"must gain more than {check.margin:g}"
            if check.margin
            else "must gain"
        )
        change = f"{brief_number(check.gain.mean)} ({_limits(check.gain)})"
        yield CheckRow(one_line(check.axis, 80), condition, change, check.outcome, one_line(check.message, 400))


def _limits(estimate: Estimate) -> str:
    return interval(estimate, signed=True)


def _ratings(ratings: Ratings, styled: Ratings | None) -> tuple[RatingRow, ...]:
    ends = [abs(end - 1000) for one in ratings.models for end in (one.rating.low, one.rating.high) if abs(end) < 1e300]
    reach = max(ends, default=0.0)
    return tuple(
        RatingRow(
            rank=one.rank,
            model=one_line(one.model, 60),
            rating=figure(one.rating.mean, 0),
            interval=_points(one.rating),
            styled="" if styled is None else _styled(styled, one.model),
            wins=f"{brief_number(one.wins)} of {brief_number(one.contests)}",
            mark=_rating_mark(one.rating, reach),
        )
        for one in ratings.models
    )


def _styled(ratings: Ratings, model: str) -> str:
    one = ratings.of(model)
    return f"{figure(one.rating.mean, 0)} ({_points(one.rating)})"


def _points(estimate: Estimate) -> str:
    if estimate.high >= 1e300:
        return "no interval from one prompt"
    return f"{figure(estimate.low, 0)} to {figure(estimate.high, 0)}"


def _rating_mark(estimate: Estimate, reach: float) -> Mark | None:
    if not reach or estimate.high >= 1e300:
        return None
    low, mean, high = (50 + 46 * (end - 1000) / reach for end in (estimate.low, estimate.mean, estimate.high))
    return Mark(low, mean, high, f"{figure(estimate.mean, 0)}, 95% interval {_points(estimate)}")


def _rating_notes(compared: ModelsComparison) -> Iterator[str]:
    if compared.ratings is None:
        return
    yield (
        f"Bradley-Terry ratings over {compared.ratings.clusters:,} prompts, {compared.ratings.intervals}; 400 points "
        "more win ten times as often as they lose. A rank counts the models whose whole interval lies above."
    )
    for name, slope in compared.style_ratings.style.items() if compared.style_ratings else ():
        if slope.low > 0 or slope.high < 0:
            more = f"{'more' if slope.mean > 0 else 'fewer'} {one_line(name, 40)}"
            size = f"{brief_number(slope.mean)} log-odds for a usual difference"
            yield f"Answers with {more} win, whoever wrote them ({size})."


def _standing(one: AxisStandings, several: bool) -> StandingRow:
    directions = {True: "higher is better", False: "lower is better", None: "neither better nor worse"}
    return StandingRow(
        axis=one_line(f"{one.task}/{one.axis}" if several else one.axis, 80),
        unit="" if one.unit == "share" else one_line(one.unit, 40),
        direction=directions[one.higher_is_better],
        primary=one.primary,
        models=tuple(
            (
                figure(place.estimate.mean, decimals_of(place.estimate, one.unit)),
                interval(place.estimate, one.unit),
                f"rank {place.rank}" if place.rank else "",
            )
            for place in one.standings
        ),
    )


def _facts(compared: ModelsComparison) -> Iterator[tuple[str, str]]:
    for name, identity in zip(compared.models, compared.identities, strict=True):
        if identity:
            yield one_line(name, 60), one_line(identity, 120)
    for task, settings in compared.settings.items():
        for key, value in _flat(settings):
            yield one_line(f"{task}, {key}" if len(compared.tasks) > 1 else key, 80), one_line(str(value), 200)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}, ")
        else:
            yield f"{prefix}{key}", value
