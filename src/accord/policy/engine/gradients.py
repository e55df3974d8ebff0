"""Gradients of weights, added to where they are kept, in memory that stays from step to step.

PyTorch makes a new tensor for the gradient of every use of a weight and adds it to what is there: a second pass over
memory for every micro-batch but the first, and a tensor of the size of the largest weight that lives for a moment. Here
a product adds itself in the same pass. The memory is asked for once, apart from that of activations: taken between
those, gradients would leave holes that the next forward pass does not fit into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accord.policy.engine.memory import in_large_pages


@dataclass(frozen=True)
class Kept:
    """A gradient where it is kept.

    Attributes:
        total: as the weight.
        fresh: nothing was added to it in this step: what it holds is to be overwritten.
    """

    total: Tensor
    fresh: bool


class Gradients:
    """Where the gradients of some parameters are kept.

    Only whole float32 matrices on a CPU have a place; the gradients of all others come and go as PyTorch has it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        served = [parameter for parameter in parameters if _is_served(parameter)]
        # Pages that no gradient was written to take no memory.
        room = in_large_pages(torch.empty(sum(parameter.numel() for parameter in served)))
        parts = torch.split(room, [parameter.numel() for parameter in served]) if served else ()
        self._kept = {id(of): (of, part.view_as(of)) for of, part in zip(served, parts, strict=True)}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """In this block, backward passes may add to `.grad` themselves.

        What they add is not seen by `torch.autograd.grad`, which does not belong here.
        """
        token = _COLLECTING.set(self)
        try:
            yield
        finally:
            _COLLECTING.reset(token)

    def place(self, weight: Tensor) -> Tensor | None:
        """Where the gradient of this weight is kept; `None` if it is not one of these."""
        kept = self._kept.get(id(weight))
        return None if kept is None or kept[0] is not weight or _is_watched(weight) else kept[1]


_COLLECTING: ContextVar[Gradients | None] = ContextVar("collecting", default=None)


def collects(weight: Tensor) -> bool:
    """Whether a backward pass that runs now may add to this weight's gradient."""
    return _place(weight) is not None


def kept_gradient(weight: Tensor) -> Kept | None:
    """The gradient that a backward pass is to add to itself; `None` if it is to return it as usual."""
    place = _place(weight)
    if place is None:
        return None
    if weight.grad is not None:
        return Kept(weight.grad, fresh=False)
    weight.grad = place
    return Kept(place, fresh=True)


def _place(weight: Tensor) -> Tensor | None:
    gradients = _COLLECTING.get()
    return None if gradients is None else gradients.place(weight)


def _is_served(parameter: nn.Parameter) -> bool:
    return (
        type(parameter) is nn.Parameter
        and parameter.requires_grad
        and parameter.ndim == 2
        and parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
    )


def _is_watched(weight: Tensor) -> bool:
    """Whether somebody asked to be told of this weight's gradient, which then has to pass by them."""
    return bool(weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None))
