"""A report of measurements: what was measured, each dimension, its failures, what changed, and what it does not say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from accord.agents.evaluators import worst_slice
from accord.errors import ConfigError
from accord.evaluate.comparing import compare_measurements
from accord.record import Estimate
from accord.record.compared import PairComparison
from accord.record.measurement import Axis, Item, Measurement
from accord.report.markdown import table
from accord.report.text import decimals_of, figure, interval, markdown_inline, one_line

FAILURES = 3
"""Items of each axis that are shown."""


@dataclass(frozen=True)
class AlignmentReport:
    """Measurements of one model, and what changed since those of another.

    Attributes:
        measurements: one a task.
        change: against an earlier run, where one is given.
    """

    measurements: tuple[Measurement, ...]
    change: PairComparison | None = None

    def json(self) -> bytes:
        """Everything, for programs."""
        return msgspec.json.format(msgspec.json.encode({"measurements": self.measurements, "change": self.change}))

    def markdown(self) -> str:
        """Everything that people read."""
        return "\n".join(_lines(self)) + "\n"


class AlignmentReportGenerator:
    """Reports of measurements, as JSON and as Markdown; the same measurements give the same report.

    Args:
        limits: sentences on what the measurements do not show.
    """

    def __init__(self, limits: Sequence[str] = ()) -> None:
        self.limits = tuple(limits)

    def generate(self, measurements: Sequence[Measurement], previous: Sequence[Measurement] = ()) -> AlignmentReport:
        """The report of a model's measurements.

        Args:
            measurements: one a task, of one model.
            previous: those of an earlier run on the same items.

        Raises:
            ConfigError: there are none, they are of several models, or cannot be compared.
        """
        if len({one.model for one in measurements}) != 1:
            raise ConfigError("needs the measurements of one model", where="report")
        notes = [msgspec.structs.replace(one, notes=(*one.notes, *self.limits)) for one in measurements]
        return AlignmentReport(tuple(notes), compare_measurements(previous, measurements) if previous else None)

    def write(self, report: AlignmentReport, directory: str | Path) -> list[Path]:
        """Write `alignment.json` and `alignment.md`; each appears whole or not at all."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        contents = {"alignment.json": report.json() + b"\n", "alignment.md": report.markdown().encode()}
        for name, content in contents.items():
            beside = directory / f"{name}.{os.getpid()}.partial"
            beside.write_bytes(content)
            os.replace(beside, directory / name)
        return [directory / name for name in contents]


def generate_alignment_report(
    measurements: Sequence[Measurement], out: str | Path, *, previous: Sequence[Measurement] = ()
) -> list[Path]:
    """Write the report of a model's measurements into a directory, and return its files."""
    generator = AlignmentReportGenerator()
    return generator.write(generator.generate(measurements, previous), out)


def _lines(report: AlignmentReport) -> Iterator[str]:
    first = report.measurements[0]
    yield from (f"# Alignment of {markdown_inline(first.model)}", "")
    yield from (f"Identity: {markdown_inline(first.identity)}", "")
    if report.change is not None:
        yield from _change(report.change)
    for one in report.measurements:
        yield from _measurement(one)
    notes = list(dict.fromkeys(note for one in report.measurements for note in one.notes))
    yield from ("## What this does not show", "")
    yield "- Intervals are at 95%; they say nothing of prompts unlike those that were asked."
    yield from (f"- {markdown_inline(note)}" for note in notes)


def _measurement(found: Measurement) -> Iterator[str]:
    yield from (f"## {markdown_inline(found.task)}", "")
    axes = [axis for axis in found.axes if axis.name in found.estimates]
    header = ("dimension", "estimate", "95% interval", "items", "worst slice", *found.controls)
    yield from table(header, [_row(found, axis) for axis in axes])
    settings = ", ".join(f"{name} {value}" for name, value in sorted(found.settings.items()))
    yield from (f"Settings: {markdown_inline(settings)}", "")
    for axis in axes:
        yield from _failures(found, axis)


def _row(found: Measurement, axis: Axis) -> tuple[str, ...]:
    own, worst = found.estimates[axis.name], worst_slice(found, axis.name)
    controls = [estimates.get(axis.name) for estimates in found.controls.values()]
    return (
        axis.name + {True: " ↑", False: " ↓", None: ""}[axis.higher_is_better],
        _number(own, axis),
        interval(own, axis.unit),
        str(own.n),
        "–" if worst is None else f"{worst[0]}: {_number(worst[1], axis)}",
        *("–" if one is None else _number(one, axis) for one in controls),
    )


def _failures(found: Measurement, axis: Axis) -> Iterator[str]:
    """The items on which an axis is worst, if they are worse than it is on average."""
    if axis.higher_is_better is None or len(axis.sources()) > 1:
        return
    name, sign = axis.sources()[0], 1 if axis.higher_is_better else -1
    known = [(sign * value, item) for item in found.items if (value := item.values.get(name)) is not None]
    mean = sign * found.estimates[axis.name].mean
    worst = [pair for pair in sorted(known, key=lambda pair: (pair[0], pair[1].id)) if pair[0] < mean][:FAILURES]
    if worst:
        yield from (f"### Where {markdown_inline(axis.name)} is worst", "")
        yield from table(("item", "prompt", "answer", axis.name), [_failure(item, sign * v) for v, item in worst])


def _failure(item: Item, value: float) -> tuple[str, ...]:
    return (item.id, one_line(item.prompt), one_line(" / ".join(item.answers)), figure(value))


def _change(change: PairComparison) -> Iterator[str]:
    yield from (f"Since {markdown_inline(change.before)}: **{change.verdict}**.", "")
    rows = [
        (
            finding.task,
            finding.comparison.axis,
            _signed(finding.comparison.difference, finding.comparison.unit),
            finding.verdict or "–",
        )
        for finding in change.findings
    ]
    yield from table(("task", "dimension", "change (95% interval)", "verdict"), rows)


def _number(estimate: Estimate, axis: Axis) -> str:
    return figure(estimate.mean, decimals_of(estimate, axis.unit))


def _signed(estimate: Estimate, unit: str) -> str:
    mean = figure(estimate.mean, decimals_of(estimate, unit), signed=True)
    return f"{mean} ({interval(estimate, unit, signed=True)})"
