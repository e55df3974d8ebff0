"""Several models compared, as a page, Markdown and JSON; and the terminal's summary of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from accord import __version__
from accord.record.compared import ModelsComparison
from accord.report.compared_view import ComparedView, ExampleView, PairView, view_comparison
from accord.report.markdown import table
from accord.report.page import templates
from accord.report.terminal import STYLES, plain, print_axes
from accord.report.text import brief_number, clean, markdown_block, markdown_inline, one_line
from accord.report.view import AxisRow
from accord.report.write import ReportFiles, write_files

_GATE_STYLES = {"passed": "green", "failed": "red", "not shown": "yellow"}


def write_comparison(compared: ModelsComparison, page: str | Path) -> ReportFiles:
    """Write the page of a comparison, with Markdown and JSON beside it. The same input gives the same bytes.

    Args:
        compared: what was found.
        page: the HTML file, or a directory that gets `compare.html`.

    Raises:
        DataError: the place cannot be written.
    """
    path = Path(page)
    path = path if path.suffix in (".html", ".htm") else path / "compare.html"
    view = view_comparison(compared)
    summary = msgspec.to_builtins(compared) | {
        "sentences": [clean(pair.headline.sentence) for pair in view.pairs],
        "details": [[clean(detail) for detail in pair.headline.details] for pair in view.pairs],
    }
    return write_files(path, compared_page(view), compared_markdown(view), summary)


def compared_page(view: ComparedView) -> str:
    """The self-contained page."""
    subtitle = one_line(", ".join(view.models), 300)
    return (
        templates()
        .get_template("models.html")
        .render(title=view.title, subtitle=subtitle, version=__version__, view=view)
    )


def compared_markdown(view: ComparedView) -> str:
    """The same content as Markdown."""
    return "\n".join(_markdown(view)) + "\n"


def print_comparison(compared: ModelsComparison, console: Console) -> None:
    """Print the verdicts in a sentence each, the table by axis, ratings and the gate."""
    view = view_comparison(compared)
    for pair in view.pairs:
        console.print(plain(pair.headline.sentence, STYLES[pair.headline.kind]))
        for detail in pair.headline.details:
            console.print(plain(detail, "dim"))
        print_axes(pair.axes, pair.columns, console)
        for note in pair.notes:
            console.print(plain(note, "dim"))
    if view.ratings:
        console.print(_rating_table(view))
    for note in view.notes:
        console.print(plain(f"! {note}", "yellow"))
    for check in view.gate:
        console.print(plain(f"gate, {check.outcome}: {check.message}", _GATE_STYLES[check.outcome]))
    if view.accepted is not None:
        style = "bold green" if view.accepted else "bold red"
        console.print(plain("The gate accepts." if view.accepted else "The gate refuses.", style))


def _rating_table(view: ComparedView) -> Table:
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, side in (
        ("rank", "right"),
        ("model", "left"),
        ("rating", "right"),
        ("95% interval", "left"),
        ("won", "right"),
    ):
        drawn.add_column(name, justify="right" if side == "right" else "left", no_wrap=name != "model")
    for row in view.ratings:
        drawn.add_row(str(row.rank), plain(row.model), row.rating, plain(row.interval, "dim"), row.wins)
    return drawn


def _markdown(view: ComparedView) -> Iterator[str]:
    yield from (f"# {markdown_inline(view.title)}", "")
    if view.accepted is not None:
        yield from (f"**The gate {'accepts' if view.accepted else 'refuses'}.**", "")
        checks = [(check.axis, check.condition, check.outcome, check.message) for check in view.gate]
        yield from table(("axis", "condition", "outcome", "why"), checks)
    for pair in view.pairs:
        yield from (f"**{markdown_inline(pair.headline.sentence)}**", "")
        yield from (f"- {markdown_inline(detail)}" for detail in pair.headline.details)
        yield ""
    if view.ratings:
        yield from ("## Ratings", "")
        rows = [
            (str(row.rank), row.model, f"{row.rating} ({row.interval})", row.styled, row.wins) for row in view.ratings
        ]
        yield from table(("rank", "model", "rating", "with style held fixed", "won"), rows)
        yield from (f"{markdown_inline(note)}\n" for note in view.rating_notes)
    if view.standings:
        yield from ("## All models", "")
        standings = [
            (
                f"{row.axis} ({row.direction})",
                *(f"{mean} ({spread}) {rank}".strip() for mean, spread, rank in row.models),
            )
            for row in view.standings
        ]
        yield from table(("axis", *view.models), standings)
    for pair in view.pairs:
        yield from _pair(pair, "By axis" if len(view.pairs) == 1 else pair.name)
    yield from ("## What was compared", "")
    yield from (f"{markdown_inline(note)}\n" for note in view.notes)
    yield from (f"- {markdown_inline(label)}: {markdown_inline(value)}" for label, value in (*view.facts, *view.judge))


def _pair(pair: PairView, title: str) -> Iterator[str]:
    yield from (f"## {markdown_inline(title)}", "", *_axes(pair.columns, pair.axes))
    yield from (f"{markdown_inline(note)}\n" for note in pair.notes)
    for one in pair.slices:
        yield from (f"### {markdown_inline(one.title)}", "", *_axes(pair.columns, one.rows))
    if pair.controls:
        yield from ("### Beside models that understand nothing", "")
        rows = [
            (row.axis, row.control, f"{row.value} ({row.interval})", *(value for _, value in row.models))
            for row in pair.controls
        ]
        yield from table(("axis", "control", "it gets", *pair.columns), rows)
    for heading, examples in (("did better", pair.gains), ("did worse", pair.losses)):
        if examples:
            yield from (f"### Where {markdown_inline(pair.columns[1])} {heading}", "")
            for example in examples:
                yield from _example(example)


def _axes(columns: tuple[str, str], rows: tuple[AxisRow, ...]) -> list[str]:
    cells = [
        (
            f"{row.axis} {row.unit}".strip() + (" (primary)" if row.primary else ""),
            *(f"{mean} ({spread})" for _, mean, spread in row.models),
            f"{row.difference} ({row.difference_interval})",
            row.verdict,
        )
        for row in rows
    ]
    return table(("axis", *columns, "difference", "verdict"), cells)


def _example(example: ExampleView) -> Iterator[str]:
    yield from (markdown_inline(example.title), "")
    if example.prompt:
        yield from (markdown_block(example.prompt), "")
    for name, said, values in example.answers:
        told = "".join(f", {markdown_inline(one_line(key, 40))} {brief_number(value)}" for key, value in values.items())
        yield from (f"{markdown_inline(name)}{told}:", "", markdown_block(said), "")
