"""Shared rows under block masks on a GPU, with the real kernels; `docs/gpu.md` says what else to check there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.policy.engine.probe import PADDED
from accord.policy.load import load_policy
from accord.policy.policy import Dtype, Policy
from accord.record import Encoded, EncodedResponse
from accord.testing import Architecture, tiny_model

DEVICE = "cuda"

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore"),  # the compiler's own, which depend on the GPU
    pytest.mark.slow,
]

# The kernels take heads of 16 numbers or more; a window, a soft cap, keys shared by heads, learned positions.
MODELS: list[tuple[Architecture, dict[str, Any]]] = [
    ("qwen3", {"head_dim": 24}),
    ("mistral", {"head_dim": 16}),
    ("gemma2", {"head_dim": 32}),
    ("gpt2", {"n_embd": 64}),
]


def batch(seed: int, prompt: int, *responses: int) -> list[Encoded]:
    """A Group, and a short one behind it."""
    generator = torch.Generator().manual_seed(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (count,), generator=generator).tolist())

    lengths: Sequence[tuple[int, Sequence[int]]] = ((prompt, responses), (3, (20, 9)))
    return [Encoded(ids(p), tuple(EncodedResponse(ids(count), (True,) * count) for count in of)) for p, of in lengths]


def outcome(policy: Policy, groups: list[Encoded]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs, and the gradients of a mixture of them."""
    policy.model.zero_grad()
    values = policy.logprobs(groups)
    mixture = torch.cos(torch.arange(values.numel(), device=values.device)).view(values.shape)
    torch.autograd.backward((values * mixture).sum())
    return values.detach(), {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}


@pytest.mark.parametrize(("dtype", "of_values", "of_gradients"), [("fp32", 1e-4, 1e-3), ("bf16", 0.15, 0.1)])
@pytest.mark.parametrize(("architecture", "config"), MODELS)
def test_block_masks_give_what_padded_rows_give(
    architecture: Architecture,
    config: dict[str, Any],
    dtype: Dtype,
    of_values: float,
    of_gradients: float,
    tmp_path: Path,
) -> None:
    policy = load_policy(tiny_model(tmp_path, architecture, **config), dtype=dtype, device=DEVICE)
    assert policy.engine.attention == "blocks", policy.engine.note
    padded = dataclasses.replace(policy, engine=PADDED)
    for groups in (batch(0, 290, 150, 40), batch(1, 5, 3, 8), batch(2, 130, *[30] * 12)):
        values, gradients = outcome(policy, groups)
        expected_values, expected = outcome(padded, groups)
        torch.testing.assert_close(values, expected_values, atol=of_values, rtol=0)
        largest = max(float(gradient.norm()) for gradient in expected.values())
        for name, gradient in expected.items():
            allowed = of_gradients * max(float(gradient.norm()), 1e-2 * largest)
            assert float((gradients[name] - gradient).norm()) <= allowed, name
        with torch.inference_mode():
            torch.testing.assert_close(policy.logprobs(groups), expected_values, atol=of_values, rtol=0)


def test_what_lies_in_the_row_does_not_compile_again(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "qwen3", head_dim=16), device=DEVICE)
    outcome(policy, batch(3, 150, 60, 70))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for prompt in (140, 155, 170):
            outcome(policy, batch(prompt, prompt, 60, 65))
