"""What choices cannot tell about the weights of several values, found before anybody believes the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import optimize

from accord.errors import DataError
from accord.evaluate.choices import Choices
from accord.evaluate.statistics import Floats

INFLATION = 10.0
"""Variance inflation from which a value cannot be told from the others (Belsley, Kuh and Welsch 1980; common usage)."""

MARGIN = 1e-7
"""Margin above which the linear programme has explained a choice, in root mean squared differences of the values."""


def doubts(choices: Choices, names: Sequence[str]) -> list[str]:
    """What is wrong with these choices as a source of weights, a sentence each; none where nothing is."""
    return [*_constant(choices, names), *_collinear(choices, names), *_separable(choices, names)]


def variance_inflation(differences: Floats) -> Floats:
    r"""How much each value's company widens the interval of its weight, `[K]`: :math:`1/(1-R_k^2)`, through the origin.

    Infinite for a value that the others give exactly, 1 for one that never differs.
    """
    found = np.ones(differences.shape[1])
    for place in range(len(found)):
        own, others = differences[:, place], np.delete(differences, place, axis=1)
        total = float(own @ own)
        if total == 0 or not others.size:
            continue
        explained = others @ np.linalg.lstsq(others, own, rcond=None)[0]
        left = float((own - explained) @ (own - explained)) / total
        found[place] = 1 / left if left > 1e-12 else np.inf
    return found


def separated(choices: Choices) -> int:
    r"""Choices that some weights explain while they contradict no other; with any, the likeliest weights are infinite.

    .. math:: \max_{|w| \le 1} \sum_i w\cdot\Delta\phi_i \quad\text{such that}\quad w\cdot\Delta\phi_i \ge 0

    is above 0 exactly then (Konis 2007, "Linear programming algorithms for detecting separated data"). The number is
    that of the choices with a margin at the optimum: others may have one at other weights.

    Raises:
        DataError: the programme could not be solved.
    """
    scales = choices.scales
    rows = choices.differences / np.where(scales > 0, scales, 1.0)
    found = optimize.linprog(-rows.sum(0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1.0, 1.0), method="highs")
    if found.x is None:
        raise DataError(f"the choices could not be checked for separation ({found.message})")
    return int((rows @ found.x > MARGIN).sum())


def _constant(choices: Choices, names: Sequence[str]) -> Iterator[str]:
    for name, scale in zip(names, choices.scales, strict=True):
        if scale == 0:
            yield f"{name} is the same for both responses of every choice: its weight is unknown"


def _collinear(choices: Choices, names: Sequence[str]) -> Iterator[str]:
    inflation = variance_inflation(choices.differences * np.sqrt(choices.counts)[:, None])
    for place in np.flatnonzero(inflation >= INFLATION).tolist():
        twin = _nearest(choices.differences, place)
        by = (
            "exactly"
            if np.isinf(inflation[place])
            else f"its interval is {np.sqrt(inflation[place]):.1f} times as wide"
        )
        yield f"{names[place]} goes with the others, most with {names[twin]} ({by}): the choices cannot part them"


def _nearest(differences: Floats, place: int) -> int:
    """The value whose differences are most like those of another."""
    lengths = np.linalg.norm(differences, axis=0)
    products = np.abs(differences.T @ differences[:, place]) / np.where(lengths > 0, lengths, 1.0)
    products[place] = -1.0
    return int(np.argmax(products))


def _separable(choices: Choices, names: Sequence[str]) -> Iterator[str]:
    count = separated(choices)
    if count:
        what = f"{count} or more of {len(choices)} choices and contradict none"
        yield f"some weights of {', '.join(names)} explain {what}: only the ridge keeps weights finite"
