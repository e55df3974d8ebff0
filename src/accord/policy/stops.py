"""Where a sampled answer ends: at a token, or at a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Decode = Callable[[list[int]], str]
"""Token ids to text."""

_BEFORE = 4
"""Tokens read before those that can hold a stop text: some tokenizers write a first token in another way."""


class Stops:
    """What ends an answer.

    Args:
        ids: tokens that do.
        texts: texts that do, as soon as the answer contains them.
        decode: token ids to text; only called where there are texts.
    """

    def __init__(self, ids: Sequence[int], texts: Sequence[str], decode: Decode | None) -> None:
        self._ids, self._texts, self._decode = torch.tensor(list(ids), dtype=torch.long), tuple(texts), decode
        # Every token writes a byte at least, so no more tokens than this hold a text that the last of them completes.
        self._reach = max((len(text.encode()) for text in self._texts), default=0) + _BEFORE

    def at_end(self, tokens: Tensor) -> Tensor:
        """Which rows `[N]` of the answers so far `[N,T]` end with their last token, none having ended before."""
        self._ids = self._ids.to(tokens.device)
        stopped = torch.isin(tokens[:, -1], self._ids)
        if not self._texts or self._decode is None:
            return stopped
        tails = map(self._decode, tokens[:, -self._reach :].tolist())
        found = [any(text in tail for text in self._texts) for tail in tails]
        return stopped | torch.tensor(found, device=tokens.device)
