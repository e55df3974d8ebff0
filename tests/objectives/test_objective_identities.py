"""Values known without computing: the first step, limits, and degenerate feedback."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES
from accord.objectives.primitives import chosen_nll, log1mexp

dpo, ipo, kto, orpo = (OBJECTIVES[name] for name in ("dpo", "ipo", "kto", "orpo"))
bradley_terry = OBJECTIVES["bradley_terry"]

Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]


def at_the_start(tensors: Tensors) -> Tensors:
    return tensors | {"reference": tensors["policy"].detach().clone()}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_dpo_starts_at_log_two(toy: Tensors, smoothing: float) -> None:
    loss = dpo(**at_the_start(toy), label_smoothing=smoothing).loss
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2.0)))


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("length", ["sum", "token_mean"])
def test_ipo_starts_at_its_squared_target(toy: Tensors, tau: float, length: str) -> None:
    loss = ipo(**at_the_start(toy), tau=tau, length=length).loss
    torch.testing.assert_close(loss, torch.full_like(loss, (1.0 / (2.0 * tau)) ** 2))


def test_kto_starts_at_one_half(random_batch: RandomBatch) -> None:
    tensors = at_the_start(random_batch(("policy", "reference", "mask", "label", "mismatched_kl")))
    loss = kto(**tensors | {"mismatched_kl": torch.tensor(0.0)}).loss
    torch.testing.assert_close(loss, torch.full_like(loss, 0.5))


def test_equal_rewards_cost_log_two() -> None:
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    assert bradley_terry(torch.tensor([[0.7, 0.7]]), prefer).value().item() == pytest.approx(math.log(2.0))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_kto_learns_from_one_class_alone(random_batch: RandomBatch, sign: float) -> None:
    tensors = random_batch(("policy", "reference", "mask", "label", "mismatched_kl"))
    tensors["label"] = torch.full_like(tensors["label"], sign)
    (gradient,) = torch.autograd.grad(kto(**tensors).value(), tensors["policy"])
    assert (gradient * sign <= 0).all()
    assert (gradient * sign)[tensors["mask"] > 0].max() < 0


def test_kto_label_size_is_a_weight(random_batch: RandomBatch) -> None:
    tensors = random_batch(("policy", "reference", "mask", "label", "mismatched_kl"), groups=2, responses=1)
    twice = {key: value if value.ndim == 0 else value[[0, 0, 1]] for key, value in tensors.items()}
    tensors["label"] = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
    twice["label"] = torch.tensor([[1.0], [1.0], [-1.0]], dtype=torch.float64)
    torch.testing.assert_close(kto(**tensors).value(), kto(**twice).value())


def test_dpo_likelihood_term_keeps_its_own_denominator(toy: Tensors) -> None:
    terms = dpo(**toy, nll=2.0)
    preference, likelihood = terms.components()
    assert (likelihood.name, likelihood.scale) == ("nll", 2.0)
    assert likelihood.weight.sum() == 7.0  # tokens of the two chosen responses
    expected = preference.value() + 2.0 * chosen_nll(toy["policy"], toy["mask"], toy["prefer"]).value()
    torch.testing.assert_close(terms.value(), expected)


def test_dpo_label_smoothing_leaves_the_denominator(toy: Tensors) -> None:
    torch.testing.assert_close(dpo(**toy, label_smoothing=0.2).weight, dpo(**toy).weight)


def test_orpo_survives_a_certain_response(toy: Tensors) -> None:
    policy = torch.zeros_like(toy["policy"]).requires_grad_()
    value = orpo(policy, toy["mask"], toy["prefer"]).value()
    (gradient,) = torch.autograd.grad(value, policy)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_accurate_near_and_far(dtype: torch.dtype) -> None:
    values = torch.tensor([-1e-6, -1e-3, -0.5, -0.6931, -0.6932, -3.0, -30.0, -1e4], dtype=torch.float64)
    exact = torch.tensor([math.log(-math.expm1(value)) for value in values[:-3].tolist()], dtype=torch.float64)
    computed = log1mexp(values.to(dtype))
    torch.testing.assert_close(computed[:-3].double(), exact, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0)
    torch.testing.assert_close(computed[-3].double(), torch.tensor(-0.05106918, dtype=torch.float64))
    assert computed[-2].item() == pytest.approx(-math.exp(-30.0), rel=1e-5)
    assert computed[-1] == 0.0
