"""Several scores as one: ways to weigh them, and what to compare where no weighing is given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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
    """Volume that the points, `[N,K]`, dominate above a reference point, `[K]`; state the reference with the number.

    Exact, in slices along one score after another (Zitzler 2001; While et al. 2006, "A faster algorithm for calculating
    hypervolume", section II.B): its time grows as N to the power K - 1 at worst, which is nothing for the tens of
    models and the handful of scores of a front.

    Raises:
        ValueError: the reference has another number of scores than the points.

    >>> points = torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.3, 0.9], [0.5, 0.5]], dtype=torch.float64)
    >>> round(hypervolume(points, torch.zeros(2, dtype=torch.float64)), 9)
    0.51
    """
    if points.ndim != 2 or reference.shape != points.shape[1:]:
        raise ValueError(f"points {tuple(points.shape)} and a reference {tuple(reference.shape)} have no volume")
    above = points.double() - reference.double()
    return _dominated(above[(above > 0).all(-1)].tolist())


def within_floors(points: Tensor, score: int, floors: Tensor) -> int | None:
    r"""The point of the highest score among those that reach a floor in all others, `None` if none does.

    The epsilon constraint, :math:`\max_i r_{ik} \text{ such that } r_{il} \ge \epsilon_l` for all other scores l. While
    a policy is trained, the same is a cost under `ppo_lagrangian`.

    Args:
        points: `[N,K]`.
        score: index of the score to be as high as it can (k).
        floors: `[K]` what the others must reach; that of `score` is not looked at.

    Source: Haimes, Lasdon and Wismer 1971; Miettinen 1999, "Nonlinear multiobjective optimization", section 3.2.

    >>> within_floors(torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.3, 0.9]]), 0, torch.tensor([0.0, 0.5]))
    1
    """
    reached = points >= floors
    reached[:, score] = True
    fits = reached.all(-1)
    if not bool(fits.any()):
        return None
    return int(points[:, score].masked_fill(~fits, -torch.inf).argmax())


def _dominated(points: Sequence[Sequence[float]]) -> float:
    """Volume that points above 0 dominate above 0."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(point[0] for point in points)
    if len(points[0]) == 2:
        return _strips(points)
    ordered = sorted(points, key=lambda point: -point[-1])
    heights = [*(point[-1] for point in ordered), 0.0]
    volume = 0.0
    # Between two heights the slice is that of the points that reach the upper one.
    for place, (upper, lower) in enumerate(pairwise(heights)):
        if upper > lower:
            volume += (upper - lower) * _dominated([point[:-1] for point in ordered[: place + 1]])
    return volume


def _strips(points: Sequence[Sequence[float]]) -> float:
    """Area that points above 0 dominate: from the largest first score on, each adds what its second exceeds."""
    area, height = 0.0, 0.0
    for first, second in sorted(points, key=lambda point: (-point[0], -point[1])):
        if second > height:
            area += first * (second - height)
            height = second
    return area
