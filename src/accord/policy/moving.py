"""A reference that follows the policy: a copy of the trained weights, renewed every so many steps (TR-DPO)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from accord.policy.decoding import evaluating
from accord.policy.policy import Policy
from accord.policy.rows import Rows
from accord.record import Encoded


class MovingReference:
    r"""Log-probs under weights that follow the policy's.

    .. math:: \theta_\text{ref} \leftarrow \alpha\,\theta + (1 - \alpha)\,\theta_\text{ref}
        \quad\text{after every } \tau \text{ steps}

    It starts as the policy, keeps a second copy of what is trained (of the adapters under LoRA) and costs a forward
    pass without gradient in every step, where a fixed reference is computed once.

    Args:
        policy: what it follows.
        every: steps between two moves (tau); 0 keeps it where it started.
        mix: the policy's share in a move (alpha); 1 copies it.

    Source: Gorbatovski et al. 2024, "Learn your reference model for real good alignment" (arXiv:2404.09656).
    """

    def __init__(self, policy: Policy, *, every: int, mix: float) -> None:
        self.policy, self.every, self.mix = policy, every, mix
        self.weights = {
            name: nn.Parameter(parameter.detach().clone(), requires_grad=False)
            for name, parameter in policy.trainable().items()
        }

    def named(self) -> dict[str, nn.Parameter]:
        """The weights by the names they have in a checkpoint; none if they never move from the start."""
        return {f"reference.{name}": parameter for name, parameter in self.weights.items()} if self.every else {}

    def logprobs(self, batch: Sequence[Encoded], rows: Rows) -> Tensor:
        """Log-probs of Groups laid out as `rows`, `[B,n,T]` float32, without gradient and without dropout."""
        with self.in_place() as reference:
            return reference.logprobs(rows)

    def follow(self, step: int) -> None:
        """Move, if a move is due after this step."""
        if self.every and step % self.every == 0:
            trained = self.policy.trainable()
            with torch.no_grad():
                for name, parameter in self.weights.items():
                    parameter.lerp_(trained[name], self.mix)

    @contextmanager
    def in_place(self) -> Iterator[Policy]:
        """The policy with the reference's weights; nothing is copied, and a waiting graph is not touched.

        A graph keeps parameters, not their data, so they must be back when the block ends.
        """
        trained = self.policy.trainable()
        own = {name: parameter.data for name, parameter in trained.items()}
        try:
            for name, parameter in trained.items():
                parameter.data = self.weights[name].data
            with evaluating(self.policy.model):
                yield self.policy
        finally:
            for name, parameter in trained.items():
                parameter.data = own[name]
