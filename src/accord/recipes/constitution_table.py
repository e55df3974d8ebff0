"""What revising came to, as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from accord.data.show import printable
from accord.recipes.constitution import Kept, Summary
from accord.recipes.judge_table import interval

_OUTCOMES = {
    "taken": "revisions taken",
    "refused": "not preferred in both orders",
    "unjudged": "without a readable judgement",
    "unreadable": "no revision could be read",
    "unchanged": "the same answer again",
}
_ENDS = {
    "clean": "keep every principle",
    "stalled": "gained no more",
    "unchanged": "could not be improved by any principle",
    "rounds": "took all rounds",
}


def render(summary: Summary) -> Iterator[RenderableType]:
    """The counts, and each principle before and after."""
    table = Table("answers", f"{summary.answers:,}", title=summary.constitution[0], title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("changed", f"{summary.changed:,}")
    for name, count in summary.outcomes.items():
        if count:
            table.add_row(_OUTCOMES[name], f"{count:,}")
    for name, count in summary.ends.items():
        table.add_row(_ENDS[name], f"{count:,}")
    yield table
    if summary.principles:
        yield principles_table(summary.principles)
    unread, scores = summary.unread
    if unread:
        yield printable(f"Note: {unread:,} of {scores:,} scores of critics could not be read.", style="yellow")
    if summary.review:
        yield printable(f"Note: critics disagree on {summary.review:,} answers; look at them.", style="yellow")


def principles_table(principles: dict[str, Kept]) -> Table:
    """The share of answers that keep each principle, by the critics."""
    table = Table("principle", "before", "after", "change", title="Kept, by the critics", title_justify="left")
    for name, kept in principles.items():
        table.add_row(printable(name), interval(kept.before), interval(kept.after), interval(kept.difference))
    return table
