"""Measurements as tables and sentences for the terminal, and the list of suites."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from accord.data.show import printable
from accord.evaluate.suites.registry import SUITES, suite_function
from accord.feedback.function import options_of
from accord.record import Estimate
from accord.record.measurement import Axis, Measurement
from accord.report.text import decimals_of, figure, interval

SLICES = 12
"""Values of a slice that are shown; the file has all."""


def render(found: Measurement) -> Iterator[RenderableType]:
    """A measurement: its axes beside what degenerate models get, its first axis by slice, its notes."""
    yield _axes(found)
    shown = [axis for axis in found.axes if axis.name in found.estimates]
    for name, values in found.slices.items():
        yield _by_slice(name, values, shown[0])
    for concern in concerns(found):
        yield printable(f"Note: {concern}", style="yellow")
    for note in found.notes:
        yield printable(note, style="dim")


def concerns(found: Measurement) -> list[str]:
    """What speaks against reading the first axis as an ability: degenerate models that do as well."""
    axis = next(axis for axis in found.axes if axis.name in found.estimates)
    if axis.higher_is_better is None:
        return []
    own = found.estimates[axis.name]
    reached = []
    for name, estimates in found.controls.items():
        control = estimates.get(axis.name)
        if control is not None and (control.mean >= own.low if axis.higher_is_better else control.mean <= own.high):
            reached.append(f"{name} ({_number(control, axis)})")
    if not reached:
        return []
    return [f"{axis.name} of {_number(own, axis)} is not clearly better than that of {', '.join(reached)}"]


def suites_list() -> Iterator[RenderableType]:
    """The suites: what each measures and needs of the model, what it reads, its options."""
    for name, suite in SUITES.items():
        yield Text.assemble((name, "bold"), f"  {suite.says}")
        details = {"needs": suite.needs + (", and --judge" if suite.judged else ""), "reads": suite.reads}
        details["options"] = ", ".join(one.name for one in options_of(suite_function(suite)) if one.name != "judge")
        for title, text in details.items():
            if text:
                yield Padding(Text.assemble((f"{title}: ", "dim"), text), (0, 0, 0, 4))


def _axes(found: Measurement) -> Table:
    table = _table(printable(found.task).plain, "", *(Column(name, no_wrap=False) for name in found.controls))
    for axis in found.axes:
        own = found.estimates.get(axis.name)
        if own is None:
            continue
        controls = [_optional(estimates.get(axis.name), axis) for estimates in found.controls.values()]
        table.add_row(
            _name(axis), _number(own, axis), interval(own, axis.unit), f"{own.n:,}", *(Text(c, "dim") for c in controls)
        )
    return table


def _by_slice(name: str, values: dict[str, dict[str, Estimate]], axis: Axis) -> Table:
    table = _table(printable(name).plain, axis.name)
    for value, estimates in list(values.items())[:SLICES]:
        own = estimates.get(axis.name)
        if own is not None:
            table.add_row(printable(value), _number(own, axis), interval(own, axis.unit), f"{own.n:,}")
    if len(values) > SLICES:
        table.add_row(f"and {len(values) - SLICES} more", "", "", "")
    return table


def _table(first: str, second: str, *controls: Column) -> Table:
    """A table without rules whose figures stay on one line each, so that it fits a narrow terminal."""
    own = (Column(title, no_wrap=True) for title in (second, "95% interval", "items"))
    return Table(first, *own, *controls, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


def _name(axis: Axis) -> Text:
    """An axis with its direction and unit."""
    arrow = {True: " ↑", False: " ↓", None: ""}[axis.higher_is_better]
    unit = "" if axis.unit in ("share", axis.name) else f" ({axis.unit})"
    return printable(f"{axis.name}{unit}{arrow}")


def _optional(estimate: Estimate | None, axis: Axis) -> str:
    return "–" if estimate is None else _number(estimate, axis)


def _number(estimate: Estimate, axis: Axis) -> str:
    return figure(estimate.mean, decimals_of(estimate, axis.unit))
