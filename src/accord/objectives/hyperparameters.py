"""The allowed range of a hyperparameter, written beside it in an objective's signature.

    def dpo(policy, ..., *, beta: Annotated[float, Range(above=0.0)] = 0.1) -> Terms

`accord.objectives.registry.validate` checks a value against it before any model loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """An interval of finite numbers; each bound is given once, included (`least`, `most`) or not (`above`, `below`).

    >>> 0.5 in Range(least=0.0, below=0.5), str(Range(least=0.0, below=0.5))
    (False, 'at least 0 and below 0.5')
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        given = [f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound)]
        return " and ".join(given) if given else "finite"


Positive = Annotated[float, Range(above=0.0)]
"""A finite number above 0."""

NonNegative = Annotated[float, Range(least=0.0)]
"""A finite number, 0 or more."""

Finite = Annotated[float, Range()]
"""Any finite number."""

FlipRate = Annotated[float, Range(least=0.0, below=0.5)]
"""A share of wrong labels: at least 0 and below one half, where labels would say nothing."""
