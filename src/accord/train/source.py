"""Where the examples of each optimiser step come from: a plan over data that is there, or rounds of sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accord.train.collate import Example
from accord.train.step import StepResult

Step = tuple[int, Sequence[Example]]
"""The number of an optimiser step, counted from 0, and its examples."""


class Source(Protocol):
    """What the loop asks for examples; the next step is asked for only after the update of the last."""

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run."""
        ...

    def steps(self, first: int) -> Iterator[Step]:
        """The steps from number `first` on; numbers rise, and may leave some out."""
        ...

    def resumable(self, taken: int) -> bool:
        """Whether the run can be taken up again after `taken` steps."""
        ...

    def settle(self) -> None:
        """Wait for whatever goes on beside the updates; the run is about to be checkpointed."""
        ...

    def epoch(self, taken: int) -> float:
        """How often each prompt has been seen after `taken` steps."""
        ...

    def observe(self, taken: int, result: StepResult) -> Mapping[str, float]:
        """Take note of what a step did; returns further numbers for its line of `metrics.jsonl`."""
        ...


@dataclass(frozen=True)
class Planned:
    """Data that is there from the start, in a planned order.

    Attributes:
        examples: what is trained on.
        plan: indices into `examples`, a list a step.
    """

    examples: Sequence[Example]
    plan: Sequence[Sequence[int]]

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run."""
        return len(self.plan)

    def steps(self, first: int) -> Iterator[Step]:
        """The examples of each step from `first` on."""
        for number in range(first, len(self.plan)):
            yield number, [self.examples[index] for index in self.plan[number]]

    def resumable(self, taken: int) -> bool:
        """Always: the plan does not depend on the weights."""
        return True

    def settle(self) -> None:
        """Nothing goes on beside the updates."""

    def epoch(self, taken: int) -> float:
        """Steps taken over the steps in which every example is seen once."""
        seen = sum(len(step) for step in self.plan)
        return taken * seen / (len(self.plan) * len(self.examples))

    def observe(self, taken: int, result: StepResult) -> Mapping[str, float]:
        """Nothing more to say."""
        return {}
