r"""Logistic regression on probabilities with an L1 penalty, under many weightings of the rows at once.

.. math:: \min_b \sum_i w_i \left[ \log(1 + e^{x_i^\top b}) - y_i\, x_i^\top b \right] + \tfrac1C \lVert b \rVert_1

A few features and many weightings, as a bootstrap has them, are solved together: proximal Newton steps, whose quadratic
is minimised a coordinate at a time, with halving of a step that does not help (Lee, Sun and Saunders 2014). A model of
scikit-learn has one weighting at a time, and its liblinear stops within 1e-4 of the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from accord.evaluate.statistics import Floats

_STEPS = 100
_SWEEPS = 200
_HALVINGS = 30
_CLOSE = 1e-10


@dataclass(frozen=True)
class SoftLogistic:
    """Rows to fit.

    Attributes:
        features: `[n,k]`.
        target: probability of each row's event, `[n]`, in 0..1.
    """

    features: Floats
    target: Floats

    def fit(self, weights: Floats, strength: float, start: Floats | None = None) -> Floats:
        """The coefficients `[R,k]` under each of R weightings.

        Args:
            weights: of the rows, `[R,n]`, none below 0.
            strength: the inverse of the penalty's, C.
            start: coefficients `[k]` to begin with.
        """
        count, k = len(weights), self.features.shape[1]
        found = np.zeros((count, k)) if start is None else np.tile(start, (count, 1))
        going = np.arange(count)
        for _ in range(_STEPS):
            moved = self._step(weights[going], found[going], 1 / strength)
            found[going] += moved
            going = going[np.abs(moved).max(1) > _CLOSE * (1 + np.abs(found[going]).max(1))]
            if not len(going):
                break
        return found

    def loss(self, coefficients: Floats) -> Floats:
        """The negative log-likelihood of each row, `[...,n]`, under coefficients `[...,k]`."""
        logits = coefficients @ self.features.T
        result: Floats = np.logaddexp(0, logits) - self.target * logits
        return result

    def _step(self, weights: Floats, at: Floats, penalty: float) -> Floats:
        p = expit(at @ self.features.T)
        gradient = (weights * (p - self.target)) @ self.features
        products = (self.features[:, :, None] * self.features[:, None, :]).reshape(len(self.features), -1)
        curvature = ((weights * p * (1 - p)) @ products).reshape(len(at), *2 * [self.features.shape[1]])
        direction = _descent(gradient, curvature, at, penalty)
        before = self._objective(weights, at, penalty)
        size = np.ones((len(at), 1))
        for _ in range(_HALVINGS):
            worse = self._objective(weights, at + size * direction, penalty) > before + 1e-12 * (1 + np.abs(before))
            if not worse.any():
                break
            size[worse] /= 2
        return size * direction

    def _objective(self, weights: Floats, at: Floats, penalty: float) -> Floats:
        result: Floats = (weights * self.loss(at)).sum(1) + penalty * np.abs(at).sum(1)
        return result


def _descent(gradient: Floats, curvature: Floats, at: Floats, penalty: float) -> Floats:
    """What minimises the quadratic around `at` together with the penalty: `[R,k]`."""
    end = at.copy()
    k = at.shape[1]
    # A feature that is nowhere, or a row that is certain, has no curvature; the penalty alone then decides.
    diagonal = np.maximum(np.diagonal(curvature, axis1=1, axis2=2), 1e-9)
    for _ in range(_SWEEPS):
        largest = 0.0
        for place in range(k):
            slope = gradient[:, place] + np.einsum("rj,rj->r", curvature[:, place], end - at)
            free = diagonal[:, place] * end[:, place] - slope
            updated = np.sign(free) * np.maximum(np.abs(free) - penalty, 0.0) / diagonal[:, place]
            largest = max(largest, float(np.abs(updated - end[:, place]).max(initial=0.0)))
            end[:, place] = updated
        if largest < _CLOSE:
            break
    return end - at
