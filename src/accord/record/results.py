"""What a measurement says: an estimate, a comparison of two models on the same items, an evaluation of several axes.

These are the records that evaluation writes (`evaluation.json` in a run directory) and the report reads.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Verdict = Literal["better", "worse", "not distinguishable"]


class Estimate(msgspec.Struct, frozen=True):
    """A mean over `n` items with its 95% interval `[low, high]`."""

    mean: float
    low: float
    high: float
    n: int


class Comparison(msgspec.Struct, frozen=True, omit_defaults=True):
    """One axis measured before and after, on the same items.

    Attributes:
        axis: name of the axis, e.g. `"helpful"`, `"over-refusal"`, `"held-out accuracy"`.
        before: the starting model.
        after: the trained model.
        difference: after minus before, over paired items; its interval decides the verdict.
        higher_is_better: the direction; `None` for a neutral axis such as length, which gets no verdict.
        unit: what the numbers are (`"share"`, `"words"`, `"nats per token"`).
        stages: models in between, by name (e.g. `{"sft": ...}`).
        description: one sentence for the reader of the report.
    """

    axis: str
    before: Estimate
    after: Estimate
    difference: Estimate
    higher_is_better: bool | None = True
    unit: str = "share"
    stages: dict[str, Estimate] = {}
    description: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Better or worse only when the interval of the paired difference excludes zero."""
        if self.higher_is_better is None:
            return None
        if self.difference.low > 0:
            return "better" if self.higher_is_better else "worse"
        if self.difference.high < 0:
            return "worse" if self.higher_is_better else "better"
        return "not distinguishable"


class Evaluation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Several axes of one suite; `primary` names the axis that carries the run's verdict.

    Attributes:
        suite: what was measured, e.g. `"Tidewater, held-out prompts"`.
        comparisons: one entry an axis.
        primary: the axis whose verdict is the run's.
        judge: who scored, with its audit (agreement, position consistency) where it has one.
        notes: what the reader must know (e.g. that likelihoods are not behaviour).
        examples: the items that drive the verdict: prompt, before, after, scores.
    """

    suite: str
    comparisons: tuple[Comparison, ...]
    primary: str
    judge: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    examples: tuple[dict[str, Any], ...] = ()

    def comparison(self, axis: str) -> Comparison:
        """The comparison of one axis; raises `KeyError` for an unknown axis."""
        for comparison in self.comparisons:
            if comparison.axis == axis:
                return comparison
        raise KeyError(axis)

    @property
    def verdict(self) -> Verdict:
        """The verdict of the primary axis."""
        return self.comparison(self.primary).verdict or "not distinguishable"
