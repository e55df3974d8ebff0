"""Lean layers give the values and gradients of every architecture's own, and stay out of what they are not."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from accord.policy.engine import products
from accord.policy.engine.layers import gated, is_own, rms_norm, use_lean_layers
from accord.policy.engine.operators import onednn_linear
from accord.policy.load import load_policy
from accord.testing import ARCHITECTURES, Architecture, tiny_model


def gradients(outcome: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    upstream = torch.cos(torch.arange(outcome.numel(), dtype=outcome.dtype)).view(outcome.shape)
    return torch.autograd.grad(outcome, inputs, upstream)


def written_out(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return weight * (states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + epsilon))


@pytest.mark.parametrize("shape", [(7, 24), (1, 5, 3, 24)], ids=["rows", "heads"])
def test_a_norm_in_few_passes_is_the_norm_written_out(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(shape, requires_grad=True), torch.randn(24, requires_grad=True)
    turned = states.transpose(0, -2)
    got, expected = rms_norm(turned, weight, 1e-5), written_out(turned, weight, 1e-5)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    for one, other in zip(gradients(got, (states, weight)), gradients(expected, (states, weight)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_norm_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(1)
    states, weight = torch.randn(3, 6, dtype=torch.double), torch.randn(6, dtype=torch.double)
    torch.autograd.gradcheck(partial(rms_norm, epsilon=1e-6), (states.requires_grad_(), weight.requires_grad_()))


def test_a_gate_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(2)
    gate, up = torch.randn(3, 6, dtype=torch.double), torch.randn(3, 6, dtype=torch.double)
    torch.autograd.gradcheck(gated, (gate.requires_grad_(), up.requires_grad_()))


@pytest.mark.parametrize("bias", [True, False])
def test_products_of_another_library_are_the_products(bias: bool) -> None:
    torch.manual_seed(3)
    layer, states = nn.Linear(160, 130, bias=bias), torch.randn(2, 9, 160, requires_grad=True)
    inputs = (states, *layer.parameters())
    expected, got = layer(states), products.linear_forward(layer, states)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients(got, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(onednn_linear is None, reason="this PyTorch lacks the operator")
def test_a_product_keeps_only_what_its_gradients_need() -> None:
    weight, states = torch.randn(130, 160), torch.randn(9, 160)

    def kept(states: Tensor, weight: Tensor) -> list[bool]:
        found: Any = products.product(states, weight).grad_fn
        return [tensor is not None for tensor in found.saved_tensors]

    assert kept(states.clone().requires_grad_(), weight) == [False, True]
    assert kept(states, weight.clone().requires_grad_()) == [True, True]  # the weight says where its gradient is kept


def test_a_bias_alone_can_be_trained() -> None:
    bias = torch.zeros(130, requires_grad=True)
    torch.autograd.backward(products.product(torch.randn(9, 160), torch.randn(130, 160), bias).sum())
    assert bias.grad is not None
    assert bias.grad.tolist() == [9.0] * 130


def test_without_gradients_the_values_are_the_same() -> None:
    torch.manual_seed(6)
    states, weight = torch.randn(5, 160, requires_grad=True), torch.randn(160, requires_grad=True)
    matrix = torch.randn(130, 160)
    with_gradients = rms_norm(states, weight, 1e-6), gated(states, states), products.product(states, matrix)
    with torch.no_grad():
        without = rms_norm(states, weight, 1e-6), gated(states, states), products.product(states, matrix)
    assert all(torch.equal(one, other) for one, other in zip(with_gradients, without, strict=True))
    assert not any(one.requires_grad for one in without)


def test_products_in_another_precision_or_of_nothing_go_the_usual_way() -> None:
    weight = torch.randn(130, 160)
    assert products.product(torch.zeros(0, 160), weight).shape == (0, 130)
    assert products.product(torch.randn(2, 160).bfloat16(), weight.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert products.product(torch.randn(2, 160), weight).dtype == torch.bfloat16


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_computes_the_same(tmp_path: Path, architecture: Architecture) -> None:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path, architecture))
    model.train(False)
    with torch.no_grad():
        for parameter in model.parameters():  # norms that are all ones would hide what they multiply with
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    lean = copy.deepcopy(model)
    state = torch.get_rng_state()
    use_lean_layers(lean)
    assert torch.equal(state, torch.get_rng_state())
    ids = torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(5))
    found = []
    for one in (model, lean):
        logits = one(input_ids=ids).logits
        found.append((logits, *gradients(logits, tuple(p for p in one.parameters() if p.requires_grad))))
    for of_own, of_lean in zip(*found, strict=True):
        torch.testing.assert_close(of_lean, of_own, atol=1e-4, rtol=1e-3)


def test_the_layers_of_known_models_are_found(tmp_path: Path) -> None:
    known: list[tuple[Architecture, int, int]] = [("llama", 5, 2), ("qwen3", 9, 2), ("gemma2", 9, 0), ("gpt2", 0, 0)]
    for architecture, norms, gates in known:
        model = load_policy(tiny_model(tmp_path / architecture, architecture)).model
        forwards = [
            vars(module)["forward"].__func__.__name__ for module in model.modules() if "forward" in vars(module)
        ]
        assert sum("norm" in name for name in forwards) == norms, architecture
        assert forwards.count("_gated_forward") == gates, architecture
        assert all(is_own(module) for module in model.modules())


class Doubled(nn.Module):
    """Holds what a norm holds, and computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, states: Tensor) -> Tensor:
        return 2.0 * self.weight * states


class GatedNorm(nn.Module):
    """A norm by its values, but one that takes a gate besides."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, states: Tensor, gate: Tensor | None = None) -> Tensor:
        normed = written_out(states, self.weight, self.eps)
        return normed if gate is None else normed * gate


class Scaled(nn.Module):
    """A gated layer with a factor of its own."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 9), nn.Linear(8, 9), nn.Linear(9, 8)
        self.factor = factor

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.down_proj(self.factor * nn.functional.silu(self.gate_proj(states)) * self.up_proj(states))
        return found


def test_what_only_looks_like_a_known_layer_is_left_alone() -> None:
    model = nn.ModuleList([Doubled(), GatedNorm(), Scaled(0.5), nn.LayerNorm(8, bias=False), Scaled(1.0)])
    use_lean_layers(model)
    assert ["forward" in vars(layer) for layer in model] == [False, False, False, False, True]


def test_a_forward_pass_that_somebody_replaced_is_left_alone() -> None:
    layer = nn.Linear(8, 9)
    vars(layer)["forward"] = torch.neg
    use_lean_layers(layer)
    assert not is_own(layer)
    assert layer(torch.ones(1)) == -1.0


def test_a_copy_computes_with_its_own_weights(tmp_path: Path) -> None:
    model = load_policy(tiny_model(tmp_path, "llama")).model
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin(input_ids=ids).logits.any()
    torch.testing.assert_close(model(input_ids=ids).logits, before)
