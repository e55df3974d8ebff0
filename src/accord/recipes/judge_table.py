"""What judging came to, as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from accord.data.show import printable
from accord.evaluate.statistics import UNBOUNDED
from accord.recipes.judge import Judged
from accord.recipes.judge_audit import JudgeAudit, concerns
from accord.record import Estimate


def render(judged: Judged, *, whole: bool = False) -> Iterator[RenderableType]:
    """The summary; with `whole`, the controls and the principles as well."""
    found = judged.audit
    yield _summary(found)
    if whole and found.controls:
        yield _controls(found)
    if whole and found.principles:
        yield _principles(found)
    if judged.temperature is not None:
        yield printable(f"Log-odds are divided by {judged.temperature:.2f}, as the labelled pairs have it.")
    for concern in concerns(found):
        yield printable(f"Note: {concern}", style="yellow")
    if found.accuracy is None:
        yield Text("Nobody else has judged these pairs: whether the judge is right is not known.", style="dim")


def interval(estimate: Estimate | None) -> str:
    """A mean with its interval."""
    if estimate is None:
        return "–"
    if estimate.high >= UNBOUNDED:
        return f"{_number(estimate.mean)} (unknown)"
    return f"{_number(estimate.mean)} ({_number(estimate.low)} to {_number(estimate.high)})"


def rows_of(found: JudgeAudit) -> list[tuple[str, str, str]]:
    """What the audit found: name, number with its interval, and what a judge without fault would have."""
    given = [
        ("pairs with a verdict", f"{found.judged:,} of {found.pairs:,}", "all"),
        ("same winner in both orders", interval(found.consistency), "1"),
        ("probability of what stands first", interval(found.first_shown), "0.5"),
        ("confidence", interval(found.confidence), "its accuracy"),
        ("length slope", interval(found.length_slope), "0, if length is no merit"),
        ("length slope, gold equal", interval(found.length_slope_given_gold), "0"),
        ("agreement with gold", interval(found.accuracy), "1"),
        ("Cohen's kappa with gold", interval(found.kappa), "1"),
        ("calibration error", "–" if found.ece is None else _number(found.ece), "0"),
        ("temperature that gold asks for", "–" if found.temperature is None else _number(found.temperature), "1"),
    ]
    if found.own is not None:
        given.append((f"preference for {found.own} beyond merit", interval(found.self_preference), "0"))
    return [row for row in given if row[1] != "–"]


def _summary(found: JudgeAudit) -> Table:
    table = Table("judge", str(printable(found.judge)), "without fault")
    for name, value, ideal in rows_of(found):
        table.add_row(printable(name), value, Text(ideal, style="dim"))
    return table


def _controls(found: JudgeAudit) -> Table:
    table = Table("control", "agreement with gold", "the judge's lead")
    for name, control in found.controls.items():
        table.add_row(name, interval(control.accuracy), interval(control.lead))
    return table


def _principles(found: JudgeAudit) -> Table:
    table = Table("principle", "agreement with gold", "same winner as all", "same winner in both orders", "unread")
    for name, one in found.principles.items():
        table.add_row(
            printable(name),
            interval(one.accuracy),
            interval(one.with_all),
            interval(one.consistency),
            f"{one.unread:.0%}",
        )
    return table


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
