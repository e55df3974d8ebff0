r"""Logistic regression on probabilities with an L1 penalty, under many weightings of the rows at once.

.. math:: \min_b \sum_i w_i \left[ \log(1 + e^{x_i^\top b}) - y_i\, x_i^\top b \right] + \tfrac1C \lVert b \rVert_1

A few features and many weightings, as a bootstrap has them, are solved together: proximal Newton steps (Lee, Sun and
Saunders 2014), with halving of a step that does not help. A model of scikit-learn has one weighting at a time, and its
liblinear stops within 1e-4 of the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from accord.evaluate.statistics import Floats

_STEPS = 100
_SWEEPS = 8
_HALVINGS = 30
_CLOSE = 1e-9
_FLAT = 1e-9


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
            moved, gained = self._step(weights[going], found[going], 1 / strength)
            found[going] += moved
            small = np.abs(moved).max(1) <= _CLOSE * (1 + np.abs(found[going]).max(1))
            going = going[~small & (gained > _CLOSE**2)]
            if not len(going):
                break
        return found

    def loss(self, coefficients: Floats) -> Floats:
        """The negative log-likelihood of each row, `[...,n]`, under coefficients `[...,k]`."""
        logits = coefficients @ self.features.T
        result: Floats = np.logaddexp(0, logits) - self.target * logits
        return result

    def _step(self, weights: Floats, at: Floats, penalty: float) -> tuple[Floats, Floats]:
        """What the coefficients move by, and what the objective loses by it, relative to its size."""
        p = expit(at @ self.features.T)
        gradient = (weights * (p - self.target)) @ self.features
        products = (self.features[:, :, None] * self.features[:, None, :]).reshape(len(self.features), -1)
        curvature = ((weights * p * (1 - p)) @ products).reshape(len(at), *2 * [self.features.shape[1]])
        direction = _descent(gradient, curvature, at, penalty)
        before = self._objective(weights, at, penalty)
        size = np.ones((len(at), 1))
        after = self._objective(weights, at + direction, penalty)
        for _ in range(_HALVINGS):
            worse = after > before + 1e-12 * (1 + np.abs(before))
            if not worse.any():
                break
            size[worse] /= 2
            after[worse] = self._objective(weights[worse], (at + size * direction)[worse], penalty)
        return size * direction, (before - after) / (1 + np.abs(before))

    def _objective(self, weights: Floats, at: Floats, penalty: float) -> Floats:
        result: Floats = (weights * self.loss(at)).sum(1) + penalty * np.abs(at).sum(1)
        return result


def _descent(gradient: Floats, curvature: Floats, at: Floats, penalty: float) -> Floats:
    """What minimises the quadratic around `at` together with the penalty: `[R,k]`.

    A few sweeps find which coefficients are 0 and the signs of the others; given these, the rest is a linear system.
    """
    end = at.copy()
    k = at.shape[1]
    # A feature that is nowhere, or a row that is certain, has no curvature; the penalty alone then decides.
    curvature = curvature + _FLAT * np.eye(k)
    for _ in range(_SWEEPS):
        for place in range(k):
            bend = curvature[:, place, place]
            slope = gradient[:, place] + (curvature[:, place] * (end - at)).sum(1)
            free = bend * end[:, place] - slope
            end[:, place] = np.sign(free) * np.maximum(np.abs(free) - penalty, 0.0) / bend
    signs = np.sign(end)
    active = signs != 0
    both = active[:, :, None] & active[:, None, :]
    system = np.where(both, curvature, np.eye(k))
    wanted = (curvature * at[:, None, :]).sum(2) - gradient - penalty * signs
    solved = np.linalg.solve(system, np.where(active, wanted, 0.0)[:, :, None])[:, :, 0]
    agrees = np.all(np.sign(solved) == signs, axis=1)
    return np.where(agrees[:, None], solved, end) - at
