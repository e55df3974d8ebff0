"""Is a reward model as sure as it is right: reliability of its log-odds on comparisons that people decided.

A reward model says with its margin how probable a preference is: the sigmoid of the difference in reward. Of the pairs
that it is 80% sure about, 80% should be ranked right; margins that are used as numbers (in an ensemble, in best-of-n,
against a cost) mean what they say only then.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from accord.errors import DataError
from accord.feedback.reward import Row
from accord.record import Group

Floats = NDArray[np.float64]

BINS = 10
"""Bins of equal width between a confidence of one half and certainty."""

_TEMPERATURES = (0.01, 100.0)


class Bin(msgspec.Struct, frozen=True):
    """Pairs of like confidence: how many, how sure the model is of them on average, and how many it ranks right."""

    count: int
    confidence: float
    accuracy: float


class Calibration(msgspec.Struct, frozen=True):
    """Reliability on held-out pairs.

    Attributes:
        pairs: how many.
        accuracy: share that is ranked right; a tie counts one half.
        confidence: mean probability that the model gives to the response it ranks higher.
        ece: expected calibration error, the mean distance of confidence and accuracy over the bins.
        brier: mean squared distance of the probability of what was preferred from 1; 0.25 is chance.
        temperature: what the rewards must be divided by to be most likely on these pairs; above 1, it is too sure.
        ece_at_temperature: expected calibration error after that, on the same pairs.
        bins: the reliability diagram, from unsure to sure; empty bins are left out.
    """

    pairs: int
    accuracy: float
    confidence: float
    ece: float
    brier: float
    temperature: float
    ece_at_temperature: float
    bins: tuple[Bin, ...]


def calibration(margins: Sequence[float] | Floats) -> Calibration:
    r"""Calibration of a model, from the log-odds that it gives to what was preferred.

    .. math::
        \mathrm{ECE} = \sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|, \qquad
        \mathrm{Brier} = \frac1n \sum (1 - \sigma(m))^2, \qquad T = \arg\min_T -\sum \log\sigma(m/T)

    Args:
        margins: reward of the preferred response minus that of the other, one a pair; or log-odds of a step's label.

    Raises:
        DataError: there is no margin.

    Source: Guo et al. 2017, "On calibration of modern neural networks" (arXiv:1706.04599), eq. 3 and section 4.2.
    """
    lead = np.asarray(margins, dtype=np.float64)
    if not len(lead):
        raise DataError("no comparison to calibrate on", mend="Give Groups with preferences between their responses.")
    temperature = fitted_temperature(lead)
    bins = reliability(lead)
    return Calibration(
        pairs=len(lead),
        accuracy=float(_right(lead).mean()),
        confidence=float(_confidence(lead).mean()),
        ece=expected_calibration_error(lead),
        brier=float(brier_scores(lead).mean()),
        temperature=temperature,
        ece_at_temperature=expected_calibration_error(lead / temperature),
        bins=tuple(bins),
    )


def expected_calibration_error(margins: Floats) -> float:
    """Mean distance of confidence and accuracy over the bins of the reliability diagram."""
    return sum(one.count * abs(one.accuracy - one.confidence) for one in reliability(margins)) / len(margins)


def reliability(margins: Floats) -> list[Bin]:
    """Pairs by the confidence of the model, in bins of equal width; empty ones are left out."""
    confidence, right = _confidence(margins), _right(margins)
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return [
        Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean()))
        for here in (place == index for index in range(BINS))
        if here.any()
    ]


def brier_scores(margins: Sequence[float] | Floats) -> Floats:
    """Squared distance from 1 of the probability of what was preferred, one a pair."""
    return np.square(_sigmoid(-np.asarray(margins, dtype=np.float64)))


def fitted_temperature(margins: Floats) -> float:
    """What to divide the rewards by, between 0.01 and 100, so that the preferences are most likely.

    Where every pair is ranked right, no confidence is too high, and the fit ends at the lower limit.
    """

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -margins / np.exp(log_temperature)).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(float(low), float(high)), method="bounded").x))


def preference_margins(groups: Sequence[Group], rows: Sequence[Row]) -> tuple[list[float], list[str]]:
    """Score of the preferred response minus that of the other, for every preference of weight above one half.

    Args:
        groups: with preferences.
        rows: a score of each response; pairs in which one is missing are left out.

    Returns:
        The margins, and for each the prompt that it belongs to.
    """
    margins: list[float] = []
    clusters: list[str] = []
    for group, row in zip(groups, rows, strict=True):
        for preference in group.preferences():
            better, worse = row[preference.better], row[preference.worse]
            if preference.weight > 0.5 and better is not None and worse is not None:
                margins.append(better - worse)
                clusters.append(group.prompt_text())
    return margins, clusters


def _confidence(margins: Floats) -> Floats:
    return _sigmoid(np.abs(margins))


def _right(margins: Floats) -> Floats:
    return np.where(margins == 0, 0.5, np.where(margins > 0, 1.0, 0.0))


def _sigmoid(values: Floats) -> Floats:
    probabilities: Floats = np.asarray(expit(values), dtype=np.float64)
    return probabilities
