"""What scoring with reward models came to, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from accord.feedback.calibration import Calibration
from accord.recipes.reward import BestOf, Summary
from accord.record import Estimate

FEWEST = 50
"""Comparisons below which calibration gets no verdict."""


def render(summary: Summary) -> Iterator[Table | Text]:
    """The facts in a table, and if there are several responses to choose from, what choosing would gain."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for name, value in _facts(summary):
        table.add_row(Text(name, style="dim"), Text(value))
    yield table
    if len(summary.best_of) > 1:
        yield _chosen(summary.best_of)
    if summary.cut:
        yield Text(f"Note: {summary.cut} responses did not fit into the model and were scored by what fits", "yellow")


def sentence_of(found: Calibration) -> str:
    """Calibration in a sentence, with a verdict where there are comparisons enough and mistakes among them."""
    said = (
        f"{found.confidence:.0%} sure of {found.pairs:,} comparisons and right in {found.accuracy:.0%} "
        f"(expected calibration error {found.ece:.3f}, Brier score {found.brier:.3f})"
    )
    if found.pairs < FEWEST or found.accuracy == 1:
        return said
    if 0.9 <= found.temperature <= 1.1:
        return f"{said}: well calibrated"
    kind = "too sure" if found.temperature > 1 else "not sure enough"
    return f"{said}: {kind}; rewards divided by {found.temperature:.2g} have an error of {found.ece_at_temperature:.3f}"


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    responses = sum(len(group.responses) for group in summary.groups)
    yield "scored", f"{responses:,} responses to {len(summary.groups):,} prompts"
    yield "mean score", _interval(summary.scores)
    yield "within a prompt", f"standard deviation {summary.spread:.3f}"
    if summary.disagreement is not None:
        yield "disagreement", f"{_interval(summary.disagreement)}, standard deviation between members"
    if summary.contested is not None:
        yield "contested", f"members differ on the best response to {_share(summary.contested)} of the prompts"
    if summary.step_accuracy is not None:
        yield "steps", f"{_share(summary.step_accuracy)} of {summary.step_accuracy.n:,} labelled steps judged right"
    if summary.accuracy is not None:
        yield "agreement", f"{_share(summary.accuracy)} of {summary.accuracy.n:,} preferences in the data"
    if summary.calibration is not None:
        yield "calibration", sentence_of(summary.calibration)


def _chosen(rows: list[BestOf]) -> Table:
    table = Table("best of", "mean score", "95% interval", "nats from the sampler, at most")
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        interval = f"{row.score.low:.3f} to {row.score.high:.3f}"
        table.add_row(str(row.n), f"{row.score.mean:.3f}", interval, f"{row.divergence:.2f}")
    return table


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} (95% interval {estimate.low:.3f} to {estimate.high:.3f})"


def _share(estimate: Estimate) -> str:
    return f"{estimate.mean:.0%} (95% interval {estimate.low:.0%} to {estimate.high:.0%})"
