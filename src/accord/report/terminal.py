"""A run's verdict and table for the terminal. Untrusted text is shown as text, never as mark-up or escape sequences."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accord.report.reading import Run, read_run
from accord.report.text import clean
from accord.report.verdict import Kind
from accord.report.view import RunView, view_run

_STYLES: dict[Kind, str] = {"better": "bold green", "worse": "bold red", "not distinguishable": "bold", "none": "bold"}
_VERDICT_STYLES = {"better": "green", "worse": "red"}


def print_summary(run: Run | str | Path, console: Console) -> None:
    """Print the verdict in a sentence, the table by axis and the titles of what to worry about.

    Raises:
        DataError: the path is no run directory.
    """
    read = run if isinstance(run, Run) else read_run(run)
    view = view_run(read, read.name)
    console.print(_text(view.headline.sentence, _STYLES[view.headline.kind]))
    for detail in view.headline.details:
        console.print(_text(detail, "dim"))
    if view.axes:
        console.print(_table(view))
    for concern in view.concerns:
        style = "red" if concern.severity == "serious" else "yellow"
        console.print(_text("! ", style) + _text(concern.title) + _text(f": {concern.text}", "dim"))


def _table(view: RunView) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("axis")
    for column in view.columns:
        table.add_column(_text(column), justify="right")
    table.add_column("difference", justify="right")
    table.add_column("95% interval")
    table.add_column("verdict")
    for row in view.axes:
        table.add_row(
            _text(f"{row.axis} {row.unit}".strip(), "bold" if row.primary else ""),
            *(_text(mean) for _, mean, _ in row.models),
            _text(row.difference),
            _text(row.difference_interval, "dim"),
            _text(row.verdict, _VERDICT_STYLES.get(row.verdict, "dim")),
        )
    return table


def _text(content: str, style: str = "") -> Text:
    return Text(clean(content), style=style)
