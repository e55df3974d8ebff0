"""What measuring one model on one task gives: every item's numbers, and what they amount to."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.record.results import Estimate


class Axis(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number that a task reports, and how it comes from the items.

    Attributes:
        name: what it is called.
        statistic: how the columns become the number: a name of `accord.evaluate.summary.STATISTICS`.
        columns: which of the items' values it is made from; by default the one of its own name.
        higher_is_better: the direction; `None` for a neutral axis such as length.
        unit: what the number is: "share", "points", "words", ...
        description: one sentence for the reader of the report.
    """

    name: str
    statistic: str = "mean"
    columns: tuple[str, ...] = ()
    higher_is_better: bool | None = True
    unit: str = "share"
    description: str = ""

    def sources(self) -> tuple[str, ...]:
        """The columns it is made from."""
        return self.columns or (self.name,)


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question of a task, what the model answered, and its numbers.

    Attributes:
        id: the same for the same question in every run: what two models are paired by.
        values: a number for each column; `None` where it does not apply or could not be had.
        cluster: what the item shares with others (its prompt, text or behaviour); its own id where nothing.
        slices: what it is reported by, such as `{"category": "writing"}`.
        prompt: what was asked, readable.
        answers: what was said, or the candidates that were scored.
    """

    id: str
    values: dict[str, float | None]
    cluster: str
    slices: dict[str, str] = {}
    prompt: str = ""
    answers: tuple[str, ...] = ()


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model on one task.

    Attributes:
        task: the task's name.
        model: what was measured, as the user named it.
        identity: weights and reading of the model, by content.
        axes: the numbers, the most important first.
        estimates: each axis with its 95% interval; an axis that no item gives is absent.
        items: every question with its numbers.
        slices: by slice, its value and axis, the same numbers.
        controls: what degenerate models get on the same items (a constant, a random one, ...), by name and axis.
        settings: everything else that determines the numbers: sampling, judge, files by content.
        notes: what the reader must know.
    """

    task: str
    model: str
    identity: str
    axes: tuple[Axis, ...]
    estimates: dict[str, Estimate]
    items: tuple[Item, ...]
    slices: dict[str, dict[str, dict[str, Estimate]]] = {}
    controls: dict[str, dict[str, Estimate]] = {}
    settings: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
