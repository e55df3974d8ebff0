"""Batches of plain tensors as what training reads: token ids with what is prompt and what is trained."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.errors import DataError
from accord.record import Encoded, EncodedResponse

Batch = Mapping[str, Any]
"""Tensors by name, a row a sequence."""


@dataclass(frozen=True)
class Sequences:
    """Rows of a batch without their padding.

    Attributes:
        ids: the attended tokens of each row.
        trained: for each of them whether it is trained.
        columns: for each of them its column in the batch.
    """

    ids: list[list[int]]
    trained: list[list[bool]]
    columns: list[list[int]]

    def __len__(self) -> int:
        return len(self.ids)

    def start(self, row: int) -> int:
        """Where the response of a row begins."""
        return self.trained[row].index(True)

    def encoded(self, rows: Sequence[int]) -> Encoded:
        """Rows as responses to one prompt: what they all begin with, before the first trained token of any."""
        shared = 0
        for tokens in zip(*(self.ids[row][: self.start(row)] for row in rows), strict=False):
            if len(set(tokens)) > 1:
                break
            shared += 1
        responses = (EncodedResponse(tuple(self.ids[r][shared:]), tuple(self.trained[r][shared:])) for r in rows)
        return Encoded(tuple(self.ids[rows[0]][:shared]), tuple(responses))

    def unfolded(self, values: Tensor, rows: Sequence[int], name: str) -> Tensor:
        """Values of the batch's tokens, `[N,L]`, or of its rows, `[N]`, as those of the responses, `[n,T]`.

        What is given of a whole row stands on its last trained token: sums over the response are then right.

        Raises:
            DataError: the shape is another.
        """
        encoded = self.encoded(rows)
        folded = torch.zeros(len(rows), max(len(response.tokens) for response in encoded.responses))
        wide = values.detach().float().cpu()
        for j, row in enumerate(rows):
            if wide.shape == (len(self),):
                last = len(self.trained[row]) - 1 - self.trained[row][::-1].index(True)
                folded[j, last - len(encoded.prompt)] = wide[row]
            elif wide.ndim == 2 and len(wide) == len(self) and wide.shape[1] > max(map(max, self.columns)):
                columns = torch.tensor(self.columns[row][len(encoded.prompt) :])
                trained = torch.tensor(encoded.responses[j].trained)
                folded[j, : len(columns)] = wide[row, columns] * trained
            else:
                mend = "Give a number for each column of the ids, [N,L], as generate_samples does."
                raise DataError(f"{name!r} has the shape {tuple(wide.shape)} for {len(self)} rows of ids", mend=mend)
        return folded


def tensor_of(batch: Batch, name: str) -> Tensor:
    """A tensor that has to be there.

    Raises:
        DataError: it is missing, or no tensor.
    """
    if name not in batch:
        raise DataError(f"the batch has no {name!r}", mend=f"It has {', '.join(map(repr, batch)) or 'nothing'}.")
    if not isinstance(batch[name], Tensor):
        raise DataError(f"{name!r} is of type {type(batch[name]).__name__}, a tensor is expected")
    found: Tensor = batch[name]
    return found


def column_of(batch: Batch, name: str, rows: int) -> list[float]:
    """One finite number a row.

    Raises:
        DataError: it is missing, of another length, or a number is not finite.
    """
    values = tensor_of(batch, name).detach().float().reshape(-1)
    if len(values) != rows:
        raise DataError(f"{name!r} has {len(values)} numbers for {rows} rows")
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).nonzero()[0, 0])
        raise DataError(f"{name!r} is {float(values[row])} in row {row}", mend="Correct it, or leave the row out.")
    return [float(value) for value in values]


def sequences(batch: Batch, prefix: str = "") -> Sequences:
    """The rows under `{prefix}input_ids`.

    `{prefix}attention_mask` says what is no padding, by default everything. `{prefix}response_mask`, or
    `{prefix}labels` with -100 elsewhere, says what is trained; without either every attended token is, but for the
    first, which nothing predicts, and a warning says so.

    Raises:
        DataError: a shape is wrong, or nothing of a row is trained.
    """
    ids = tensor_of(batch, f"{prefix}input_ids")
    if ids.ndim != 2 or ids.is_floating_point():
        shape, kind = tuple(ids.shape), str(ids.dtype).removeprefix("torch.")
        raise DataError(f"'{prefix}input_ids' is {kind} of shape {shape}, token ids [N,L] are expected")
    attended = _mask(batch, f"{prefix}attention_mask", ids)
    if f"{prefix}response_mask" in batch:
        trained = _mask(batch, f"{prefix}response_mask", ids)
    elif f"{prefix}labels" in batch:
        trained = _mask(batch, f"{prefix}labels", ids, ignored=-100)
    else:
        warnings.warn(
            f"no '{prefix}response_mask' is given: every attended token is trained, those of prompts too",
            stacklevel=2,
        )
        trained = attended
    found = Sequences([], [], [])
    for row in range(len(ids)):
        columns = attended[row].nonzero()[:, 0].tolist()
        answered = [bool(value) for value in trained[row][columns].tolist()]
        answered[:1] = [False] * len(answered[:1])
        if not any(answered):
            raise DataError(f"nothing of row {row} of '{prefix}input_ids' is trained", mend="Look at its masks.")
        found.ids.append(ids[row][columns].tolist())
        found.trained.append(answered)
        found.columns.append(columns)
    return found


def _mask(batch: Batch, name: str, ids: Tensor, *, ignored: int = 0) -> Tensor:
    if name not in batch:
        return torch.ones_like(ids, dtype=torch.bool)
    mask = tensor_of(batch, name)
    if mask.shape != ids.shape:
        raise DataError(f"{name!r} has the shape {tuple(mask.shape)}, the ids have {tuple(ids.shape)}")
    return mask != ignored
