"""Several scores as one: ways to weigh them, and what to compare where no weighing is given."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scalarisation = Literal["linear", "chebyshev", "worst", "nash"]


def scalarised(scores: Tensor, weights: Tensor, *, how: Scalarisation, ideal: Tensor | None = None) -> Tensor:
    r"""One number from K scores, `[...,K] -> [...]`; higher is better.

    - `linear`: :math:`\sum_k w_k r_k`; finds only what lies on the convex part of the front;
    - `chebyshev`: :math:`-\max_k w_k(r^*_k - r_k)`, the distance to an ideal; finds all of the front;
    - `worst`: :math:`\min_k r_k`;
    - `nash`: :math:`\sum_k w_k\log r_k`, for scores above 0: a gain counts by its share.

    Args:
        scores: `[...,K]`.
        weights: `[K]`, at least 0.
        how: the name of the rule.
        ideal: `[K]` best value of each score, for `chebyshev`; 1 if not given.

    Raises:
        ValueError: `nash` of a score that is not above 0.

    >>> scores, weights = torch.tensor([0.9, 0.4, 0.7]), torch.tensor([0.5, 0.3, 0.2])
    >>> scalarised(scores, weights, how="linear"), scalarised(scores, weights, how="chebyshev")
    (tensor(0.7100), tensor(-0.1800))
    """
    if how == "linear":
        return (weights * scores).sum(-1)
    if how == "chebyshev":
        best = torch.ones_like(weights) if ideal is None else ideal
        return -(weights * (best - scores)).amax(-1)
    if how == "worst":
        return scores.amin(-1)
    if not bool((scores > 0).all()):
        raise ValueError("the Nash product needs scores above 0")
    return (weights * scores.log()).sum(-1)


def pareto_front(points: Tensor) -> Tensor:
    """Which of the points, `[N,K]`, no other is at least as good as in every score and better in one: `[N]` booleans.

    >>> pareto_front(torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.3, 0.9], [0.5, 0.5]]))
    tensor([ True,  True,  True, False])
    """
    other, own = points.unsqueeze(0), points.unsqueeze(1)
    dominated = ((other >= own).all(-1) & (other > own).any(-1)).any(1)
    return ~dominated


def hypervolume(points: Tensor, reference: Tensor) -> float:
    """Area that the points, `[N,2]`, dominate above a reference point, `[2]`; state the reference with the number.

    Raises:
        ValueError: the points do not have two scores.

    >>> points = torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.3, 0.9], [0.5, 0.5]], dtype=torch.float64)
    >>> round(hypervolume(points, torch.zeros(2, dtype=torch.float64)), 9)
    0.51
    """
    if points.shape[-1] != 2:
        raise ValueError(f"the area is of two scores, not of {points.shape[-1]}")
    above = (points - reference).clamp_min(0.0)
    area, height = 0.0, 0.0
    # From the largest first score to the least: each point adds the strip by which its second exceeds all before.
    for first, second in sorted(above.tolist(), reverse=True):
        area += first * max(0.0, second - height)
        height = max(height, second)
    return area
