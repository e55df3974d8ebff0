"""The doctor's report on a terminal. All text of the data is shown as text: no markup, no control characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from accord.data.problems import references
from accord.data.report import DataReport

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_PART_STYLES = {"prompt": "dim", "context": "dim", "trained": "bold green"}
_LONGEST_SEGMENT = 1500
_PLACES_SHOWN = 20


def render(report: DataReport) -> RenderableType:
    """Everything in the report, as a rich renderable."""
    return Stack(*_parts(report))


def _parts(report: DataReport) -> Iterator[RenderableType]:
    yield _formats(report)
    yield _summary(report)
    if report.lengths:
        yield _lengths(report)
    if report.findings:
        yield from _findings(report)
    if report.example:
        yield _example(report)
    for note in report.notes:
        yield printable(f"Note: {note}")


def _formats(report: DataReport) -> Table:
    table = Table("file", "format", "why", "groups", title="What was found", title_justify="left")
    table.columns[0].overflow = "fold"
    table.columns[3].justify = "right"
    for found in report.formats:
        table.add_row(printable(found.path), printable(found.name), printable(found.why), f"{found.groups:,}")
    return table


def _summary(report: DataReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("rows", f"{report.rows:,}: {_counts(report.kinds)}")
    table.add_row("used", f"{report.kept:,}")
    if report.dropped:
        table.add_row("left out", Text(_counts(report.dropped), style="yellow"))
    if report.responses_removed:
        table.add_row("responses removed", Text(_counts(report.responses_removed), style="yellow"))
    if report.responses_cut:
        table.add_row("responses cut", Text(f"{report.responses_cut:,}", style="yellow"))
    if report.max_length is not None:
        does = "left out" if report.overlong == "drop" else "cut"
        table.add_row("longest", f"{report.max_length:,} tokens; what is longer is {does}")
    if report.trained_tokens is not None:
        table.add_row("trained tokens", f"{report.trained_tokens:,}")
    bias = report.length_bias
    if bias is not None:
        interval = f"{bias.low:.0%} to {bias.high:.0%}"
        wins = f"in {bias.longer_wins:.0%} of {bias.pairs:,} pairs (95% interval {interval}, lengths in {bias.unit})"
        table.add_row("longer wins", Text(wins, style="yellow" if bias.low > 0.5 or bias.high < 0.5 else ""))
    for name, fact in report.encoder.items():
        table.add_row(name.replace("_", " "), printable(fact))
    return table


def _lengths(report: DataReport) -> Table:
    table = Table("length", "mean", "median", "90%", "99%", "longest", title="Lengths", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, spread in report.lengths.items():
        values = (spread.median, spread.p90, spread.p99, spread.longest)
        table.add_row(name, f"{spread.mean:,.1f}", *(f"{value:,.0f}" for value in values))
    return table


def _findings(report: DataReport) -> Iterator[Text]:
    """A finding a paragraph: what, how often, where; a table would cut the places short."""
    yield Text("Findings", style="italic")
    for finding in report.findings:
        title = Text(f"{finding.kind} ({finding.count:,})", style=_SEVERITY_STYLES[finding.severity])
        yield title.append_text(printable(f": {finding.message}", style="default"))
        if finding.places:
            places = references(finding.places, limit=_PLACES_SHOWN, total=finding.count)
            yield printable(f"    {places}", style="dim")


def _example(report: DataReport) -> Panel:
    text = Text()
    for segment in report.example:
        text.append_text(printable(_shortened(segment.text), style=_PART_STYLES[segment.part]))
    return Panel(text, title="An example: trained tokens in green", title_align="left")


def _shortened(text: str) -> str:
    half = _LONGEST_SEGMENT // 2
    return text if len(text) <= _LONGEST_SEGMENT else f"{text[:half]} [...] {text[-half:]}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def printable(text: str, style: str = "") -> Text:
    r"""Text with everything that a terminal could obey spelled out (`\x1b`); line breaks and tabs stay."""
    return Text("".join(one if _is_harmless(one) else ascii(one)[1:-1] for one in text), style=style)


def _is_harmless(character: str) -> bool:
    # Cc holds the control characters, with which escape sequences start; Cf invisible formatting, among it the signs
    # that reverse the direction of writing. The joiners U+200C and U+200D belong to scripts and emoji.
    return character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
