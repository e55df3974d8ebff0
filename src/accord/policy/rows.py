"""Encoded Groups as the rows a model reads, and the way back to folded `[B,n,T]` tensors.

There are two layouts. Padded: a row for each response. Shared: one row for all, in which every prompt stands once and
is followed by the responses that share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.record import Encoded, EncodedResponse

Span = tuple[int, int]
"""Begin and end in a row."""


@dataclass(frozen=True)
class Family:
    """A prompt and the responses that follow it, as spans of a shared row; together they are contiguous."""

    prompt: Span
    responses: tuple[Span, ...]


@dataclass(frozen=True)
class Layout:
    """How a shared row is to be read: a token sees its own prompt and what comes before it in its own response.

    Attributes:
        families: in the order of the row, which they fill.
        position_ids: `[1,L]` each token's position in its own sequence.
        longest: tokens of the longest such sequence.
    """

    families: tuple[Family, ...]
    position_ids: Tensor
    longest: int


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
    starts = {key: row * length + len(batch[key[0]].prompt) for row, key in enumerate(fed)}
    ends_of_prompts = {key: start - 1 for key, start in starts.items()}
    return _rows(batch, ids, None, ends_of_prompts, starts, device)


def shared_row(batch: Sequence[Encoded], *, whole: bool = False, device: torch.device | str = "cpu") -> Rows:
    """Lay out Groups as one row without padding, in which every distinct prompt stands once.

    Args:
        batch: the Groups.
        whole: feed every token, for heads that read the state after the last one (reward models).
        device: where the tensors go.
    """
    fed = _fed(batch, whole)
    by_prompt: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for b, j in fed:
        by_prompt.setdefault(batch[b].prompt, []).append((b, j))
    ids: list[int] = []
    positions: list[int] = []
    families: list[Family] = []
    starts: dict[tuple[int, int], int] = {}
    ends_of_prompts: dict[tuple[int, int], int] = {}
    for prompt, members in by_prompt.items():
        begin = len(ids)
        ids += prompt
        positions += range(len(prompt))
        end = len(ids)
        spans = []
        for b, j in members:
            starts[b, j], ends_of_prompts[b, j] = len(ids), end - 1
            ids += batch[b].responses[j].tokens[: fed[b, j]]
            positions += range(len(prompt), len(prompt) + fed[b, j])
            if fed[b, j]:
                spans.append((starts[b, j], len(ids)))
        families.append(Family((begin, end), tuple(spans)))
    layout = Layout(tuple(families), torch.tensor([positions], device=device), max(positions, default=-1) + 1)
    return _rows(batch, [tuple(ids)], layout, ends_of_prompts, starts, device)


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
    ids: Sequence[tuple[int, ...]],
    layout: Layout | None,
    ends_of_prompts: dict[tuple[int, int], int],
    starts: dict[tuple[int, int], int],
    device: torch.device | str,
) -> Rows:
    """The rows with their trained tokens, given the flat positions of prompts' ends and responses' starts."""
    width = max((len(group.responses) for group in batch), default=0)
    longest = max((len(response.tokens) for group in batch for response in group.responses), default=0)
    place, target, slot, last, last_slot = [], [], [], [], []
    # In the order of the batch, whatever the order in the row: what is cached is folded in the order of the batch.
    for (b, j), start in sorted(starts.items()):
        response = batch[b].responses[j]
        for t, trained in enumerate(response.trained):
            if trained:
                place.append(start + t - 1 if t else ends_of_prompts[b, j])
                target.append(response.tokens[t])
                slot.append((b * width + j) * longest + t)
        last.append(start + len(response.tokens) - 1 if response.tokens else ends_of_prompts[b, j])
        last_slot.append(b * width + j)
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
        mask=mask.to(device),
        valid=valid.to(device),
    )
