"""The loss that learns a constraint: worked numbers, and what it forbids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.inverse_constraint import inverse_constraint

Golden = dict[str, dict[str, Any]]
DOUBLE = torch.float64


def odds(case: dict[str, Any]) -> Tensor:
    inputs = case["inputs"]
    return torch.logit(torch.tensor([[*inputs["zeta_expert"], *inputs["zeta_nominal"]]], dtype=DOUBLE))


LABELS = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=DOUBLE)


def test_the_loss_of_the_constraint_network(golden: Golden) -> None:
    case = golden["icdpo_seed.constraint_net_loss"]
    delta = case["inputs"]["regulariser"]
    value = inverse_constraint(odds(case), LABELS, regulariser=delta, epsilon=1e-12).value()
    assert float(value) == pytest.approx(case["expected"]["loss"], rel=1e-6)


def test_the_classifier(golden: Golden) -> None:
    case = golden["icdpo_seed.classifier_variant"]
    value = inverse_constraint(odds(case), LABELS, form="classifier", regulariser=0.0, epsilon=1e-12).value()
    assert float(value) == pytest.approx(case["expected"]["loss"], rel=1e-6)


def learned(ratio: float, *, form: Any = "max_entropy") -> float:
    """Permissibility of a response that makes up `ratio` times as much of the samples as of the demonstrations."""
    z = torch.zeros(1, 4, dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    # Two kinds of response; the second stands for the rest, so that both sides have the same total.
    weight = torch.tensor([[0.1, 0.9, -0.1 * ratio, -(1 - 0.1 * ratio)]], dtype=DOUBLE)
    for _ in range(400):
        kinds = torch.stack([z[0, 0], z[0, 1], z[0, 0], z[0, 1]]).unsqueeze(0)
        optimizer.zero_grad()
        torch.autograd.backward(inverse_constraint(kinds, weight, form=form).value())
        optimizer.step()
    return float(torch.sigmoid(z[0, 0].detach()))


@pytest.mark.parametrize(("ratio", "permitted"), [(0.5, True), (1.0, True), (1.5, True), (1.9, False), (8.0, False)])
def test_what_both_do_alike_is_permitted(ratio: float, permitted: bool) -> None:
    assert (learned(ratio) > 0.9) is permitted
    assert (learned(ratio) < 0.1) is not permitted


def test_a_classifier_is_undecided_where_both_do_alike() -> None:
    assert learned(1.0, form="classifier") == pytest.approx(0.6, abs=0.05)


def test_unlabelled_responses_count_for_nothing() -> None:
    z = torch.tensor([[float("nan"), 0.4, -2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(inverse_constraint(z, torch.tensor([[0.0, 1.0, -1.0]])).value(), z)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 0] == 0
    assert gradient[0, 1] < 0 < gradient[0, 2]
