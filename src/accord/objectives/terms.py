"""What an objective returns: unreduced losses with their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass(frozen=True)
class Terms:
    r"""An unreduced loss, worth :math:`\sum w \ell / \sum w`.

    The loop adds :math:`\sum w \ell` over the micro-batches and ranks of an optimiser step and divides once, by the
    step's whole :math:`\sum w`. A mean of micro-batch means is another number.

    A loss with several components that have their own denominators (a token mean plus a pair mean) is a sum of
    Terms, `nll + 0.1 * odds`: each component keeps its own division.

    Attributes:
        loss: any shape; entries whose weight is zero must still be finite.
        weight: same shape (or broadcastable to it). **It depends on data only** (masks, preferences, labels), never on
            the policy, because the loop needs the sum before the first forward pass. Detached importance weights
            belong into `loss`.
        name: the component's name in the metrics.
        metrics: further quantities to report, each an unreduced `(value, weight)` pair, detached.
        state: numbers to carry to the next step, by name, each an unreduced `(value, weight)` pair, detached: the next
            step finds the weighted mean over this whole step in its `state`. The mean of `m * old + (1 - m) * x` is a
            moving average, that of `multiplier + rate * (x - limit)` a dual update.
    """

    loss: Tensor
    weight: Tensor
    name: str = "loss"
    metrics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    state: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    scale: float = 1.0
    rest: tuple[Terms, ...] = ()

    def __post_init__(self) -> None:
        if self.weight.requires_grad:
            raise ValueError("the weight of Terms must not carry gradients; it is data, not a function of the policy")

    def components(self) -> Iterator[Terms]:
        """The components, this one first; each with its own `loss`, `weight`, `scale` and `name`."""
        yield replace(self, rest=())
        yield from self.rest

    def value(self) -> Tensor:
        """The reduced scalar of this batch alone: the sum over components of `scale * sum(w * loss) / sum(w)`."""
        parts = []
        for part in self.components():
            weight = part.weight.expand_as(part.loss)
            parts.append(part.scale * (weight * part.loss).sum() / weight.sum().clamp_min(1e-30))
        total = parts[0]
        for other in parts[1:]:
            total = total + other
        return total

    def __add__(self, other: Terms) -> Terms:
        return replace(self, rest=(*self.rest, *other.components()))

    def __rmul__(self, factor: float) -> Terms:
        return replace(
            self,
            scale=self.scale * factor,
            rest=tuple(replace(part, scale=part.scale * factor) for part in self.rest),
        )
