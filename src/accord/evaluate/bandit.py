"""Which of several arms to try next: the upper confidence bound of each mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.errors import DataError


def ucb1(means: Sequence[float], pulls: Sequence[int]) -> list[float]:
    r"""Upper confidence bounds of arms whose outcomes are between 0 and 1: :math:`\bar x_j + \sqrt{2\ln n / n_j}`.

    The next pull goes to the highest. An arm that was never pulled has no bound: `inf`, so that each comes first once.

    Args:
        means: outcome of each arm so far.
        pulls: how often each was pulled.

    Raises:
        DataError: there are no arms, or other numbers of means and pulls.

    Source: Auer, Cesa-Bianchi and Fischer 2002, "Finite-time analysis of the multiarmed bandit problem", figure 1.

    >>> [round(bound, 3) for bound in ucb1([0.6, 0.5, 0.55], [10, 4, 6])]
    [1.374, 1.724, 1.549]
    """
    if not means or len(means) != len(pulls):
        raise DataError(f"{len(means)} means and {len(pulls)} numbers of pulls are no arms")
    total = sum(pulls)
    return [
        math.inf if not count else mean + math.sqrt(2 * math.log(total) / count)
        for mean, count in zip(means, pulls, strict=True)
    ]
