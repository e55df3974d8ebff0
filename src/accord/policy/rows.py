"""Encoded Groups as the rows a model reads, and the way back to folded `[B,n,T]` tensors.

There are two layouts. Padded: a row for each response. Shared: one row for all, in which every beginning that several
sequences have in common stands once: a prompt before its responses, the turns before a later prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.policy.layout import Attention, Layout, Reading, lay_out
from accord.record import Encoded, EncodedResponse


@dataclass(frozen=True)
class Rows:
    """What the model reads, and which of its outputs predict which token.

    Attributes:
        batch: the Groups themselves.
        input_ids: `[R,L]` rows; tokens that predict nothing are not fed.
        layout: how to read a shared row; `None` for padded rows.
        place: `[N]` index into the flat `[R*L]` positions whose output predicts the token.
        target: `[N]` the token.
        slot: `[N]` its place in a flat `[B*n*T]` tensor.
        last: `[M]` flat position of each fed response's last token, for heads that read the end of a sequence.
        last_slot: `[M]` place of the response in a flat `[B*n]` tensor.
        end: `[S]` flat position of the last token of each step that is fed, for heads that read the end of a step.
        end_slot: `[S]` its place in a flat `[B*n*T]` tensor.
        mask: `[B,n,T]` 1.0 on trained tokens.
        valid: `[B,n]` 1.0 where there is a response with at least one trained token.
    """

    batch: tuple[Encoded, ...]
    input_ids: Tensor
    layout: Layout | None
    place: Tensor
    target: Tensor
    slot: Tensor
    last: Tensor
    last_slot: Tensor
    end: Tensor
    end_slot: Tensor
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
        """One value a fed response `[M]` as `[B,n]`, zero where a group has no such response."""
        flat = values.new_zeros(self.valid.numel())
        return flat.index_copy(0, self.last_slot, values).view(self.valid.shape)

    def fold_ends(self, values: Tensor) -> Tensor:
        """One value a step `[S]` as `[B,n,T]`, at the step's last token, zero elsewhere."""
        flat = values.new_zeros(self.mask.numel())
        return flat.index_copy(0, self.end_slot, values).view(self.mask.shape)


def row_tokens(encoded: Encoded) -> int:
    """Tokens of a Group's sequences: its prompt and response, once a response."""
    return sum(len(encoded.prompt) + len(response.tokens) for response in encoded.responses)


def shared_tokens(encoded: Encoded) -> int:
    """Tokens of a Group in a shared row: its prompt once, and its responses."""
    return len(encoded.prompt) + sum(len(response.tokens) for response in encoded.responses)


def longest_row(encoded: Encoded) -> int:
    """Length of the Group's longest sequence."""
    return len(encoded.prompt) + max((len(response.tokens) for response in encoded.responses), default=0)


def padded_rows(batch: Sequence[Encoded], *, whole: bool = False, device: torch.device | str = "cpu") -> Rows:
    """Lay out Groups with a row for each response: prompt and response ids, padded on the right.

    Right padding needs no attention mask under a causal model: no real token ever sees a pad. It is also the only
    padding that recurrent layers survive.

    Args:
        batch: the Groups.
        whole: feed every token, for heads that read the state after the last one (reward models).
        device: where the tensors go.
    """
    fed = _fed(batch, whole)
    sequences = [batch[b].prompt + batch[b].responses[j].tokens[:count] for (b, j), count in fed.items()]
    length = max(map(len, sequences), default=0)
    # Padding repeats a token of the row itself: any id is correct, and the tokenizer's pad id would
    # make some models warn about a missing attention mask.
    ids = [sequence + sequence[:1] * (length - len(sequence)) for sequence in sequences]
    ends = {(b, j): row * length + len(batch[b].prompt) - 1 for row, (b, j) in enumerate(fed)}
    read = {key: range(end, end + 1 + fed[key]) for key, end in ends.items()}
    return _rows(batch, ids, None, read, device)


def shared_row(
    batch: Sequence[Encoded],
    *,
    by: Reading = "attention",
    attention: Attention = "parts",
    asked_only: bool = False,
    whole: bool = False,
    device: torch.device | str = "cpu",
) -> Rows:
    """Lay out Groups as one row without padding, in which every distinct beginning stands once.

    Args:
        batch: the Groups.
        by: how the model is to read it.
        attention: how its attention is computed if it is read at once.
        asked_only: whether the last layer then computes only what is asked for.
        whole: feed every token, for heads that read the state after the last one (reward models).
        device: where the tensors go.
    """
    fed = _fed(batch, whole)
    keys = list(fed)
    row = lay_out([batch[b].prompt + batch[b].responses[j].tokens[: fed[b, j]] for b, j in keys])
    depths = torch.tensor([row.depths], device=device)
    layout = Layout(row.segments, depths, max(row.depths, default=-1) + 1, by, attention, asked_only)
    read = {(b, j): path[len(batch[b].prompt) - 1 :] for (b, j), path in zip(keys, row.paths, strict=True)}
    return _rows(batch, [row.ids], layout, read, device)


def _fed(batch: Sequence[Encoded], whole: bool) -> dict[tuple[int, int], int]:
    """How many tokens the model reads of each response, by group and response; none of those without a trained token.

    What follows the token before the last trained one predicts nothing that is asked for.
    """
    fed = {}
    for b, group in enumerate(batch):
        for j, response in enumerate(group.responses):
            if whole:
                fed[b, j] = len(response.tokens)
            elif any(response.trained):
                fed[b, j] = _last_trained(response)
    return fed


def _last_trained(response: EncodedResponse) -> int:
    return len(response.trained) - 1 - response.trained[::-1].index(True)


def _rows(
    batch: Sequence[Encoded],
    ids: Sequence[Sequence[int]],
    layout: Layout | None,
    read: Mapping[tuple[int, int], Sequence[int]],
    device: torch.device | str,
) -> Rows:
    """The rows with their trained tokens, given each response's flat positions after that of its prompt's end."""
    width = max((len(group.responses) for group in batch), default=0)
    longest = max((len(response.tokens) for group in batch for response in group.responses), default=0)
    place, target, slot, last, last_slot, end, end_slot = [], [], [], [], [], [], []
    # In the order of the batch, whatever the order in the row: what is cached is folded in the order of the batch.
    for (b, j), positions in sorted(read.items()):
        response = batch[b].responses[j]
        for t, trained in enumerate(response.trained):
            if trained:
                place.append(positions[t])
                target.append(response.tokens[t])
                slot.append((b * width + j) * longest + t)
        last.append(positions[-1])
        last_slot.append(b * width + j)
        read_steps = [t for t in response.steps if t + 1 < len(positions)]
        end += [positions[t + 1] for t in read_steps]
        end_slot += [(b * width + j) * longest + t for t in read_steps]
    mask = torch.zeros(len(batch), width, longest)
    mask.view(-1)[torch.tensor(slot, dtype=torch.long)] = 1.0
    valid = (mask.sum(-1) > 0).float() if longest else torch.zeros(len(batch), width)

    def tensor(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Rows(
        batch=tuple(batch),
        input_ids=torch.tensor(ids, dtype=torch.long, device=device),
        layout=layout,
        place=tensor(place),
        target=tensor(target),
        slot=tensor(slot),
        last=tensor(last),
        last_slot=tensor(last_slot),
        end=tensor(end),
        end_slot=tensor(end_slot),
        mask=mask.to(device),
        valid=valid.to(device),
    )
