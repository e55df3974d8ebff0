"""Two or more models compared on the same items: what `accord compare` finds, writes as JSON and draws."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from accord.record.ratings import Ratings
from accord.record.results import Comparison, Estimate, Verdict

Outcome = Literal["better", "worse", "not distinguishable", "trade-off"]
"""The verdict on a model: a trade-off is better on one axis and worse on another."""


class SliceFinding(msgspec.Struct, frozen=True):
    """One axis within a slice of the items.

    Attributes:
        slice, value: which items, such as `category` and `writing`.
        comparison: the axis on these items.
        adjusted: p-value by Holm over all slices of the axis.
        verdict: by the adjusted p-value; `None` for a neutral axis.
    """

    slice: str
    value: str
    comparison: Comparison
    adjusted: float
    verdict: Verdict | None


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One axis of one task, of two models on the same items.

    Attributes:
        task: the task's name.
        comparison: both models, and their paired difference with its 95% interval.
        p_value: of no difference, two-sided, as it stands alone.
        primary: whether the verdict rests on it.
        adjusted: p-value by Holm over the axes of its kind (primary, or other), of all the models that are compared.
        verdict: by the adjusted p-value; `None` for a neutral axis.
        detectable: the smallest true difference that these items would have shown four times out of five.
        moved: items that got better, worse, and stayed; empty where the statistic is none of single items.
        missing: items that only one of the models has a number for.
        bounds: the difference if missing numbers were the worst for the second model, and if the best; of shares only.
        controls: what degenerate models get.
        slices: the same by slice.
    """

    task: str
    comparison: Comparison
    p_value: float
    primary: bool = False
    adjusted: float = 1.0
    verdict: Verdict | None = None
    detectable: float | None = None
    moved: tuple[int, int, int] | tuple[()] = ()
    missing: int = 0
    bounds: tuple[Estimate, Estimate] | None = None
    controls: dict[str, Estimate] = {}
    slices: tuple[SliceFinding, ...] = ()

    @property
    def gain(self) -> Estimate:
        """The difference with its sign turned so that more is better; of a neutral axis as it is."""
        difference = self.comparison.difference
        if self.comparison.higher_is_better is not False:
            return difference
        return Estimate(-difference.mean, -difference.high, -difference.low, difference.n)


class Example(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item that moved the verdict.

    Attributes:
        task, axis, item: where it is from.
        gain: by how much the second model did better on it, negative for worse.
        prompt: what was asked.
        before, after: what each model said.
        values_before, values_after: all numbers of the item.
    """

    task: str
    axis: str
    item: str
    gain: float
    prompt: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    values_before: dict[str, float] = {}
    values_after: dict[str, float] = {}


class Unpaired(msgspec.Struct, frozen=True):
    """Items of a task that only one of two models has; they count for neither.

    Attributes:
        task: the task's name.
        before, after: their names.
    """

    task: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class PairComparison(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model against another.

    Attributes:
        before, after: the models; "better" says that `after` is.
        findings: every axis of every task that both have, the primary ones first.
        verdict: over the primary axes.
        examples: items behind it, the greatest gains and the greatest losses of each primary axis.
        unpaired: items that only one has.
        notes: what the reader must know.
    """

    before: str
    after: str
    findings: tuple[Finding, ...]
    verdict: Outcome
    examples: tuple[Example, ...] = ()
    unpaired: tuple[Unpaired, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def primary(self) -> tuple[Finding, ...]:
        """The axes that the verdict rests on."""
        return tuple(finding for finding in self.findings if finding.primary)


class Standing(msgspec.Struct, frozen=True):
    """One model's place on an axis.

    Attributes:
        model: its name.
        estimate: its number.
        rank: one more than the models that are better by the interval of the paired difference; 0 on a neutral axis.
    """

    model: str
    estimate: Estimate
    rank: int


class AxisStandings(msgspec.Struct, frozen=True, omit_defaults=True):
    """All models on one axis.

    Attributes:
        task, axis, unit, higher_is_better, description: of the axis.
        standings: the models in the order in which they were named.
        primary: whether verdicts rest on it.
    """

    task: str
    axis: str
    unit: str
    higher_is_better: bool | None
    standings: tuple[Standing, ...]
    description: str = ""
    primary: bool = False


class GateCheck(msgspec.Struct, frozen=True):
    """One condition of a regression gate.

    Attributes:
        axis: of which it is.
        kind: `"require"`: it must gain more than `margin`; `"guard"`: it must not lose more than `margin`.
        margin: in the axis's unit.
        gain: after minus before, more is better.
        outcome: `"passed"` and `"failed"` by the whole interval; `"not shown"` where the interval holds the margin.
        message: in words, with what it would take.
    """

    axis: str
    kind: Literal["require", "guard"]
    margin: float
    gain: Estimate
    outcome: Literal["passed", "failed", "not shown"]
    message: str


class Gate(msgspec.Struct, frozen=True):
    """Whether a model may replace another.

    Attributes:
        accept: every condition has passed.
        checks: the conditions.
        worst_drop: the greatest loss of a guarded axis by its mean, 0 if none lost.
    """

    accept: bool
    checks: tuple[GateCheck, ...]
    worst_drop: float


class ModelsComparison(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `accord compare` found.

    Attributes:
        models: their names; each is compared with the first.
        identities: weights and reading of each, by content.
        tasks: that all of them were measured on.
        pairs: the first against each of the others.
        standings: all models by axis, where there are more than two.
        ratings: of all models, where their answers were compared pair by pair.
        style_ratings: the same with style held fixed.
        gate: what a regression gate said.
        settings: of each task, the same for all models.
        judge: who compared the answers, with its audit.
        notes: what the reader must know.
    """

    models: tuple[str, ...]
    identities: tuple[str, ...]
    tasks: tuple[str, ...]
    pairs: tuple[PairComparison, ...]
    standings: tuple[AxisStandings, ...] = ()
    ratings: Ratings | None = None
    style_ratings: Ratings | None = None
    gate: Gate | None = None
    settings: dict[str, dict[str, Any]] = {}
    judge: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
