"""What a task is: items, how a model is asked, how its answers become numbers.

A task of one's own is a function that returns one:

    from accord.evaluate import Task, axis, each, generate
    from accord.record import Group

    def capitals() -> Task:
        items = [Group("Capital of France?", answer="Paris"), Group("Capital of Peru?", answer="Lima")]
        right = each(lambda item: {"right": item.responses[0].text.strip(" .") == item.answer})
        return Task("capitals", items, ask=generate(max_tokens=8), score=right, axes=[axis("right")])

which `accord evaluate --suite mine:capitals` measures. Items are Groups, as everywhere: a prompt, the candidates if
there are any, the truth in `answer`, and in `meta` what it is reported by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.errors import ConfigError
from accord.evaluate.subject import Subject
from accord.record import Group
from accord.record.measurement import Axis

Values = Mapping[str, float | bool | None]
"""An item's numbers by column; `None` where one does not apply."""

Ask = Callable[[Subject, Sequence[Group]], list[Group]]
"""Puts the items to a model: the same items in their order, with its answers as responses or its numbers as scores."""

Score = Callable[[Sequence[Group]], list[Values]]
"""Numbers of the answered items, in their order; all at once, so that a judge can be asked in parallel."""


@dataclass(frozen=True)
class Task:
    """What is asked, and how answers become numbers.

    Attributes:
        name: what it is called.
        items: what is asked; an item's `id` (its place where it has none) pairs the results of two models.
        ask: how a model is asked.
        score: how its answers become columns of numbers.
        axes: what is reported from the columns, the most important first.
        cluster: entry of `meta` that items with a common cause share; by default items are independent.
        slices: entries of `meta` to report by.
        controls: degenerate models that this task is also put to; the report shows what they get.
        settings: what else determines the numbers: sampling, judge, source files by content.
        notes: what its reader must know, such as a deviation from the published form.
    """

    name: str
    items: Sequence[Group]
    ask: Ask
    score: Score
    axes: Sequence[Axis]
    cluster: str | None = None
    slices: Sequence[str] = ()
    controls: Sequence[Subject] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.items:
            raise ConfigError("has no items", where=f"task {self.name}", mend="Look at the file it was read from.")
        if not self.axes:
            raise ConfigError("reports no axis", where=f"task {self.name}", mend="Give it axes=[axis(NAME)].")


def axis(name: str, **settings: Any) -> Axis:
    """A number that a task reports; settings as of `Axis`."""
    return Axis(name, **settings)


def each(score: Callable[[Group], Values]) -> Score:
    """Scores items one at a time."""

    def all_of(items: Sequence[Group]) -> list[Values]:
        return [score(item) for item in items]

    return all_of
