"""The order of trained tokens follows the batch, not the row: cached values are folded back by it."""

from __future__ import annotations

import torch

from accord.policy.rows import padded_rows, shared_row
from accord.record import Encoded, EncodedResponse


def group(prompt: tuple[int, ...], *responses: tuple[int, ...]) -> Encoded:
    return Encoded(prompt, tuple(EncodedResponse(tokens, (True,) * len(tokens)) for tokens in responses))


def test_a_prompt_that_returns_later_in_the_batch_keeps_its_place() -> None:
    batch = [group((1, 2), (3, 4), (5,)), group((6,), (7,)), group((1, 2), (8, 9), (10,))]
    tokens = torch.tensor([token for one in batch for response in one.responses for token in response.tokens])
    for rows in (padded_rows(batch), shared_row(batch)):
        assert rows.target.equal(tokens)
        assert rows.slot.equal(rows.slot.sort().values)
        assert rows.unfold(rows.fold(tokens.float())).equal(tokens.float())
