"""The pull of a guide and the push from teammates, against worked numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.guidance import GUIDANCE, guide_divergence, likeness

Golden = dict[str, dict[str, Any]]


def teacher(policy: Tensor, *others: Tensor) -> Callable[..., Tensor]:
    """As the loop makes it: the mean over the others of a measure, on one token."""

    def measured(measure: Callable[[Tensor, Tensor], Tensor], *, temperature: float) -> Tensor:
        each = [measure((policy / temperature).log_softmax(-1), other.log_softmax(-1)) for other in others]
        return torch.stack(each).mean(0).view(1, 1, 1)

    return measured


def probabilities(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64).log()


def test_kickstarting(golden: Golden) -> None:
    case = golden["gpo_seed.kickstart_kl"]
    policy, guide = probabilities(case["inputs"]["p_main"]), probabilities(case["inputs"]["p_guide"])
    weight = case["inputs"]["lambda"]
    found = guide_divergence(teacher(policy, guide), {}, guide_kl=weight)
    assert float(found) == pytest.approx(case["expected"]["penalty"])
    halved = guide_divergence(teacher(policy, guide), {GUIDANCE: torch.tensor(0.5)}, guide_kl=weight)
    assert float(halved) == pytest.approx(0.5 * case["expected"]["penalty"])


def test_mutual_learning(golden: Golden) -> None:
    case = golden["simpo_seed.ensemble"]
    first, *others = map(probabilities, case["inputs"]["policies"])
    found = guide_divergence(teacher(first, *others), {}, guide_kl=1.0)
    assert float(found) == pytest.approx(case["expected"]["mutual_kl_policy0"])


def test_two_policies_are_pushed_apart_by_their_divergence() -> None:
    first, second = probabilities([0.5, 0.5]), probabilities([0.75, 0.25])
    first.requires_grad_()
    found = likeness(teacher(first, second), diversity_bonus=2.0)
    middle = torch.tensor([0.625, 0.375], dtype=torch.float64)
    each = [(p.exp() * (p - middle.log())).sum() for p in (first.detach(), second)]
    assert float(found.detach()) == pytest.approx(-2.0 * float(sum(each)) / 2)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert first.grad[0, 0] > 0 > first.grad[0, 1]  # a step against it leaves what the second says more


def test_at_zero_nobody_else_is_needed() -> None:
    assert all("teacher" not in method.signature.needs for method in METHODS.values())
    assert "teacher" in METHODS["grpo"].objective({"guide_kl": 0.1}).signature.needs
    assert "teacher" in METHODS["grpo"].objective({"diversity_bonus": 0.1}).signature.needs
