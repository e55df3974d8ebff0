"""Two small worlds to draw from: points on rings, and drawings of 8 by 8 pixels; each with a reward and a truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.diffusion.objective import Pairs

SIDE = 8
"""Pixels of a drawing's side."""

_SIZE = 5

INK = 0.6
"""Value of an inked pixel; the paper is minus that, so that drawings have about the spread of 0.5 of the points."""


@dataclass(frozen=True)
class Toy:
    """A world of items.

    Attributes:
        name: what the items are.
        shape: of one item.
        conditions: the names of the conditions, which are numbered in this order.
        models: `[C,M,...]` for each condition the items without their scatter: everything there is to draw.
        scatter: standard deviation of an item around its model, in each dimension.
        reward: what an annotator likes, `[N]` of items `[N,...]` and their conditions `[N]`.
        liking: the same in words.
    """

    name: str
    shape: tuple[int, ...]
    conditions: tuple[str, ...]
    models: Tensor
    scatter: float
    reward: Callable[[Tensor, Tensor], Tensor]
    liking: str

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Items of the world with their conditions, all conditions and models equally likely."""
        condition = self.draw_conditions(count, generator)
        model = torch.randint(self.models.shape[1], (count,), generator=generator)
        scatter = self.scatter * torch.randn(count, *self.shape, generator=generator)
        return self.models[condition, model] + scatter, condition

    def draw_conditions(self, count: int, generator: torch.Generator) -> Tensor:
        """Conditions `[count]`."""
        return torch.randint(len(self.conditions), (count,), generator=generator)

    def error(self, items: Tensor, condition: Tensor) -> Tensor:
        """`[N]` root mean square distance of an item to the nearest model of its condition."""
        return (self.models[condition] - items.unsqueeze(1)).square().flatten(2).mean(-1).amin(1).sqrt()


def prefer(toy: Toy, first: Tensor, second: Tensor, condition: Tensor) -> Pairs:
    """The annotator's choice between items: the one with the higher reward."""
    wins = toy.reward(first, condition) >= toy.reward(second, condition)
    pick = wins.view(-1, *[1] * len(toy.shape))
    return Pairs(torch.where(pick, first, second), torch.where(pick, second, first), condition)


def rings() -> Toy:
    """Points in the plane: three rings of eight spots; the annotator likes points that are high on their ring."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    spots = 0.3 * torch.stack([angles.cos(), angles.sin()], -1)
    centres = torch.tensor([[-0.7, -0.2], [0.0, 0.3], [0.7, -0.2]])
    return Toy(
        name="points",
        shape=(2,),
        conditions=("left", "middle", "right"),
        models=centres.unsqueeze(1) + spots,
        scatter=0.03,
        reward=lambda points, condition: (points[:, 1] - centres[condition, 1]) / 0.3,
        liking="points that are high on their ring: from −1 at its foot to 1 at its top",
    )


def drawings() -> Toy:
    """Drawings of 8 by 8 pixels: squares, plus signs and crosses in 16 places; the annotator likes them on the left."""
    shapes = tuple(torch.stack(_placed(draw())) for draw in (_square, _plus, _cross))
    return Toy(
        name="drawings",
        shape=(SIDE, SIDE),
        conditions=("square", "plus", "cross"),
        models=torch.stack(shapes),
        scatter=0.03,
        reward=lambda images, condition: leftness(images),
        liking="drawings on the left: from 0, all ink in the right column, to 1, all in the left",
    )


def leftness(images: Tensor) -> Tensor:
    """Where the ink of drawings `[N,8,8]` is, `[N]`: 1 in the left column, 0 in the right one, 0.5 without ink."""
    ink = (images + INK).clamp(0, 2 * INK)
    columns = torch.linspace(1, 0, SIDE)
    amount = ink.sum((-2, -1))
    return torch.where(amount > 0, (ink.sum(-2) * columns).sum(-1) / amount.clamp_min(1e-6), 0.5)


def _placed(shape: Tensor) -> list[Tensor]:
    """A shape in every place of the paper."""
    room = SIDE - len(shape) + 1
    images = []
    for row, column in itertools.product(range(room), range(room)):
        image = torch.full((SIDE, SIDE), -INK)
        image[row : row + len(shape), column : column + len(shape)] += 2 * INK * shape
        images.append(image)
    return images


def _square() -> Tensor:
    shape = torch.ones(_SIZE, _SIZE)
    shape[1:-1, 1:-1] = 0
    return shape


def _plus() -> Tensor:
    shape = torch.zeros(_SIZE, _SIZE)
    shape[_SIZE // 2], shape[:, _SIZE // 2] = 1, 1
    return shape


def _cross() -> Tensor:
    return torch.maximum(torch.eye(_SIZE), torch.eye(_SIZE).flip(0))
