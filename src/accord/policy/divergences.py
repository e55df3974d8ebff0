"""Divergences between whole next-token distributions of a policy and of a frozen model, token by token.

For on-policy distillation and for constraints on the exact KL divergence. Both distributions exist for a chunk of
positions at a time only, never as `[B,T,V]`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accord.policy.logprobs import Finish, hidden_states, in_chunks, output_head
from accord.policy.rows import Rows

Measure = Callable[[Tensor, Tensor], Tensor]
"""Log-softmax of the policy and of the frozen model, both `[N,V]` float32, to a divergence for each position `[N]`."""


@dataclass(frozen=True)
class Side:
    """One of the two models that are compared.

    Attributes:
        model: a causal language model.
        rows: the Groups, laid out for it.
        finish: what it does to its head's output.
        context: entered around all that it computes, such as its precision.
    """

    model: nn.Module
    rows: Rows
    finish: Finish
    context: Callable[[], AbstractContextManager[Any]]

    def states(self) -> Tensor:
        """The head's input at the positions that predict a trained token, `[N,H]`."""
        with self.context():
            return hidden_states(self.model, self.rows, self.rows.place)

    def log_softmax(self, states: Tensor, temperature: float) -> Tensor:
        """The whole distribution after each state, `[N,V]` in float32."""
        with self.context():
            return torch.log_softmax(self.finish.at(temperature)(output_head(self.model)(states)), -1)


def token_divergences(policy: Side, frozen: Side, measure: Measure, *, temperature: float = 1.0) -> Tensor:
    """A measure of both models' distributions at each trained token, `[B,n,T]` float32, zero where the mask is zero.

    The gradient goes to the policy only.

    Args:
        policy: with gradients where they are on.
        frozen: its rows hold the same Groups, in whatever layout.
        measure: of the two distributions.
        temperature: divides both models' logits.
    """
    rows = policy.rows
    if not len(rows.target):
        return torch.zeros_like(rows.mask)
    with torch.no_grad():
        theirs = frozen.states()

    def part(states: Tensor, frozen_states: Tensor) -> tuple[Tensor]:
        with torch.no_grad():
            reference = frozen.log_softmax(frozen_states, temperature)
        return (measure(policy.log_softmax(states, temperature), reference.to(states.device)),)

    weight: Any = output_head(policy.model).weight
    (values,) = in_chunks(part, policy.states(), theirs, position_bytes=8 * int(weight.shape[0]))
    return rows.fold(values)
