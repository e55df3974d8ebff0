"""What a policy makes of a prompt, as one vector: to find prompts that mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.policy.logprobs import hidden_states
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse


def prompt_embedding(policy: Policy, tokens: Sequence[int]) -> Tensor:
    """The mean of the LM head's input over the tokens of a prompt (all but the last), of length 1, `[H]` float32."""
    ids = tuple(tokens)
    row = Encoded(ids[:1], (EncodedResponse(ids[1:], (True,) * (len(ids) - 1)),))
    with torch.no_grad(), policy.precision():
        rows = policy.rows([row])
        states = hidden_states(policy.model, rows, rows.place)
    return torch.nn.functional.normalize(states.float().mean(0), dim=0)
