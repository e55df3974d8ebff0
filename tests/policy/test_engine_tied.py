"""A weight that is both embeddings and head gets the gradient of both, in one tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from accord.policy.engine.memory import in_large_pages
from accord.policy.engine.tied import one_gradient
from accord.policy.load import load_policy
from accord.record import Encoded, EncodedResponse
from accord.testing import tiny_model

BATCH = [Encoded((5, 6, 7), (EncodedResponse((8, 9, 5), (True,) * 3), EncodedResponse((9, 9), (True,) * 2)))]


class Tied(nn.Module):
    """Embeddings and a head of one weight."""

    def __init__(self, *, padding: int | None = None, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(20, 6, padding_idx=padding)
        self.head = nn.Linear(6, 20, bias=False)
        self.head.weight = self.embeddings.weight
        self.scale = scale

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def states(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.scale * self.embeddings(ids))


IDS = torch.tensor([[3, 0, 3, 7]])


@pytest.mark.parametrize("padding", [None, 0])
def test_the_gradient_is_that_of_both_uses(padding: int | None) -> None:
    model = Tied(padding=padding, scale=3.0)
    with one_gradient(model, model.head) as weight:
        states = model.states(IDS)
    assert weight is not None
    torch.autograd.backward((states @ weight.t()).square().sum())
    got, model.head.weight.grad = model.head.weight.grad, None
    torch.autograd.backward(model.head(model.states(IDS)).square().sum())
    torch.testing.assert_close(got, model.head.weight.grad)
    assert got is not None
    assert not got.is_sparse


def test_a_loss_without_the_head_still_reaches_the_embeddings() -> None:
    model = Tied()
    with one_gradient(model, model.head):
        states = model.states(IDS)
    torch.autograd.backward(states.sum())
    of_rows = model.head.weight.grad
    assert of_rows is not None
    expected = torch.autograd.grad(torch.tanh(embedding(IDS, model.head.weight)).sum(), model.head.weight)[0]
    torch.testing.assert_close(of_rows.to_dense(), expected)


def test_the_module_is_left_as_it_was() -> None:
    model = Tied()
    with pytest.raises(KeyError), one_gradient(model, model.head):
        raise KeyError
    assert "weight" not in vars(model.embeddings)
    assert not model.embeddings.sparse


def test_only_a_shared_weight_that_trains_is_joined() -> None:
    model = Tied()
    other = nn.Linear(6, 20, bias=False)
    with one_gradient(model, other) as weight:
        assert weight is None
    with torch.no_grad(), one_gradient(model, model.head) as weight:
        assert weight is None
    model.head.weight.requires_grad_(False)
    with one_gradient(model, model.head) as weight:
        assert weight is None


def test_the_engine_makes_no_second_gradient_of_that_size(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "llama"))
    shared: Any = policy.model.get_output_embeddings()
    embeddings: Any = policy.model.get_input_embeddings()
    shared.weight = embeddings.weight
    with torch.profiler.profile(record_shapes=True) as profile:
        torch.autograd.backward(policy.logprobs(BATCH).sum())
    size = list(shared.weight.shape)
    copies = [one for one in profile.events() if one.name == "aten::copy_" and one.input_shapes[:1] == [size]]
    assert not copies
    assert shared.weight.grad.abs().sum(1).count_nonzero() == len(shared.weight)


def test_large_pages_hold_what_is_written() -> None:
    tensor = in_large_pages(torch.empty(9 * 2**20))
    tensor.fill_(1.5)
    assert tensor.sum() == 1.5 * 9 * 2**20
    assert in_large_pages(torch.ones(3)).tolist() == [1.0, 1.0, 1.0]
