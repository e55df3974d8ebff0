"""What a group of annotators is predicted to prefer, as a reward and to choose among responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.feedback.group_network import GroupPredictor
from accord.feedback.group_preference import Answers, predict_logits
from accord.feedback.reward import Row
from accord.policy.logprobs import hidden_states
from accord.policy.policy import Policy
from accord.policy.rows import padded_rows
from accord.record import Group, SourceKind

Embed = Callable[[Sequence[Group]], tuple[Tensor, Tensor]]
"""Embeddings `[Q,K,D]` of Groups' responses, and `[Q,K]` whether there is such a response."""


def policy_embedder(policy: Policy, *, batch_size: int = 32) -> Embed:
    """Embeds a response by a policy's hidden states before the head, read behind its prompt.

    The mean over the response's tokens, the last one, and the logarithm of its length: a mean forgets how long it was.
    """

    @torch.no_grad()
    def embed(groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        width = max((len(group.responses) for group in groups), default=0)
        parts = [_embedded(policy, groups[at : at + batch_size], width) for at in range(0, len(groups), batch_size)]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    return embed


def _embedded(policy: Policy, groups: Sequence[Group], width: int) -> tuple[Tensor, Tensor]:
    encoded = [policy.renderer.encode(group) for group in groups]
    rows = padded_rows(encoded, whole=True, device=policy.device)
    with policy.precision():
        # In padded rows the output that predicts a token stands just before that token's own place.
        states = hidden_states(policy.model, rows, torch.cat([rows.place + 1, rows.last])).float()
    token, ends = states[: len(rows.place)], states[len(rows.place) :]
    response = rows.slot // rows.mask.shape[-1]
    counts = rows.mask.sum(-1).flatten()
    total = states.new_zeros(len(counts), states.shape[-1]).index_add(0, response, token)
    last = states.new_zeros(total.shape).index_copy(0, rows.last_slot, ends)
    mean = total / counts.clamp_min(1).unsqueeze(-1)
    features = torch.cat([mean, last, counts.clamp_min(1).log().unsqueeze(-1)], -1)
    embedding = features.new_zeros(len(groups), width, features.shape[-1])
    valid = torch.zeros(len(groups), width, dtype=torch.bool)
    embedding[:, : rows.valid.shape[1]] = features.view(*rows.valid.shape, -1)
    valid[:, : rows.valid.shape[1]] = rows.valid > 0
    return embedding.cpu(), valid


@dataclass(frozen=True)
class GroupReward:
    """A `Reward`: the predicted logit that a group of annotators prefers a response.

    Logits of responses to one prompt can be compared with each other; the softmax over them is the predicted share.

    Attributes:
        name: of the score, such as the group's.
        network: meta-trained.
        context: what the group answered.
        embed: the embedder that the network was trained with.
    """

    name: str
    network: GroupPredictor
    context: Answers
    embed: Embed
    source: SourceKind = "reward_model"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """A row of logits for each Group; `None` for a response without a trained token."""
        if not any(group.responses for group in groups):
            return [() for _ in groups]
        embedding, valid = self.embed(groups)
        logits = predict_logits(self.network, self.context, embedding, valid)
        return [
            tuple(
                float(logits[question, index]) if valid[question, index] else None
                for index in range(len(group.responses))
            )
            for question, group in enumerate(groups)
        ]

    def best(self, groups: Sequence[Group]) -> list[int]:
        """The index of the response that the group is predicted to prefer; each Group has at least one scored."""
        return [
            max((score, -index) for index, score in enumerate(row) if score is not None)[1] * -1 for row in self(groups)
        ]
