"""A reference that follows the policy: a copy of the trained weights, renewed every so many steps (TR-DPO)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.policy.decoding import evaluating
from accord.policy.policy import OwnPast, Policy
from accord.policy.rows import Rows
from accord.policy.sharding import exchanged, held, in_shares, is_sharded, trained_outside_layers
from accord.record import Encoded


class MovingReference:
    r"""Log-probs under weights that follow the policy's.

    .. math:: \theta_\text{ref} \leftarrow \alpha\,\theta + (1 - \alpha)\,\theta_\text{ref}
        \quad\text{after every } \tau \text{ steps}

    It starts as the policy, keeps a second copy of what is trained (of the adapters under LoRA) and costs a forward
    pass without gradient in every step, where a fixed reference is computed once. The copy stands in for the policy's
    own weights while it computes. Where all weights are sharded it is a model of its own, in shares like the policy:
    of the policy, what is in no layer has to stay whole until the backward pass.

    Args:
        policy: what it follows.
        every: steps between two moves (tau); 0 keeps it where it started.
        mix: the policy's share in a move (alpha); 1 copies it.
        beside: a sharded policy that holds the same weights, of which nothing is trained; needed where the policy is
            sharded without adapters.

    Raises:
        ModelError: the policy is sharded, and what is trained is neither all of it nor in its layers.

    Source: Gorbatovski et al. 2024, "Learn your reference model for real good alignment" (arXiv:2404.09656).
    """

    def __init__(self, policy: Policy, *, every: int, mix: float, beside: Policy | None = None) -> None:
        self.policy, self.every, self.mix, self._beside = policy, every, mix, beside
        if beside is not None:
            named = dict(beside.model.named_parameters())
            self.weights = {name: named[name] for name in policy.trainable()}
            return
        if is_sharded(policy.model) and trained_outside_layers(policy.model):
            mend = "Train it with --shard none, or leave the adapters or the reference out."
            raise ModelError(
                "has adapters outside of its layers, where shares have no copy", where=policy.source, mend=mend
            )
        self.weights = {
            name: nn.Parameter(parameter.detach().clone(), requires_grad=False)
            for name, parameter in policy.trainable().items()
        }

    @property
    def past(self) -> Policy | OwnPast:
        """Whom the policy is compared with: a policy, or a context in which it is the reference itself."""
        return self.in_place if self._beside is None else self._beside

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
            if self._beside is not None:
                in_shares(self._beside.model)

    @contextmanager
    def in_place(self) -> Iterator[Policy]:
        """A policy with the reference's weights; a graph of the policy's that waits is not touched.

        Unless there is one beside, it is the policy itself, whose weights are back when the block ends.
        """
        if self._beside is not None:
            with evaluating(self._beside.model):
                yield self._beside
            return
        model = self.policy.model
        with held(model), exchanged(self.policy.trainable(), self.weights), evaluating(model):
            yield self.policy
