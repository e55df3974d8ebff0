"""Gradients that are added where they are kept are the gradients PyTorch gives, step after step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.policy.engine import products
from accord.policy.engine.gradients import Gradients, collects, kept_gradient
from accord.policy.engine.layers import use_lean_layers
from accord.policy.engine.operators import onednn_linear
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse
from accord.testing import ARCHITECTURES, Architecture, tiny_model

BATCH = [
    Encoded((5, 6, 7, 8), (EncodedResponse((9, 10, 11), (True,) * 3), EncodedResponse((12, 9), (True,) * 2))),
    Encoded((8, 6), (EncodedResponse((7, 11, 9, 9), (True,) * 4),)),
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the products of small models go the way of large ones."""
    monkeypatch.setattr(products, "SMALLEST", 1)


def policy_of(architecture: Architecture, directory: Path, **settings: Any) -> Policy:
    return load_policy(str(tiny_model(directory, architecture)), **settings)


def backward(policy: Policy, gradients: Gradients | None, parts: int = 2) -> dict[str, Tensor]:
    """The gradients of a loss whose micro-batches follow each other."""
    for parameter in policy.trainable().values():
        parameter.grad = None
    with gradients.collecting() if gradients is not None else nullcontext():
        for part in (BATCH, BATCH[::-1])[:parts]:
            torch.autograd.backward((policy.logprobs(part).sum(-1) * torch.tensor([[1.0, -2.0], [0.5, 0.0]])).sum())
    return {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora", [0, 4], ids=["full", "lora"])
def test_kept_gradients_are_the_gradients(architecture: Architecture, lora: int, tmp_path: Path, small: None) -> None:
    policy = policy_of(architecture, tmp_path, lora_r=lora)
    expected = backward(policy, None)
    gradients = Gradients(policy.trainable().values())
    for _ in range(2):  # the second time over what the first has left in memory
        got = backward(policy, gradients)
        assert got.keys() == expected.keys()
        for name, gradient in expected.items():
            close = torch.allclose(got[name], gradient, atol=2e-6, rtol=1e-4)
            assert close, f"{name}: {float((got[name] - gradient).abs().max())}"


@pytest.mark.skipif(onednn_linear is None, reason="this PyTorch lacks the operator")
def test_gradients_stay_where_they_were(tmp_path: Path, small: None) -> None:
    policy = policy_of("llama", tmp_path)
    matrices = {name: p for name, p in policy.trainable().items() if p.ndim == 2 and "embed" not in name}
    gradients = Gradients(policy.trainable().values())
    places = []
    for _ in range(2):
        backward(policy, gradients, parts=1)
        places.append({name: p.grad.data_ptr() for name, p in matrices.items() if p.grad is not None})
    assert places[0] == places[1]
    assert places[0].keys() == matrices.keys()
    assert all(gradients.place(p).data_ptr() == places[0][name] for name, p in matrices.items())  # type: ignore[union-attr]


def test_outside_the_block_gradients_are_returned(tmp_path: Path, small: None) -> None:
    policy = policy_of("llama", tmp_path)
    weights = list(policy.trainable().values())
    gradients = Gradients(weights)
    with gradients.collecting():
        pass
    assert not any(collects(weight) for weight in weights)
    found = torch.autograd.grad(policy.logprobs(BATCH).sum(), weights)
    assert all(bool(gradient.abs().sum() > 0) for gradient in found)
    assert all(weight.grad is None for weight in weights)


@pytest.mark.parametrize("watch", ["register_hook", "register_post_accumulate_grad_hook"])
def test_whoever_watches_a_weight_is_told(watch: str, small: None) -> None:
    layer, seen = nn.Linear(20, 30, bias=False), []
    gradients = Gradients(layer.parameters())
    hook: Callable[..., Any] = getattr(layer.weight, watch)
    handle = hook(lambda told: seen.append(tuple(told.shape)))
    with gradients.collecting():
        assert kept_gradient(layer.weight) is None
        torch.autograd.backward(products.linear_forward(layer, torch.ones(3, 20)).sum())
        assert seen == [(30, 20)]
        handle.remove()
        torch.autograd.backward(products.linear_forward(layer, torch.ones(3, 20)).sum())
    assert seen == [(30, 20)]
    torch.testing.assert_close(layer.weight.grad, torch.full((30, 20), 6.0))


def test_only_whole_float32_matrices_on_a_cpu_have_a_place() -> None:
    matrix = nn.Parameter(torch.ones(3, 4))
    others = [
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(3, 4), requires_grad=False),
        nn.Parameter(torch.ones(3, 4, dtype=torch.bfloat16)),
        nn.Parameter(torch.ones(3, 4, device="meta")),
    ]
    gradients = Gradients([matrix, *others])
    assert gradients.place(matrix) is not None
    assert [gradients.place(other) for other in others] == [None] * 4
    assert gradients.place(torch.ones(3, 4)) is None
    assert Gradients([]).place(matrix) is None


@pytest.mark.parametrize("inputs", [40, products.WIDE + 8], ids=["narrow", "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_outer_products_are_added_or_written_over(inputs: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    upstream, states = torch.randn(50, 60).to(dtype), torch.randn(50, inputs).to(dtype)
    expected = upstream.double().t() @ states.double()
    close: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4} if dtype is torch.float32 else {"atol": 0.3, "rtol": 0.05}
    total = torch.full((60, inputs), float("nan"))
    products.add_outer(total, upstream, states, overwrite=True)
    torch.testing.assert_close(total.double(), expected, **close)
    products.add_outer(total, upstream, states, overwrite=False)
    torch.testing.assert_close(total.double(), 2 * expected, **close)
    torch.testing.assert_close(products.outer(upstream, states).double(), expected, **close)


class Gate(nn.Module):
    """A SwiGLU layer as transformers writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(20, 36, bias=False), nn.Linear(20, 36, bias=False)
        self.down_proj = nn.Linear(36, 20, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.down_proj(nn.functional.silu(self.gate_proj(states)) * self.up_proj(states))
        return found


@pytest.mark.skipif(onednn_linear is None, reason="this PyTorch lacks the operator")
@pytest.mark.parametrize("frozen", [(), ("gate_proj",), ("up_proj",), ("down_proj",), ("gate_proj", "down_proj")])
@pytest.mark.parametrize("of_states", [True, False])
def test_a_whole_gated_layer_has_its_gradients(frozen: tuple[str, ...], of_states: bool, small: None) -> None:
    torch.manual_seed(0)
    plain = Gate()
    for name in frozen:
        getattr(plain, name).requires_grad_(False)
    states = torch.randn(2, 7, 20, requires_grad=of_states)
    wanted = [*([states] if of_states else []), *(p for p in plain.parameters() if p.requires_grad)]
    upstream = torch.randn(2, 7, 20)
    outcomes = []
    for lean in (False, True):
        if lean:
            use_lean_layers(plain)
        outcome = plain(states)
        outcomes.append((outcome, *torch.autograd.grad(outcome, wanted, upstream)))
    assert type(outcome.grad_fn).__name__ == "_GatedLayerBackward"
    for expected, got in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_whoever_watches_a_projection_sees_it(small: None) -> None:
    layer, seen = Gate(), []
    use_lean_layers(layer)
    layer.down_proj.register_forward_hook(lambda module, inputs, outcome: seen.append(inputs[0].shape))
    layer(torch.randn(7, 20))
    assert seen == [(7, 36)]
