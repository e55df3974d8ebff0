"""One gradient of a weight that is both embeddings and LM head, instead of two of its size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from accord.policy.engine.gradients import collects
from accord.policy.sharding import is_sharded


@contextmanager
def one_gradient(model: nn.Module, head: nn.Module) -> Iterator[Tensor | None]:
    """Have the embeddings of a forward pass in this block add their gradient to that of the head.

    The head gives a dense gradient, the embeddings only the rows that were read; those are added in its place, where
    the engine would make a third tensor of the two. Only where both are one whole matrix on a CPU that trains.

    Yields:
        What to multiply with in the head's place: the same weight. `None`: the head's own.
    """
    find: Any = getattr(model, "get_input_embeddings", None)
    embeddings = find() if find is not None else None
    weight = getattr(head, "weight", None)
    if (
        not isinstance(embeddings, nn.Embedding)
        or embeddings.weight is not weight
        or weight.device.type != "cpu"
        or not (torch.is_grad_enabled() and weight.requires_grad)
        or is_sharded(model)
    ):
        yield None
        return
    before, embeddings.sparse = embeddings.sparse, True
    tied: Tensor | None = None
    if not collects(weight):  # else the head adds to the gradient itself, and PyTorch adds the rows to that
        vars(embeddings)["weight"], tied = _Tied.apply(weight)  # type: ignore[no-untyped-call]
    try:
        yield tied
    finally:
        vars(embeddings).pop("weight", None)
        embeddings.sparse = before


class _Tied(torch.autograd.Function):
    """A weight, twice: once read by rows, once as a whole."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor | None:
        of_rows, whole = gradients
        if of_rows is None or whole is None:
            return of_rows if whole is None else whole
        # Nobody else has seen what the head made for this function.
        return whole.add_(of_rows)
