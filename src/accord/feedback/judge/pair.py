r"""What a judge of pairs is, and how several answers of one become a single probability.

A pair is shown in both orders. With :math:`p_{AB}` the probability that the judge prefers what it sees first when that
is response A, and :math:`p_{BA}` the same when B is shown first,

.. math:: p = \tfrac12\,[\,p_{AB} + (1 - p_{BA})\,], \qquad \mathrm{gap} = p_{AB} + p_{BA} - 1

p is the probability that A is better, free of a preference for a place that adds to the log-odds or the probability
alike; the gap shows that preference: above 0 for what stands first. Source: Lee et al. 2023, "RLAIF"
(arXiv:2309.00267), section 2.1.1; the gap is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from accord.chat.types import Progress
from accord.record import Group, Response

Orders = tuple[float | None, float | None]
"""Probability of what is shown first, in either order; `None` where the verdict could not be read."""


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, by their place in the Group."""

    group: Group
    first: int
    second: int

    @property
    def responses(self) -> tuple[Response, Response]:
        """The two."""
        return self.group.responses[self.first], self.group.responses[self.second]

    @property
    def same(self) -> bool:
        """Whether they say the same, which no judge need be asked about."""
        first, second = self.responses
        return (first.context, first.text) == (second.context, second.text)


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a judge says of a pair.

    Attributes:
        p: probability that the first is better; `None` if no verdict could be read in both orders.
        orders: the judge's probability of what it was shown first, in either order, over the principles that count.
        by_principle: the same for each principle.
        mass: least probability, over what was asked, that the answer was a verdict at all; `None` where unknown.
        asked: how often the judge was asked.
        unread: how many of its answers were no verdict.
    """

    p: float | None
    orders: tuple[float, float] | None = None
    by_principle: dict[str, Orders] = {}
    mass: float | None = None
    asked: int = 0
    unread: int = 0

    @property
    def gap(self) -> float | None:
        """How far the judge prefers what it sees first, from -1 to 1."""
        return None if self.orders is None else self.orders[0] + self.orders[1] - 1

    @property
    def consistent(self) -> bool | None:
        """Whether both orders have the same winner, or neither has one."""
        if self.orders is None:
            return None
        return (self.orders[0] > 0.5, self.orders[0] < 0.5) == (self.orders[1] < 0.5, self.orders[1] > 0.5)


class PairJudge(Protocol):
    """Compares pairs of responses."""

    @property
    def name(self) -> str:
        """What it is called in Feedback and tables."""
        ...

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        """A judgement of each pair, in their order."""
        ...


UNDECIDED = Judgement(0.5, (0.5, 0.5))
"""Of a pair that is the same text twice."""


def swap_mean(first_ab: float, first_ba: float) -> float:
    """Probability that A is better, from that of what is shown first in either order.

    >>> round(swap_mean(0.8, 0.4), 6)
    0.7
    """
    return 0.5 * (first_ab + (1 - first_ba))


def clamped(p: float, limits: tuple[float, float]) -> float:
    """A probability kept within limits, as those of a judge that has reasoned are (Bai et al. 2022, section 4.1).

    >>> [clamped(p, (0.4, 0.6)) for p in (0.98, 0.55, 0.03)]
    [0.6, 0.55, 0.4]
    """
    return min(max(p, limits[0]), limits[1])


def tempered(p: float, temperature: float) -> float:
    r"""A probability with its log-odds divided by a temperature; 0 and 1 stay where they are."""
    if temperature == 1.0 or p in (0.0, 1.0):
        return p
    return 1 / (1 + math.exp(-math.log(p / (1 - p)) / temperature))


def joined(
    by_principle: Mapping[str, Orders],
    *,
    weights: Mapping[str, float],
    temperature: float = 1.0,
    mass: float | None = None,
    asked: int = 0,
) -> Judgement:
    """One judgement of what a judge said by each principle in either order.

    The mean is over the principles by which both orders could be read: one order alone would bring its bias with it.
    """
    orders: tuple[float, float] | None = None
    read = {name: (ab, ba) for name, (ab, ba) in by_principle.items() if ab is not None and ba is not None}
    unread = sum(one is None for both in by_principle.values() for one in both)
    if read:
        total = sum(weights[name] for name in read)
        orders = (
            sum(weights[name] * ab for name, (ab, _) in read.items()) / total,
            sum(weights[name] * ba for name, (_, ba) in read.items()) / total,
        )
    p = None if orders is None else tempered(swap_mean(*orders), temperature)
    return Judgement(p, orders, dict(by_principle), mass, asked, unread)
