"""The states that follow responses in an episode: their token ids, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from accord.errors import DataError
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse
from accord.record.transitions import next_state
from accord.train.collate import Example


def with_next_states(examples: Sequence[Example], policy: Policy, *, max_length: int | None) -> list[Example]:
    """The examples with the token ids of the state that follows each response, where one does.

    Raises:
        DataError: a state is longer than `max_length`; names its row.
    """
    return [
        replace(example, following=tuple(_following(example, j, policy, max_length) for j in range(example.rows)))
        for example in examples
    ]


def _following(example: Example, response: int, policy: Policy, max_length: int | None) -> Encoded | None:
    state = next_state(example.group.responses[response])
    if state is None:
        return None
    origin = example.group.origin
    ids = tuple(policy.renderer.encode_prompt(state, origin=origin))
    if max_length is not None and len(ids) >= max_length:
        raise DataError(
            f"the next state has {len(ids)} tokens, with which no action fits into --max-length {max_length}",
            path=None if origin is None else origin.path,
            line=None if origin is None else origin.line,
            mend="Raise --max-length, shorten the state, or leave the row out.",
        )
    # Some token has to follow for the state to be read; which one makes no difference, for it is not fed.
    return Encoded(ids, (EncodedResponse(ids[-1:], (True,)),))


def next_values(policy: Policy, examples: Sequence[Example], valid: Tensor) -> Tensor:
    """What the state after each response is worth, shaped as `valid` `[B,n]`, without gradients; 0 where none follows.

    Args:
        policy: with heads of action values.
        examples: the Groups, with the states that follow.
        valid: `[B,n]`.
    """
    found = torch.zeros_like(valid)
    places = [(b, j) for b, one in enumerate(examples) for j, ids in enumerate(one.following) if ids is not None]
    if places:
        assert policy.action_values is not None
        states = [ids for example in examples for ids in example.following if ids is not None]
        with torch.no_grad(), policy.precision():
            values = policy.action_values.values(policy.model, policy.rows(states))[:, 0, 0]
        rows, columns = torch.tensor(places, device=found.device).unbind(1)
        found[rows, columns] = values
    return found
