"""The verdict in a sentence: better, worse or not distinguishable, with its interval, on which axis, judged by whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from accord.record import Comparison, Evaluation
from accord.report.reading import Run
from accord.report.text import brief_number, decimals_of, figure, interval, one_line

Kind = Literal["better", "worse", "not distinguishable", "trade-off", "none"]

_POWER_FACTOR = (1.959964 + 0.841621) / 1.959964
"""From the half width of a 95% interval to the difference that is found with 80% probability (Miller 2024, eq. 9)."""

_JUDGE_NAMES = ("name", "judge", "model", "source", "kind")
_TITLES: dict[Kind, str] = {
    "better": "Better",
    "worse": "Worse",
    "not distinguishable": "Not distinguishable",
    "trade-off": "A trade-off",
    "none": "No verdict",
}


@dataclass(frozen=True)
class Headline:
    """What a reader takes away.

    Attributes:
        kind: the verdict; `"none"` when nothing was evaluated.
        sentence: the verdict in a sentence, starting with its title.
        details: what qualifies it: who judged, what got worse, what these items could not show.
    """

    kind: Kind
    sentence: str
    details: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """`Better`, `Worse`, `Not distinguishable`, `A trade-off` or `No verdict`."""
        return _TITLES[self.kind]


def headline(run: Run) -> Headline:
    """The run's verdict, from its evaluation; without one, what is known of the run instead."""
    if run.evaluation is None:
        return Headline("none", f"No verdict: {_why_none(run)}.")
    evaluation = run.evaluation
    comparison = evaluation.comparison(evaluation.primary)
    kind: Kind = comparison.verdict or "none"
    details = [judged_by(evaluation), *_worse_axes(evaluation), *_better_axes(evaluation)]
    if kind == "not distinguishable":
        details.append(_detectable(comparison))
    return Headline(kind, sentence(comparison, kind), tuple(detail for detail in details if detail))


def judged_by(evaluation: Evaluation) -> str:
    """Who scored, in a sentence."""
    name = next((evaluation.judge[key] for key in _JUDGE_NAMES if evaluation.judge.get(key)), None)
    suite = one_line(evaluation.suite)
    if name is None:
        return f"Measured on {suite}; the evaluation does not name its judge."
    return f"Measured on {suite}, judged by {one_line(str(name))}."


def moved(comparison: Comparison) -> str:
    """`rose from 0.42 to 0.71`, by the means as they are printed."""
    decimals = max(decimals_of(comparison.before, comparison.unit), decimals_of(comparison.after, comparison.unit))
    before, after = figure(comparison.before.mean, decimals), figure(comparison.after.mean, decimals)
    if before == after:
        return f"stayed at {before}"
    return f"{'rose' if comparison.after.mean > comparison.before.mean else 'fell'} from {before} to {after}"


def change(comparison: Comparison) -> str:
    """`+0.29 (95% interval +0.21 to +0.37)`."""
    decimals = decimals_of(comparison.difference, comparison.unit)
    mean = figure(comparison.difference.mean, decimals, signed=True)
    return f"{mean} (95% interval {interval(comparison.difference, comparison.unit, signed=True)})"


def unit_of(comparison: Comparison) -> str:
    """The unit after a number; a share has none, and an axis named after its unit needs none."""
    unit = one_line(comparison.unit, 40)
    return "" if unit == "share" or unit.casefold() in one_line(comparison.axis).casefold().split() else f" {unit}"


def judge_facts(judge: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The judge's audit as rows of label and value, nested values flattened by one level."""
    facts: list[tuple[str, str]] = []
    for key, value in judge.items():
        if isinstance(value, dict):
            facts.extend((f"{key}, {inner}", _fact(item)) for inner, item in value.items())
        else:
            facts.append((str(key), _fact(value)))
    return tuple((one_line(label.replace("_", " "), 80), value) for label, value in facts)


def sentence(comparison: Comparison, kind: Kind, *, than: str = "") -> str:
    """The verdict on one axis; `than` is what the first model is called, where it is not the start of a training."""
    axis, items = one_line(comparison.axis), f"{comparison.difference.n:,} paired items"
    moves = f"{axis} {moved(comparison)}{unit_of(comparison)}, a difference of {change(comparison)} over {items}"
    if kind == "not distinguishable":
        return f"Not distinguishable from {than or 'the start'}: {moves}; the interval includes zero."
    if kind == "none":
        return f"No verdict: {moves}, and this axis has no better or worse."
    return f"{_TITLES[kind]}{f' than {than}' if than else ''}: {moves}."


def _worse_axes(evaluation: Evaluation) -> list[str]:
    return [
        f"But {one_line(other.axis)} got worse: {change(other)}{unit_of(other)}."
        for other in evaluation.comparisons
        if other.axis != evaluation.primary and other.verdict == "worse"
    ]


def _better_axes(evaluation: Evaluation) -> list[str]:
    names = [
        one_line(other.axis)
        for other in evaluation.comparisons
        if other.axis != evaluation.primary and other.verdict == "better"
    ]
    return [f"Also better: {', '.join(names)}."] if names else []


def _detectable(comparison: Comparison) -> str:
    half = (comparison.difference.high - comparison.difference.low) / 2
    if half >= 1e300:
        return "One item cannot show a difference; measure more items."
    effect = brief_number(half * _POWER_FACTOR)
    return (
        f"With these {comparison.difference.n:,} items, a true difference of {effect}{unit_of(comparison)} or more "
        "would be found four times out of five; a smaller one needs more items."
    )


def _why_none(run: Run) -> str:
    if any(note.startswith("evaluation.json") for note in run.unreadable):
        return "evaluation.json could not be read"
    if not run.finished:
        return f"the run has not finished; its last recorded step is {run.last_step:,}"
    return "the run holds no evaluation of the model before and after training"


def _fact(value: object) -> str:
    return brief_number(value) if isinstance(value, float) else one_line(str(value), 400)
