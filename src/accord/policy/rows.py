"""Encoded Groups as the rows a model reads, and the way back to folded `[B,n,T]` tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.record import Encoded


@dataclass(frozen=True)
class Rows:
    """One row a response: prompt and response ids, right-padded.

    Right padding needs no attention mask under a causal model: no real token ever sees a pad. It is also the only
    padding that recurrent layers survive.

    Attributes:
        input_ids: `[R,L]` rows; the last token of a row predicts nothing and is not fed.
        row: `[N]` row of each trained token.
        column: `[N]` column whose output predicts the token.
        target: `[N]` the token.
        slot: `[N]` its place in a flat `[B*n*T]` tensor.
        last: `[R]` column of the last token of each row, for heads that read the end of a sequence.
        row_slot: `[R]` place of the row in a flat `[B*n]` tensor.
        mask: `[B,n,T]` 1.0 on trained tokens.
        valid: `[B,n]` 1.0 where there is a response with at least one trained token.
    """

    input_ids: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    slot: Tensor
    last: Tensor
    row_slot: Tensor
    mask: Tensor
    valid: Tensor

    def fold(self, values: Tensor) -> Tensor:
        """Values of the trained tokens `[N]` as `[B,n,T]`, zero elsewhere."""
        flat = values.new_zeros(self.mask.numel())
        return flat.index_copy(0, self.slot, values).view(self.mask.shape)

    def unfold(self, folded: Tensor) -> Tensor:
        """The trained tokens' values `[N]` of a `[B,n,T]` tensor."""
        return folded.reshape(-1)[self.slot]

    def fold_rows(self, values: Tensor) -> Tensor:
        """One value a row `[R]` as `[B,n]`, zero where a group has no such response."""
        flat = values.new_zeros(self.valid.numel())
        return flat.index_copy(0, self.row_slot, values).view(self.valid.shape)


def row_tokens(encoded: Encoded) -> int:
    """Tokens a Group puts through the model: its prompt and response, once a response."""
    return sum(len(encoded.prompt) + len(response.tokens) for response in encoded.responses)


def longest_row(encoded: Encoded) -> int:
    """Length of the Group's longest row."""
    return len(encoded.prompt) + max((len(response.tokens) for response in encoded.responses), default=0)


def make_rows(batch: Sequence[Encoded], *, whole: bool = False, device: torch.device | str = "cpu") -> Rows:
    """Lay out Groups as rows.

    Args:
        batch: the Groups.
        whole: feed the last token too, for heads that read the state after it (reward models).
        device: where the tensors go.
    """
    width = max((len(group.responses) for group in batch), default=0)
    longest = max((len(response.tokens) for group in batch for response in group.responses), default=0)
    fed = 0 if whole else 1
    sequences: list[tuple[int, ...]] = []
    mask = torch.zeros(len(batch), width, longest)
    row, column, target, slot, row_slot = [], [], [], [], []
    for b, group in enumerate(batch):
        for j, response in enumerate(group.responses):
            for t, trained in enumerate(response.trained):
                if trained:
                    row.append(len(sequences))
                    column.append(len(group.prompt) + t - 1)
                    target.append(response.tokens[t])
                    slot.append((b * width + j) * longest + t)
            row_slot.append(b * width + j)
            sequences.append(group.prompt + response.tokens)
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long)
    length = int(lengths.max()) - fed if sequences else 0
    # Padding repeats a token of the row itself: any id is correct, and the tokenizer's pad id would
    # make some models warn about a missing attention mask.
    input_ids = torch.empty(len(sequences), length, dtype=torch.long)
    for r, sequence in enumerate(sequences):
        end = len(sequence) - fed
        input_ids[r, :end] = torch.tensor(sequence[:end], dtype=torch.long)
        input_ids[r, end:] = sequence[0]
    slots = torch.tensor(slot, dtype=torch.long)
    mask.view(-1)[slots] = 1.0
    return Rows(
        input_ids=input_ids.to(device),
        row=torch.tensor(row, dtype=torch.long, device=device),
        column=torch.tensor(column, dtype=torch.long, device=device),
        target=torch.tensor(target, dtype=torch.long, device=device),
        slot=slots.to(device),
        last=(lengths - 1).to(device),
        row_slot=torch.tensor(row_slot, dtype=torch.long, device=device),
        mask=mask.to(device),
        valid=(mask.sum(-1) > 0).float().to(device) if longest else torch.zeros(len(batch), width, device=device),
    )
