"""A run's verdict and table for the terminal. Untrusted text is shown as text, never as mark-up or escape sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accord.report.reading import Run, read_run
from accord.report.text import clean
from accord.report.verdict import Kind
from accord.report.view import AxisRow, view_run

STYLES: dict[Kind, str] = {
    "better": "bold green",
    "worse": "bold red",
    "not distinguishable": "bold",
    "trade-off": "bold yellow",
    "none": "bold",
}
"""How a verdict is printed."""

_VERDICT_STYLES = {"better": "green", "worse": "red"}
_SHORT = {"not distinguishable": "≈"}


def print_summary(run: Run | str | Path, console: Console) -> None:
    """Print the verdict in a sentence, the table by axis and the titles of what to worry about.

    Raises:
        DataError: the path is no run directory.
    """
    read = run if isinstance(run, Run) else read_run(run)
    view = view_run(read, read.name)
    console.print(plain(view.headline.sentence, STYLES[view.headline.kind]))
    for detail in view.headline.details:
        console.print(plain(detail, "dim"))
    if view.axes:
        print_axes(view.axes, view.columns, console)
    for concern in view.concerns:
        style = "red" if concern.severity == "serious" else "yellow"
        console.print(plain("! ", style) + plain(concern.title) + plain(f": {concern.text}", "dim"))


def print_axes(rows: Sequence[AxisRow], columns: Sequence[str], console: Console) -> None:
    """Print the fullest table that fits: the stages in between go last, after the long word of the verdict."""
    ends = (columns[0], columns[-1])
    for shown, words in ((columns, {}), (columns, _SHORT), (ends, _SHORT)):
        table = _table(rows, shown, words)
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
    console.print(table)
    if words and any(row.verdict in words for row in rows):
        console.print(plain("≈ not distinguishable: the interval includes zero", "dim"))


def plain(content: str, style: str = "") -> Text:
    """Untrusted text, visible and without effect."""
    return Text(clean(content), style=style)


def _table(rows: Sequence[AxisRow], columns: Sequence[str], words: Mapping[str, str]) -> Table:
    """The table by axis with the given models; `words` replaces words of the verdict."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("axis", overflow="fold")
    for column in columns:
        table.add_column(plain(column), justify="right", no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        means = {column: mean for column, mean, _ in row.models}
        table.add_row(
            plain(f"{row.axis} {row.unit}".strip(), "bold" if row.primary else ""),
            *(plain(means[column]) for column in columns),
            plain(row.difference),
            plain(row.difference_interval, "dim"),
            plain(words.get(row.verdict, row.verdict), _VERDICT_STYLES.get(row.verdict, "dim")),
        )
    return table
