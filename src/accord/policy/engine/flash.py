"""Attention over a shared row on a CPU, from PyTorch's flash kernel: exact, without a mask, without copies of keys.

A token attends to what comes before it in its own segment and to the segments that this one continues, such as a
response its prompt. The parts are computed apart and merged by their log-sum-exps: `o = o1 exp(l1 - l) +
o2 exp(l2 - l)` with `l = log(exp l1 + exp l2)`. The flash backward pass of a part, given the merged output and
log-sum-exp, is that part's share of the gradient (as in ring attention, Liu et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policy.engine.operators import known_operator
from accord.policy.layout import Segment

_FORWARD = ("query", "key", "value", "dropout_p", "is_causal", "attn_mask", "scale")
_BACKWARD = ("grad_out", "query", "key", "value", "out", "logsumexp", "dropout_p", "is_causal", "attn_mask", "scale")


_forward = known_operator("aten", "_scaled_dot_product_flash_attention_for_cpu", _FORWARD)
_backward = known_operator("aten", "_scaled_dot_product_flash_attention_for_cpu_backward", _BACKWARD)

PIECE = 128
"""Longest piece that the kernel computes under a triangle, where it is half as fast as on a full rectangle."""

_capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}

MATRIX_UNITS = bool(_capabilities.get("amx_bf16"))
"""Whether the processor multiplies matrices in bf16 by units of its own; without them the kernel is slower in it."""

AVAILABLE = _forward is not None and _backward is not None
"""Whether this PyTorch has the kernels as they are used here."""


def merged_flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[Segment],
    scale: float,
    starts: Sequence[int] | None = None,
) -> Tensor:
    """Attention outputs `[1,H,M,D]` of tokens of a shared row, in the precision of the queries.

    Args:
        query: `[1,H,M,D]`, of the tokens of each segment from its start on.
        key: `[1,K,L,D]` of all tokens, of K heads that each serve H / K query heads.
        value: `[1,K,L,D]`.
        segments: what fills the row.
        scale: factor of the scores.
        starts: where in the row the queries of each segment start; where it begins if `None`.
    """
    if query.dtype == torch.bfloat16 and not MATRIX_UNITS:
        return merged_flash(query.float(), key.float(), value.float(), segments, scale, starts).to(query.dtype)
    parts = _parts(segments, [segment.begin for segment in segments] if starts is None else starts)
    out: Tensor = _MergedFlash.apply(query, key, value, parts, scale)  # type: ignore[no-untyped-call]
    return out


def full_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Every query sees every key: outputs `[B,H,L,D]` and log-sum-exps `[B,H,L]`, without gradients.

    Args:
        query: `[B,H,L,D]`.
        key: `[B,H,S,D]`.
        value: `[B,H,S,D]`.
        scale: factor of the scores.
    """
    out, lse = _forward(query, key, value, 0.0, False, scale=scale)
    return out, lse


def _grouped(heads: Tensor, groups: int) -> Tensor:
    """A view `[K,H/K,L,D]` of `[1,H,L,D]`."""
    _, count, length, size = heads.shape
    return heads.view(groups, count // groups, length, size)


def _repeated(heads: Tensor, times: int) -> Tensor:
    """A view `[K,times,L,D]` of `[1,K,L,D]` that repeats every head without copying it."""
    return heads[0].unsqueeze(1).expand(-1, times, -1, -1)


_Pairs = list[tuple[slice, slice]]
"""Queries, by their place among the queries, with keys, by their place in the row."""


def _parts(segments: Sequence[Segment], starts: Sequence[int]) -> tuple[_Pairs, _Pairs]:
    """Queries cut into pieces that each see their own past, and pairs of queries and keys that those see in full.

    Together they are what a token sees: its own piece up to itself, its segment before that, and the segments that this
    one continues.
    """
    places, count = {}, 0  # how many queries stand before a segment, by where it begins in the row
    for (begin, end, _), start in zip(segments, starts, strict=True):
        places[begin] = count
        count += end - start
        places[end] = count
    pieces, pairs = [], []
    for (begin, end, close), start in zip(segments, starts, strict=True):
        shift = places[begin] - start
        for cut in range(start, end, PIECE):
            stop = min(cut + PIECE, end)
            queries = slice(cut + shift, stop + shift)
            pieces.append((queries, slice(cut, stop)))
            if cut > begin:
                pairs.append((queries, slice(begin, cut)))
        if places[close] > places[end]:
            pairs.append((slice(places[end], places[close]), slice(begin, end)))
    return pieces, pairs


class _MergedFlash(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: tuple[_Pairs, _Pairs], scale: float
    ) -> Tensor:
        length, size, groups = query.shape[2], query.shape[3], key.shape[1]
        times = query.shape[1] // groups
        q, k, v = _grouped(query, groups), _repeated(key, times), _repeated(value, times)
        out = query.new_empty(length, groups, times, size).permute(1, 2, 0, 3)
        lse = query.new_empty(length, groups, times, dtype=torch.float32).permute(1, 2, 0)
        pieces, pairs = parts
        for of, own in pieces:
            out[:, :, of], lse[:, :, of] = _forward(q[:, :, of], k[:, :, own], v[:, :, own], 0.0, True, scale=scale)
        for of, seen in pairs:
            part, part_lse = _forward(q[:, :, of], k[:, :, seen], v[:, :, seen], 0.0, False, scale=scale)
            _merge(out[:, :, of], lse[:, :, of], part, part_lse)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.parts, ctx.scale = parts, scale
        return out.flatten(0, 1).unsqueeze(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        _, groups, row, size = key.shape
        length = query.shape[2]
        times = query.shape[1] // groups
        q, k, v = _grouped(query, groups), _repeated(key, times), _repeated(value, times)
        upstream = _grouped(gradients[0], groups)
        to_q = query.new_empty(length, groups, times, size).permute(1, 2, 0, 3)
        to_k, to_v = (key.new_zeros(row, groups, size).permute(1, 0, 2) for _ in range(2))

        def part(of: slice, seen: slice, *, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            queries, keys, values = _backward(
                upstream[:, :, of],
                q[:, :, of],
                k[:, :, seen],
                v[:, :, seen],
                out[:, :, of],
                lse[:, :, of],
                0.0,
                causal,
                scale=ctx.scale,
            )
            return queries, keys.sum(1), values.sum(1)

        pieces, pairs = ctx.parts
        for of, own in pieces:
            to_q[:, :, of], to_k[:, own], to_v[:, own] = part(of, own, causal=True)
        for of, seen in pairs:
            queries, keys, values = part(of, seen, causal=False)
            to_q[:, :, of] += queries
            to_k[:, seen] += keys
            to_v[:, seen] += values
        return to_q.flatten(0, 1).unsqueeze(0), to_k.unsqueeze(0), to_v.unsqueeze(0), None, None


def _merge(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Add another part of the same rows' attention to `out` and `lse`, in place."""
    merged = torch.logaddexp(lse, part_lse)
    out.copy_(out * (lse - merged).exp().unsqueeze(-1) + part * (part_lse - merged).exp().unsqueeze(-1))
    lse.copy_(merged)
