"""Attention over a shared row on an accelerator: one call under a block mask, by PyTorch's FlexAttention.

A token is seen by what comes after it in its segment and in those that continue it. So a query q sees a key k iff
`k <= q < close[k]`, and under a sliding window iff also `depth[q] - depth[k] < window`. Blocks of keys that no query of
a block sees are skipped, and blocks that all see are computed without a look at single tokens. Soft-capping changes the
scores, and an attention sink what they are divided by: `out * exp lse / (exp lse + exp sink)`. Both are exact here.

The kernel is compiled for one length. Rows are therefore filled up to one of few lengths with tokens that see nothing
but themselves. Only the attention meets them, and they cost it next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention
from torch.nn.functional import pad

from accord.policy.layout import Layout

BLOCK = 128
"""Tokens of a block."""

_KERNELS = 1024
"""How many kernels there may be, for lengths, windows, precisions and so on; PyTorch's compiler stops at 8 unasked."""


def bucket(length: int) -> int:
    """The least length of at least this many tokens that rows are filled up to: whole blocks, four steps a doubling."""
    step = max(BLOCK, 1 << max(0, (length - 1).bit_length() - 3))
    return max(1, -(-length // step)) * step


class BlockMasks:
    """Who sees whom in a shared row, for every window that its layers ask for.

    They serve one forward pass, and its backward pass: what is made in inference mode no other pass may keep.
    """

    def __init__(self, layout: Layout) -> None:
        segments, device = layout.segments, layout.position_ids.device
        length = layout.position_ids.shape[1]
        filled = bucket(length)
        lengths = torch.tensor([segment.end - segment.begin for segment in segments])
        close = torch.tensor([segment.close for segment in segments]).repeat_interleave(lengths)
        own = torch.arange(length + 1, filled + 1)  # a filling token is the last that sees it
        self._close = torch.cat([close, own]).to(device, torch.int32)
        self._depths = pad(layout.position_ids[0], (0, filled - length)).to(torch.int32)
        self._made: dict[int | None, BlockMask] = {}

    def under(self, window: int | None) -> BlockMask:
        """The mask of a window: how many tokens back in its sequence a token sees, itself included; all if `None`."""
        if window not in self._made:
            self._made[window] = self._make(window)
        return self._made[window]

    def _make(self, window: int | None) -> BlockMask:
        close, depths = self._close, self._depths

        def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            shares = (k <= q) & (q < close[k])
            return shares if window is None else shares & (depths[q] - depths[k] < window)

        some, full = self._blocks(window)
        partial_count, partial_order = _ordered(some & ~full)
        full_count, full_order = _ordered(full)
        return BlockMask.from_kv_blocks(
            partial_count, partial_order, full_count, full_order, BLOCK_SIZE=BLOCK, mask_mod=sees
        )

    def _blocks(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Whether queries of a block may see keys of a block, and whether all see all; both `[blocks,blocks]`."""
        close = self._close.view(-1, BLOCK)
        first = torch.arange(0, close.numel(), BLOCK, device=close.device, dtype=close.dtype)
        before = first[:, None] > first
        some = before & (close.amax(1) > first[:, None]) | torch.eye(len(first), dtype=torch.bool, device=close.device)
        full = before & (close.amin(1) >= first[:, None] + BLOCK)
        if window is None:
            return some, full
        least, most = self._depths.view(-1, BLOCK).aminmax(dim=1)
        return some & (least[:, None] - most < window), full & (most[:, None] - least < window)


def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    *,
    scale: float,
    cap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention outputs `[1,H,L,E]` of a shared row.

    Args:
        query: `[1,H,L,D]`.
        key: `[1,K,L,D]`, of K heads that each serve H / K query heads.
        value: `[1,K,L,E]`.
        mask: who sees whom.
        scale: factor of the scores.
        cap: soft-caps the scaled scores, `s -> cap * tanh(s / cap)`.
        sinks: `[H]` a score for each head that takes its share of attention and gives nothing.
    """
    length = query.shape[2]
    filled = int(mask.shape[-1])
    query, key, value = (pad(states, (0, 0, 0, filled - length)).contiguous() for states in (query, key, value))
    arguments = {"block_mask": mask, "scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    if cap is not None:
        arguments["score_mod"] = _capped(cap)
    with torch._dynamo.config.patch(recompile_limit=_KERNELS, accumulated_recompile_limit=_KERNELS):
        if sinks is None:
            out: Tensor = _kernel()(query, key, value, **arguments)
            return out[:, :, :length]
        out, aux = _kernel()(query, key, value, **arguments, return_aux=AuxRequest(lse=True))
    share = torch.sigmoid(aux.lse[:, :, :length] - sinks.float()[:, None])
    return (out[:, :, :length] * share.unsqueeze(-1)).to(out.dtype)


@functools.cache
def _kernel() -> Callable[..., Any]:
    """FlexAttention, compiled for each length by itself: uncompiled, it would hold all scores at once."""
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def _capped(cap: float) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    def capped(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return capped


def _ordered(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """How many of each row's `[blocks,blocks]` are chosen, and the row's columns, the chosen ones first."""
    order = chosen.to(torch.int32).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return chosen.sum(1, dtype=torch.int32)[None, None], order[None, None]
