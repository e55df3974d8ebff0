"""What choices taught of several values, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from accord.data.show import printable
from accord.evaluate.statistics import UNBOUNDED
from accord.recipes.value_fit import LEARNED, Fitted
from accord.record import Estimate


def render(fitted: Fitted) -> Iterator[RenderableType]:
    """The weights, what they foretell, the groups of annotators, and every doubt."""
    yield _weights(fitted)
    yield _held_out(fitted)
    if fitted.annotators:
        yield _annotators(fitted)
    if fitted.test is not None:
        yield _groups(fitted)
    for sentence in _sentences(fitted):
        yield printable(sentence)
    for doubt in fitted.learned.doubts:
        yield printable(f"Beware: {doubt}", style="yellow")


def shown(estimate: Estimate) -> str:
    """A number with its interval."""
    if estimate.high >= UNBOUNDED:
        return f"{_number(estimate.mean)} (unknown)"
    return f"{_number(estimate.mean)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _weights(fitted: Fitted) -> Table:
    learned = fitted.learned
    unit = "share" if learned.kind == "shares" else "log-odds a unit"
    table = Table("value", f"weight ({unit}), 95%", "by resampling", "differs by", "worth in a choice")
    table.title, table.title_justify = f"What {learned.choices:,} choices go by", "left"
    for value in learned.values:
        worth = "" if learned.kind == "shares" else _number(value.weight.mean * value.typical)
        table.add_row(
            printable(value.name),
            shown(value.weight),
            shown(fitted.bootstrap[value.name]),
            _number(value.typical),
            worth,
        )
    return table


def _held_out(fitted: Fitted) -> Table:
    table = Table("foretold by", "accuracy", "loss, nats", "learned: accuracy", "learned: loss")
    table.title, table.title_justify = "Choices on prompts that were not learned from", "left"
    for name, one in fitted.held_out.items():
        beside = ["" if other is None else shown(other) for other in (one.accuracy_beside, one.loss_beside)]
        table.add_row(printable(name), shown(one.accuracy), shown(one.loss), *beside)
    return table


def _annotators(fitted: Fitted) -> Table:
    names = [value.name for value in fitted.learned.values]
    table = Table("annotators", "choices", *names, "own weights: accuracy", "own weights: loss")
    table.title, table.title_justify = "By group", "left"
    for name, one in fitted.annotators.items():
        if one.own is None or one.own.accuracy_beside is None or one.own.loss_beside is None:
            table.add_row(printable(name), f"{one.choices:,}", *("too few" for _ in names), "", "")
            continue
        weights = [shown(one.weights[value]) for value in names]
        beside = shown(one.own.accuracy_beside), shown(one.own.loss_beside)
        table.add_row(printable(name), f"{one.choices:,}", *weights, *beside)
    return table


def _groups(fitted: Fitted) -> Table:
    assert fitted.test is not None
    table = Table("groups", *(value.name for value in fitted.learned.values))
    table.title, table.title_justify = "Differences of weights, second less first", "left"
    for (first, second), differences in fitted.test.differences.items():
        table.add_row(printable(f"{first}, {second}"), *(shown(one) for one in differences.values()))
    adjusted = [f"p = {p_value:.2g}" for p_value in fitted.test.by_value.values()]
    table.add_section()
    table.add_row(Text("no difference (Holm)", style="dim"), *adjusted)
    return table


def _sentences(fitted: Fitted) -> Iterator[str]:
    if fitted.test is not None:
        alike = "differ" if fitted.test.p_value < 0.05 else "cannot be told apart"
        yield f"The groups {alike} in what they go by (p = {fitted.test.p_value:.2g}, by prompt)."
    if fitted.agreement is not None:
        yield f"Krippendorff's alpha of the annotators on {fitted.agreement.n} pairs: {shown(fitted.agreement)}."
    elif fitted.annotators:
        yield "No two annotators compared the same pair: their agreement is unknown."
    if fitted.unscored:
        yield f"{fitted.unscored} choices are left out: a value is missing."
    loss = fitted.held_out[LEARNED].loss
    if loss.low > 0.6931:
        yield "The weights foretell choices worse than a coin: these values are not what people chose by."


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
