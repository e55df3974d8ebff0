"""A small conditional network for items of any fixed shape: predicts noise, or is the core of a consistency model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

_FREQUENCIES = 16


class Denoiser(nn.Module):
    """A residual perceptron whose layers are scaled and shifted by the time and the condition.

    Args:
        shape: of one item, without the batch.
        conditions: how many there are; they are numbered from 0.
        width: of the layers.
        depth: number of residual blocks.
        longest_time: the largest time it will be told, such as the number of steps: times are embedded beside it.
    """

    def __init__(
        self, shape: tuple[int, ...], conditions: int, *, width: int = 128, depth: int = 3, longest_time: float = 100.0
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        self.frequencies: Tensor
        spread = torch.logspace(0, 2, _FREQUENCIES) * math.pi / longest_time
        self.register_buffer("frequencies", spread, persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Embedding(conditions, width)
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.past = nn.Linear(width, size)
        self.leave = nn.Linear(width, size)
        for layer in (self.past, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, items: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """What it says of items `[B,...]` at times `[B]` under conditions `[B]`, in the items' shape."""
        phase = time.to(items).unsqueeze(-1) * self.frequencies
        context = silu(self.time(torch.cat([phase.sin(), phase.cos()], -1)) + self.condition(condition))
        hidden = self.enter(items.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, context)
        # Noise is the item less what is clean in it: the item goes past the layers, which are left with the rest.
        answer: Tensor = self.leave(silu(hidden)) + self.past(context) * items.flatten(1)
        return answer.view_as(items)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.modulation(context).chunk(2, -1)
        inner: Tensor = self.second(silu(self.first(self.norm(hidden) * (1 + scale) + shift)))
        return hidden + inner
