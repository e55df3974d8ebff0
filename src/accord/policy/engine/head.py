"""Log-probabilities and entropies from hidden states by a linear head, without ever holding all logits.

The logits are made tile by tile and reduced to a maximum and a sum of exponentials each, in float32. Tiles are kept
for the backward pass as `exp(z - max)` while they fit a budget (three matrix products in all), and made again there
beyond it (four): the softmax is then one multiplication away, for `exp(z - max) exp(max - lse)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from accord.policy.engine.gradients import kept_gradient
from accord.policy.engine.memory import in_large_pages
from accord.policy.engine.products import add_outer, times_transposed

ROWS, COLUMNS = 512, 4096
"""Shape of a tile of logits; 8 MiB in float32 stay in a processor's cache."""

KEEP_BYTES = 256 * 2**20
"""Tiles kept for the backward pass in one call, if `kept_bytes` does not allow more."""


def kept_bytes(weight: Tensor) -> int:
    """Tiles kept for the backward pass in one call: on a CPU twice the size of a head that trains.

    Its gradient and moments take more, and a product costs more than that memory. A GPU, which may hold only a share of
    the head, keeps less.
    """
    whole = weight.requires_grad and weight.device.type == "cpu"
    return max(KEEP_BYTES, 2 * weight.numel() * weight.element_size()) if whole else KEEP_BYTES


def linear_logprobs(states: Tensor, weight: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    r"""Log-probability of each target: :math:`z_t - \log \sum_v e^{z_v}` with :math:`z = scale \cdot W h`.

    Args:
        states: `[N,H]`, in the precision of the matrix products.
        weight: `[V,H]`.
        target: `[N]` token ids.
        scale: factor of the logits, such as an inverse temperature.

    Returns:
        `[N]` float32.
    """
    return _statistics(states, weight, target, scale, entropy=False)[0]


def linear_logprobs_and_entropies(
    states: Tensor, weight: Tensor, target: Tensor, *, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""What `linear_logprobs` gives, and in the same pass the entropy of every distribution, both `[N]` float32.

    The entropy is :math:`\log \sum_v e^{z_v} - \sum_v p_v z_v`, in nats, with gradients.
    """
    logprobs, entropies = _statistics(states, weight, target, scale, entropy=True)
    assert entropies is not None
    return logprobs, entropies


def _statistics(
    states: Tensor, weight: Tensor, target: Tensor, scale: float, *, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    # Inside of a Function the mode of gradients can no longer be seen.
    budget = kept_bytes(weight) if torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad) else 0
    found: tuple[Tensor, Tensor | None] = _LinearLogprobs.apply(  # type: ignore[no-untyped-call]
        states, weight, target, scale, entropy, budget
    )
    return found


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, target: Tensor, scale: float, entropy: bool, budget: int
    ) -> tuple[Tensor, Tensor | None]:
        head = weight.to(states.dtype)
        count, vocabulary = len(states), len(weight)
        kept: dict[tuple[int, int], Tensor] = {}
        columns = range(0, vocabulary, COLUMNS)
        peaks, sums, products = (states.new_zeros(count, len(columns), dtype=torch.float32) for _ in range(3))
        chosen = states.new_empty(count, dtype=torch.float32)
        for rows, cols in _tiles(count, vocabulary):
            keep = budget >= 4 * _size(rows) * _size(cols)
            tile = _logits(states[rows], head[cols], scale)
            index = cols.start // COLUMNS
            here, local = _targets_within(target[rows], cols)
            chosen[rows][here] = tile[here, local]
            peaks[rows, index] = peak = tile.amax(1)
            tile.sub_(peak[:, None])
            if entropy:
                products[rows, index] = (tile.exp() * tile).sum(1)
            sums[rows, index] = tile.exp_().sum(1)
            if keep:
                budget -= 4 * tile.numel()
                kept[rows.start, cols.start] = tile
        lse = (peaks + sums.log()).logsumexp(1)
        entropies = None
        if entropy:  # as a sum of terms of one sign, so that nothing cancels
            above = lse[:, None] - peaks
            entropies = ((-above).exp() * (sums * above - products)).sum(1)
        ctx.save_for_backward(states, weight, target, peaks, lse, entropies)
        ctx.scale, ctx.kept = scale, kept
        return chosen - lse, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, target, peaks, lse, entropies = ctx.saved_tensors
        upstream = gradients[0].float() * ctx.scale
        head = weight.to(states.dtype)
        to_states = torch.zeros_like(states, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        kept, to_weight = None, None
        if ctx.needs_input_grad[1]:
            kept = kept_gradient(weight)
            to_weight = in_large_pages(torch.empty_like(weight)) if kept is None else kept.total
        for rows, cols in _tiles(len(states), len(weight)):
            peak = peaks[rows, cols.start // COLUMNS]
            tile = ctx.kept.pop((rows.start, cols.start), None)
            if tile is None:
                tile = _logits(states[rows], head[cols], ctx.scale).sub_(peak[:, None]).exp_()
            share = (peak - lse[rows]).exp()
            if entropies is None:  # d logprob / d z = onehot - p
                tile.mul_((share * -upstream[rows])[:, None])
            else:  # d entropy / d z = -p (log p + entropy)
                tile.mul_(share[:, None])
                of_entropy = gradients[1][rows] * ctx.scale
                surprise = torch.xlogy(tile, tile).mul_(of_entropy[:, None])
                tile.mul_((upstream[rows] + of_entropy * entropies[rows])[:, None]).add_(surprise).neg_()
            here, local = _targets_within(target[rows], cols)
            tile[here, local] += upstream[rows][here]
            delta = tile.to(states.dtype)
            if to_states is not None:
                to_states[rows] += times_transposed(delta, head[cols].t())
            if to_weight is not None:
                overwrite = rows.start == 0 and (kept is None or kept.fresh)
                add_outer(to_weight[cols], delta, states[rows], overwrite=overwrite)
        returned = to_weight if kept is None else None
        return (None if to_states is None else to_states.to(states.dtype)), returned, None, None, None, None


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, ROWS):
        for column in range(0, columns, COLUMNS):
            yield slice(row, min(row + ROWS, rows)), slice(column, min(column + COLUMNS, columns))


def _size(part: slice) -> int:
    size: int = part.stop - part.start
    return size


def _logits(states: Tensor, head: Tensor, scale: float) -> Tensor:
    """A tile of logits in float32."""
    tile = times_transposed(states, head).float()
    return tile if scale == 1.0 else tile.mul_(scale)


def _targets_within(target: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """The rows whose target lies in these columns, and its column within them."""
    here = ((target >= columns.start) & (target < columns.stop)).nonzero()[:, 0]
    return here, target[here] - columns.start
