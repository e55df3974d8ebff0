"""Losses of a margin, by their names: the shapes that pair objectives choose among."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.primitives import bounded_expm1

Link = Literal["logistic", "squared", "hinge", "exponential", "truncated_quadratic", "savage"]

LOSS_OF_MARGIN: Mapping[Link, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "logistic": lambda margin: -logsigmoid(margin),
        "squared": lambda margin: (1.0 - margin).square(),
        "hinge": lambda margin: torch.relu(1.0 - margin),
        "exponential": lambda margin: bounded_expm1(-margin) + 1.0,
        "truncated_quadratic": lambda margin: torch.relu(1.0 - margin).square(),
        "savage": lambda margin: torch.sigmoid(-margin).square(),
    }
)
"""What each link makes of a margin; all of them fall at 0."""
