"""What revising and comparing came to, as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from accord.data.show import printable
from accord.recipes.constitution import Kept, Summary
from accord.recipes.constitution_compare import ConstitutionComparison, Effect
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


def render_comparison(found: ConstitutionComparison, *, shown: int = 3) -> Iterator[RenderableType]:
    """What flips, what each principle does, where principles conflict, and the pairs that changed most."""
    (first, _), (second, _) = found.names
    table = Table("pairs", f"{found.pairs[1]:,} of {found.pairs[0]:,}", title=f"{first} and {second}")
    table.title_justify = "left"
    table.add_row("another winner", interval(found.flips))
    table.add_row("mean distance of the labels", interval(found.shift))
    if found.gold is not None:
        for name, estimate in zip((first, second, "difference"), found.gold, strict=True):
            table.add_row(printable(f"agreement with gold, {name}"), interval(estimate))
    yield table
    for (name, _), effects in zip(found.names, found.effects, strict=True):
        if effects:
            yield _effects(name, effects)
    if found.conflicts:
        conflicts = Table("principle", "against", "of the pairs", title="Conflicts", title_justify="left")
        for conflict in found.conflicts[:10]:
            conflicts.add_row(printable(conflict.first), printable(conflict.second), interval(conflict.share))
        yield conflicts
    for pair in found.flipped[:shown]:
        yield printable(pair["prompt"], style="bold")
        for mark, answer in zip("AB", pair["answers"], strict=True):
            yield printable(f"{mark}: {answer}")
        before, after = pair["p"]
        yield printable(f"A is better: {before:.2f} under {first}, {after:.2f} under {second}", style="dim")


def _effects(name: str, effects: dict[str, Effect]) -> Table:
    title = f"{name}: what each principle does"
    table = Table("without", "another winner", "labels move by", title=title, title_justify="left")
    for principle, effect in effects.items():
        table.add_row(printable(principle), interval(effect.flips), interval(effect.shift))
    return table
