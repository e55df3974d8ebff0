r"""Statistics that are no mean, as functions of the items' weights.

A weight is how often an item occurs in a resampling. Each function takes weights `w` of shape `[R,n]`, one row a
resampling, then columns of shape `[n]`, and returns `[R]`; a row whose items leave the number undefined gives NaN.
"""

from __future__ import annotations

import numpy as np

from accord.evaluate.statistics import Floats

BINS = 10
"""Bins of equal width between a confidence of 0 and 1."""


def ratio(weights: Floats, numerator: Floats, denominator: Floats) -> Floats:
    r"""Sum over sum, :math:`\sum_i w_i a_i / \sum_i w_i b_i`: a mean over the parts that items consist of.

    Args:
        weights: `[R,n]`.
        numerator: an item's total, `[n]`.
        denominator: how many parts it has, `[n]`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = (weights @ numerator) / (weights @ denominator)
    return result


def perplexity(weights: Floats, loss: Floats, tokens: Floats) -> Floats:
    r"""Exponential of the mean loss of a token, :math:`\exp(\sum_i w_i \ell_i / \sum_i w_i t_i)`.

    Args:
        weights: `[R,n]`.
        loss: an item's summed negative log-likelihood in nats, `[n]`.
        tokens: how many tokens it has, `[n]`.
    """
    result: Floats = np.exp(ratio(weights, loss, tokens))
    return result


def calibration_error(weights: Floats, confidence: Floats, right: Floats) -> Floats:
    r"""Expected calibration error over bins of equal width between 0 and 1.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    It is never negative, and of few items a perfectly calibrated model has more than 0.

    Args:
        weights: `[R,n]`.
        confidence: probability that the answer is right, `[n]`, in 0..1.
        right: 1 for a right answer, `[n]`.

    Source: Guo et al. 2017 (arXiv:1706.04599), eq. 3.
    """
    result: Floats = np.abs(calibration_gaps(weights, confidence, right)).sum(1)
    return result


def calibration_gaps(weights: Floats, confidence: Floats, right: Floats) -> Floats:
    """What each bin adds to the calibration error, with its sign, `[R,BINS]`: above 0 where accuracy is higher.

    Args:
        weights: `[R,n]`.
        confidence: probability that the answer is right, `[n]`, in 0..1.
        right: 1 for a right answer, `[n]`.
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    member = (place[:, None] == np.arange(BINS)[None, :]).astype(np.float64)
    gaps: Floats = (weights @ (member * (right - confidence)[:, None])) / weights.sum(1, keepdims=True)
    return gaps


def area_under_risk(weights: Floats, confidence: Floats, right: Floats) -> Floats:
    r"""Area under the risk-coverage curve of answering only when sure: the mean risk over all coverages.

    .. math:: \mathrm{AURC} = \frac1n \sum_{k=1}^n \frac1k \sum_{i \le k} (1 - \mathrm{right}_i)

    with the items from the surest on. Items of equal confidence are answered together.

    Args:
        weights: `[R,n]`.
        confidence: `[n]`.
        right: 1 for a right answer, `[n]`.

    Source: Geifman, Uziel and El-Yaniv 2019 (arXiv:1805.08206), section 3.
    """
    answered, missed, size = _answering(weights, confidence, right)
    risk = np.divide(missed, answered, out=np.zeros_like(missed), where=answered > 0)
    result: Floats = (risk * size).sum(1) / answered[:, -1]
    return result


def selective_accuracy(weights: Floats, confidence: Floats, right: Floats, *, coverage: float) -> Floats:
    """Accuracy of a model that answers only the share of the questions that it is surest of.

    Of questions that are equally sure, as many as the share has room for count with the mean of all of them.

    Args:
        weights: `[R,n]`.
        confidence: `[n]`.
        right: 1 for a right answer, `[n]`.
        coverage: the share that is answered, above 0.
    """
    answered, missed, size = _answering(weights, confidence, right)
    room = coverage * answered[:, -1:]
    taken = np.clip(room - (answered - size), 0.0, size)
    share = np.divide(taken, size, out=np.zeros_like(size), where=size > 0)
    wrong = (share * np.diff(missed, axis=1, prepend=0.0)).sum(1)
    result: Floats = 1 - wrong / room[:, 0]
    return result


def _answering(weights: Floats, confidence: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """By level of confidence, from the surest on, `[R,L]`: how many are answered, how many wrongly, how many join."""
    order = np.argsort(-confidence, kind="stable")
    begins = np.flatnonzero(np.diff(-confidence[order], prepend=-np.inf))
    ordered = weights[:, order]
    size: Floats = np.add.reduceat(ordered, begins, axis=1)
    missed: Floats = np.cumsum(np.add.reduceat(ordered * (1 - right[order]), begins, axis=1), 1)
    answered: Floats = np.cumsum(size, 1)
    return answered, missed, size
