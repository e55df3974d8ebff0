"""The critic: what is still to come, estimated before every token of a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accord.policy.heads import RewardHead
from accord.policy.logprobs import hidden_states
from accord.policy.policy import Policy
from accord.policy.rows import Rows
from accord.policy.sharding import is_sharded, shard_head

VALUES = ("value", "cost_value")
"""The estimates a critic can give: of the reward, and of the cost, still to come."""


@dataclass(frozen=True)
class Critic:
    """A network of its own with a linear head for each estimate.

    It shares no weights with the policy: the value loss cannot pull at the policy, and the policy's updates cannot
    spoil the estimates. The estimates share the critic's trunk.

    Attributes:
        network: the trunk.
        heads: a linear map `H -> 1` for each estimate, by name.
    """

    network: Policy
    heads: Mapping[str, nn.Linear]

    @classmethod
    def on(cls, network: Policy, names: tuple[str, ...], *, start: RewardHead | None = None) -> Critic:
        """Heads for the named estimates on a network, in shares where the network is.

        Heads start at zero, so that the first advantages are the rewards themselves.

        Args:
            network: the trunk.
            names: of `VALUES`.
            start: head of a reward model with this trunk: the reward's estimate starts as its overall value. The value
                of a state is then at first the reward of stopping there.
        """
        width = int(network.model.config.get_text_config().hidden_size)
        heads = {name: nn.Linear(width, 1) for name in names}
        for head in heads.values():
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if start is not None and "value" in heads:
            heads["value"].weight.data.copy_(start.overall(start.score.weight.detach().t()))
        for head in heads.values():
            if is_sharded(network.model):
                shard_head(head, network.device)
            else:
                head.to(network.device)
        return cls(network, heads)

    def values(self, rows: Rows) -> dict[str, Tensor]:
        """Each estimate before each trained token, `[B,n,T]` float32, with gradients where they are on.

        The Groups may have been laid out for another network, which reads its rows in a way of its own.
        """
        if not len(rows.target):
            return {name: torch.zeros_like(rows.mask) for name in self.heads}
        rows = self.network.rows(rows.batch)
        with self.network.precision():
            states = hidden_states(self.network.model, rows, rows.place)
            values = {name: head(states.to(head.weight.dtype)).squeeze(-1) for name, head in self.heads.items()}
        return {name: rows.fold(value.float()) for name, value in values.items()}

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by a stable name."""
        trunk = {
            f"critic.{name}": parameter
            for name, parameter in self.network.model.named_parameters()
            if parameter.requires_grad and not _is_output(self.network, parameter)
        }
        return trunk | {
            f"critic_head.{name}.{part}": parameter
            for name, head in self.heads.items()
            for part, parameter in head.named_parameters()
        }


def _is_output(network: Policy, parameter: nn.Parameter) -> bool:
    """Whether a parameter belongs to the LM head alone, which a critic never reads."""
    head = network.model.get_output_embeddings()
    embeddings = network.model.get_input_embeddings()
    tied = getattr(head, "weight", None) is getattr(embeddings, "weight", None)
    return not tied and any(parameter is own for own in head.parameters())
