"""The tiled head against log-softmax: values and gradients, for any sizes, kept or made again."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.policy.engine import head
from accord.policy.engine.head import linear_logprobs, linear_logprobs_and_entropies


def plain(states: Tensor, weight: Tensor, target: Tensor, scale: float) -> Tensor:
    logits = scale * (states @ weight.t())
    return torch.log_softmax(logits, -1).gather(-1, target[:, None]).squeeze(-1)


def problem(count: int, vocabulary: int, seed: int, size: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(count, size, generator=random).requires_grad_()
    weight = torch.randn(vocabulary, size, generator=random).requires_grad_()
    return states, weight, torch.randint(vocabulary, (count,), generator=random), torch.randn(count, generator=random)


@pytest.mark.parametrize("kept", [0, 700, 2**30], ids=["recomputed", "some kept", "kept"])
@given(
    count=st.integers(1, 20), vocabulary=st.integers(1, 40), scale=st.sampled_from([1.0, 0.3]), seed=st.integers(0, 99)
)
def test_tiles_give_what_log_softmax_gives(kept: int, count: int, vocabulary: int, scale: float, seed: int) -> None:
    states, weight, target, upstream = problem(count, vocabulary, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "ROWS", 7)
        patch.setattr(head, "COLUMNS", 16)
        patch.setattr(head, "kept_bytes", lambda weight: kept)
        got = linear_logprobs(states, weight, target, scale=scale)
        of_states, of_weight = torch.autograd.grad(got, (states, weight), upstream)
    expected = plain(states, weight, target, scale)
    to_states, to_weight = torch.autograd.grad(expected, (states, weight), upstream)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(of_states, to_states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(of_weight, to_weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kept", [0, 2**30], ids=["recomputed", "kept"])
@given(
    count=st.integers(1, 12), vocabulary=st.integers(1, 40), scale=st.sampled_from([1.0, 3.0]), seed=st.integers(0, 99)
)
def test_entropies_come_in_the_same_pass(kept: int, count: int, vocabulary: int, scale: float, seed: int) -> None:
    states, weight, target, upstream = problem(count, vocabulary, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "ROWS", 7)
        patch.setattr(head, "COLUMNS", 16)
        patch.setattr(head, "kept_bytes", lambda weight: kept)
        got, entropies = linear_logprobs_and_entropies(states, weight, target, scale=scale)
        mixture = (got * upstream + entropies * upstream.flip(0)).sum()
        of_states, of_weight = torch.autograd.grad(mixture, (states, weight))
    logprobs = torch.log_softmax(scale * (states @ weight.t()), -1)
    expected, entropy = plain(states, weight, target, scale), -(logprobs.exp() * logprobs).sum(-1)
    to_states, to_weight = torch.autograd.grad(
        (expected * upstream + entropy * upstream.flip(0)).sum(), (states, weight)
    )
    torch.testing.assert_close((got, entropies), (expected, entropy), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close((of_states, of_weight), (to_states, to_weight), atol=5e-5, rtol=1e-3)


def test_a_second_backward_pass_gives_the_same() -> None:
    states, weight, target, upstream = problem(9, 30, seed=1)
    got = linear_logprobs(states, weight, target)
    first = torch.autograd.grad(got, (states, weight), upstream, retain_graph=True)
    second = torch.autograd.grad(got, (states, weight), upstream)
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


def test_a_frozen_weight_costs_no_gradient() -> None:
    states, weight, target, upstream = problem(9, 30, seed=2)
    got = linear_logprobs(states, weight.detach(), target)
    torch.autograd.backward(got, upstream)
    expected = torch.autograd.grad(plain(states, weight, target, 1.0), states, upstream)[0]
    assert states.grad is not None
    torch.testing.assert_close(states.grad, expected, atol=1e-5, rtol=1e-4)


def test_without_gradients_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tensor]] = []
    logits = head._logits

    def watched(states: Tensor, weight: Tensor, scale: float) -> Tensor:
        tile = logits(states, weight, scale)
        made.append(weakref.ref(tile))
        return tile

    monkeypatch.setattr(head, "_logits", watched)
    states, weight, target, _ = problem(9, 30, seed=5)
    with torch.no_grad():
        linear_logprobs(states, weight, target)
    assert made.pop()() is None
    values = linear_logprobs(states, weight, target)
    assert made.pop()() is not None
    assert values.requires_grad


def test_extreme_logits_stay_finite() -> None:
    states, weight, target, upstream = problem(9, 30, seed=3)
    got = linear_logprobs(states, weight, target, scale=1e4)
    of_states, of_weight = torch.autograd.grad(got, (states, weight), upstream)
    assert bool(torch.isfinite(got).all() and torch.isfinite(of_states).all() and torch.isfinite(of_weight).all())
    torch.testing.assert_close(got, plain(states, weight, target, 1e4), atol=1e-1, rtol=1e-5)


def test_bf16_products_keep_statistics_in_float32() -> None:
    states, weight, target, upstream = problem(40, 300, seed=4, size=32)
    half = states.detach().bfloat16().requires_grad_()
    got = linear_logprobs(half, weight, target)
    assert got.dtype == torch.float32
    of_states, of_weight = torch.autograd.grad(got, (half, weight), upstream)
    assert of_states.dtype == torch.bfloat16
    assert of_weight.dtype == torch.float32
    expected = plain(states, weight, target, 1.0)
    to_states, to_weight = torch.autograd.grad(expected, (states, weight), upstream)
    torch.testing.assert_close(got, expected, atol=0.2, rtol=0)
    assert float((of_states.float() - to_states).norm()) <= 0.05 * float(to_states.norm())
    assert float((of_weight - to_weight).norm()) <= 0.05 * float(to_weight.norm())


def test_on_a_cpu_a_head_that_trains_keeps_as_much_as_it_takes_itself() -> None:
    weight = torch.empty(2**17, 512)
    assert head.kept_bytes(weight) == head.KEEP_BYTES
    assert head.kept_bytes(weight.requires_grad_()) == 2 * weight.nbytes
    assert head.kept_bytes(torch.empty(300, 8, requires_grad=True)) == head.KEEP_BYTES
    assert head.kept_bytes(torch.empty(2**17, 512, device="meta", requires_grad=True)) == head.KEEP_BYTES
