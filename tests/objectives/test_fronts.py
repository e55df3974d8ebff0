"""The front of several scores, the volume that it dominates, and the best within floors."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.objectives.policy_gradient.scalarise import hypervolume, pareto_front, within_floors


def by_inclusion_and_exclusion(points: Tensor) -> float:
    """The volume of a union of boxes from 0, from the volumes of all intersections."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in combinations(points, size):
            total += (-1) ** (size + 1) * float(torch.stack(chosen).amin(0).prod())
    return total


@st.composite
def fronts(draw: st.DrawFn) -> Tensor:
    count, scores = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    cells = st.lists(st.integers(1, 5), min_size=scores, max_size=scores)
    return torch.tensor(draw(st.lists(cells, min_size=count, max_size=count)), dtype=torch.float64)


@given(fronts())
def test_the_volume_is_that_of_the_union_of_boxes(points: Tensor) -> None:
    zero = torch.zeros(points.shape[1], dtype=torch.float64)
    volume = hypervolume(points, zero)
    assert volume == pytest.approx(by_inclusion_and_exclusion(points))
    assert volume == pytest.approx(hypervolume(points.flip(1), zero))
    assert volume == pytest.approx(hypervolume(points[pareto_front(points)], zero))
    assert volume == pytest.approx(hypervolume(points + 2, zero + 2))


def test_what_does_not_exceed_the_reference_adds_nothing() -> None:
    points = torch.tensor([[1.0, 1.0, 1.0], [5.0, 5.0, 0.0]])
    assert hypervolume(points, torch.zeros(3)) == 1.0
    assert hypervolume(points, torch.full((3,), 9.0)) == 0.0


def test_the_best_within_floors() -> None:
    points = torch.tensor([[0.9, 0.2, 0.5], [0.6, 0.6, 0.5], [0.3, 0.9, 0.1]])
    assert within_floors(points, 0, torch.tensor([9.0, 0.5, 0.5])) == 1
    assert within_floors(points, 0, torch.zeros(3)) == 0
    assert within_floors(points, 1, torch.tensor([0.0, 0.0, 0.9])) is None
