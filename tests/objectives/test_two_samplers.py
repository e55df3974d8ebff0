"""Nash-MD and XPO: worked numbers, what they reduce to, and their gradients against sums over a small language."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES, signature_of
from accord.objectives.nash_md import nash_md
from accord.objectives.policy_gradient.mixture import mixture
from accord.objectives.xpo import xpo

PREFER = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
FIRST = torch.tensor([[1.0, 0.0]], dtype=torch.float64)


def batch(name: str, random_batch: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = random_batch(signature_of(OBJECTIVES[name]).needs)
    return found


def test_exploration_is_the_likelihood_of_the_other_samplers_responses(random_batch: Callable[..., Any]) -> None:
    tensors = batch("xpo", random_batch)
    plain = {name: tensors[name] for name in ("policy", "reference", "mask", "prefer")}
    torch.testing.assert_close(xpo(**tensors, alpha=0.0).value(), OBJECTIVES["dpo"](**plain).value())
    other = 1.0 - tensors["own_sample"]
    likelihood = ((tensors["policy"] * tensors["mask"]).sum(-1) * other).sum() / other.sum()
    extra = xpo(**tensors, alpha=0.3).value() - xpo(**tensors, alpha=0.0).value()
    torch.testing.assert_close(extra, 0.3 * likelihood)


def test_without_the_other_sampler_there_is_nothing_to_explore(random_batch: Callable[..., Any]) -> None:
    tensors = batch("xpo", random_batch) | {"own_sample": torch.ones(4, 3, dtype=torch.float64)}
    torch.testing.assert_close(xpo(**tensors, alpha=0.3).value(), xpo(**tensors, alpha=0.0).value())


def test_only_comparisons_with_the_mixture_count_for_nash() -> None:
    policy = torch.tensor([[[-1.0], [-2.0], [-3.0]]], dtype=torch.float64, requires_grad=True)
    prefer = torch.zeros(1, 3, 3, dtype=torch.float64)
    prefer[0, 0, 2], prefer[0, 2, 1], prefer[0, 1, 2], prefer[0, 0, 1] = 1.0, 0.7, 0.3, 1.0
    own = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    terms = nash_md(policy, policy.detach(), torch.ones_like(policy), prefer, own, beta=0.1)
    terms.value().backward()  # type: ignore[no-untyped-call]
    # The first wins against the mixture, the second in 0.3 of the comparisons; that between them is no matter.
    expected = torch.tensor([-0.5, 0.2, 0.0], dtype=torch.float64) / 2
    torch.testing.assert_close(policy.grad, expected.view(1, 3, 1))
    value, weight = terms.metrics["win_rate"]
    assert float((value * weight).sum() / weight.sum()) == pytest.approx(0.65)


def test_nothing_is_compared_with_the_mixture(random_batch: Callable[..., Any]) -> None:
    tensors = batch("nash_md", random_batch) | {"own_sample": torch.ones(4, 3, dtype=torch.float64)}
    assert float(nash_md(**tensors).value().detach()) == 0.0


# A language of three words, each a response; word 0 beats 1, 1 beats 2, 2 beats 0, not by the same margin.
WINS = torch.tensor([[0.5, 0.9, 0.4], [0.1, 0.5, 0.7], [0.6, 0.3, 0.5]], dtype=torch.float64)
BETA, SHARE = 0.3, 0.25


def expected_gradient(logits: Tensor, reference: Tensor) -> Tensor:
    """Of `nash_md` over every pair of an own word and one of the mixture, by its probability."""
    policy = logits.log_softmax(0)
    both = torch.stack([policy.detach(), reference])
    opponent = mixture(both, torch.tensor([1 - SHARE, SHARE], dtype=torch.float64), mixing="geometric").exp()
    total = torch.zeros((), dtype=torch.float64)
    for own in range(3):
        for other in range(3):
            prefer = torch.tensor([[[0.0, WINS[own, other]], [WINS[other, own], 0.0]]], dtype=torch.float64)
            words = torch.tensor([own, other])
            terms = nash_md(
                policy[words].view(1, 2, 1),
                reference[words].view(1, 2, 1),
                torch.ones(1, 2, 1),
                prefer,
                FIRST,
                beta=BETA,
            )
            total = total + policy.detach()[own].exp() * opponent[other] * terms.value()
    (gradient,) = torch.autograd.grad(total, logits)
    return gradient


def test_steps_lead_to_the_policy_that_answers_itself_best() -> None:
    """At rest, the policy is the best answer to the opponent: reference times exp(win rate / beta)."""
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        logits.data -= 1.0 * expected_gradient(logits, reference)
    policy = logits.detach().softmax(0)
    both = torch.stack([policy.log(), reference])
    opponent = mixture(both, torch.tensor([1 - SHARE, SHARE], dtype=torch.float64), mixing="geometric").exp()
    best = (reference + WINS @ opponent / BETA).softmax(0)
    torch.testing.assert_close(policy, best, atol=1e-4, rtol=0)


def test_worked_numbers() -> None:
    policy = torch.tensor([[[-0.5, -1.0], [-0.9, -0.4]]], dtype=torch.float64)
    reference = torch.tensor([[[-0.7, -1.1], [-0.8, -0.5]]], dtype=torch.float64)
    mask, ones = torch.ones(1, 2, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    # Log-ratios 0.3 and 0.0; log-probabilities -1.5 and -1.3.
    value = xpo(policy, reference, mask, ones, PREFER, FIRST, beta=0.5, alpha=0.01).value()
    assert float(value) == pytest.approx(math.log1p(math.exp(-0.15)) - 0.013)
    value = nash_md(policy, reference, mask, PREFER, FIRST, beta=0.5).value()
    assert float(value) == pytest.approx((0.5 - 0.15) * 1.5)
