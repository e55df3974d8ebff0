"""Groups through a reward model: cut to what it reads, and in batches of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from accord.errors import DataError
from accord.feedback.reward import place
from accord.policy.budget import within_budget
from accord.policy.policy import Policy
from accord.record import Encoded, Group

TOKENS = 8192
"""Tokens that go through a reward model at once."""


def fitted(policy: Policy, groups: Sequence[Group]) -> tuple[list[Encoded], int]:
    """Token ids of Groups, responses cut to what the model was built for, and how many were cut."""
    limit, cut = policy.max_positions, 0
    batch: list[Encoded] = []
    for group in groups:
        encoded = policy.renderer.encode(group)
        if limit is not None and len(encoded.prompt) >= limit:
            what = f"the prompt has {len(encoded.prompt)} tokens, and the reward model reads {limit} in all"
            raise DataError(what, path=place(group), mend="Leave the row out, or take a model with a longer context.")
        room = limit - len(encoded.prompt) if limit is not None else None
        kept = tuple(one if room is None else one.first(room) for one in encoded.responses)
        cut += sum(len(short.tokens) < len(one.tokens) for short, one in zip(kept, encoded.responses, strict=True))
        batch.append(Encoded(encoded.prompt, kept))
    return batch, cut


@torch.inference_mode()
def by_budget(
    policy: Policy, batch: Sequence[Encoded], tokens: int, compute: Callable[[Sequence[Encoded]], torch.Tensor]
) -> list[torch.Tensor]:
    """What `compute` gives for each Group, whatever the order in which they go through the model."""
    found: dict[int, torch.Tensor] = {}
    order = [index for index, encoded in enumerate(batch) if encoded.responses]
    for part in within_budget(order, tokens, policy.cost, encoded=lambda index: batch[index]):
        values = compute([batch[index] for index in part]).cpu()
        found.update(zip(part, values, strict=True))
    width = next(iter(found.values())).shape[1:] if found else torch.Size([1])
    return [found[index] if index in found else torch.zeros(0, *width) for index in range(len(batch))]
