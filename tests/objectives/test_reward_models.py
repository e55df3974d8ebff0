"""Reward models of steps and of several named values: worked numbers, gradients, what counts for nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.bradley_terry import bradley_terry
from accord.objectives.named_rewards import multi_bradley_terry, reward_regression
from accord.objectives.process_reward import process_reward

Golden = dict[str, dict[str, Any]]
DOUBLE = torch.float64


def steps(golden: Golden) -> tuple[Tensor, Tensor, Tensor]:
    inputs = golden["prm.step"]["inputs"]
    logits = torch.tensor(inputs["step_logits_[neg,pos]"], dtype=DOUBLE)
    label = torch.tensor(inputs["labels"], dtype=DOUBLE)
    return (logits[:, 1] - logits[:, 0]).view(1, 1, -1), label.view(1, 1, -1), torch.ones(1, 1, 3, dtype=DOUBLE)


def test_cross_entropy_of_each_step(golden: Golden) -> None:
    terms = process_reward(*steps(golden))
    expected = golden["prm.step"]["expected"]
    torch.testing.assert_close(terms.loss.flatten(), torch.tensor(expected["ce_per_step"], dtype=DOUBLE))
    assert terms.value().item() == pytest.approx(expected["loss"], rel=1e-6)


def test_a_share_is_the_weighted_sum_of_both_labels() -> None:
    z, end = torch.tensor([[[0.7]]], dtype=DOUBLE), torch.ones(1, 1, 1, dtype=DOUBLE)
    good, bad, share = (process_reward(z, torch.full_like(z, label), end).value() for label in (1.0, 0.0, 0.75))
    torch.testing.assert_close(share, 0.75 * good + 0.25 * bad)


def test_tokens_without_a_label_count_for_nothing() -> None:
    z = torch.tensor([[[float("nan"), 0.4, 1e30]]], requires_grad=True)
    end = torch.tensor([[[0.0, 1.0, 0.0]]])
    value = process_reward(z, torch.tensor([[[0.0, 1.0, 0.0]]]), end).value()
    (gradient,) = torch.autograd.grad(value, z)
    assert torch.isfinite(value)
    assert gradient.nonzero().tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("z", [-1e4, 1e4])
def test_extreme_steps_stay_finite(dtype: torch.dtype, z: float) -> None:
    leaf = torch.tensor([[[z]]], dtype=dtype, requires_grad=True)
    value = process_reward(leaf, torch.tensor([[[0.0 if z > 0 else 1.0]]]), torch.ones(1, 1, 1)).value()
    (gradient,) = torch.autograd.grad(value, leaf)
    assert torch.isfinite(value)
    assert float(gradient.abs()) == pytest.approx(1.0)


def test_what_is_reported_of_steps(golden: Golden) -> None:
    metrics = process_reward(*steps(golden)).metrics
    assert {name: float((v * w).sum() / w.sum()) for name, (v, w) in metrics.items()} == {
        "accuracy": 1.0,
        "bad_found": 1.0,
    }


def test_regression_by_hand() -> None:
    rewards = torch.tensor([[[3.0, 1.0], [0.0, 9.0]]], dtype=DOUBLE, requires_grad=True)
    scores = torch.tensor([[[4.0, float("nan")], [2.0, 9.0]]], dtype=DOUBLE)
    given = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]], dtype=DOUBLE)
    value = reward_regression(rewards, scores, given).value()
    assert value.item() == pytest.approx((1.0 + 4.0 + 0.0) / 3)
    (gradient,) = torch.autograd.grad(value, rewards)
    torch.testing.assert_close(gradient, torch.tensor([[[-2 / 3, 0.0], [-4 / 3, 0.0]]], dtype=DOUBLE))


def test_one_value_is_bradley_terry() -> None:
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randn(4, 3, 1, generator=generator, dtype=DOUBLE)
    prefer = torch.rand(4, 1, 3, 3, generator=generator, dtype=DOUBLE) * (1 - torch.eye(3, dtype=DOUBLE))
    several = multi_bradley_terry(rewards, prefer).value()
    torch.testing.assert_close(several, bradley_terry(rewards[..., 0], prefer[:, 0]).value())


def test_each_value_learns_its_own_ranking() -> None:
    rewards = torch.zeros(1, 2, 2, dtype=DOUBLE, requires_grad=True)
    prefer = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]]], dtype=DOUBLE)
    (gradient,) = torch.autograd.grad(multi_bradley_terry(rewards, prefer).value(), rewards)
    assert gradient.sign().tolist() == [[[-1, 1], [1, -1]]]


@pytest.mark.parametrize("name", ["process_reward", "reward_regression", "multi_bradley_terry"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=DOUBLE)

    leaf = (4 * uniform(2, 3, 2) - 2).requires_grad_()
    given = (uniform(2, 3, 2) < 0.7).double()
    prefer = uniform(2, 2, 3, 3) * (1 - torch.eye(3, dtype=DOUBLE))
    functions: dict[str, Any] = {
        "process_reward": lambda x: process_reward(x, uniform(2, 3, 2).round(), given).value(),
        "reward_regression": lambda x: reward_regression(x, 2 * uniform(2, 3, 2), given).value(),
        "multi_bradley_terry": lambda x: multi_bradley_terry(x, prefer).value(),
    }

    def repeated(values: Tensor) -> Tensor:
        generator.manual_seed(2)
        result: Tensor = functions[name](values)
        return result

    assert torch.autograd.gradcheck(repeated, (leaf,), atol=1e-7)
