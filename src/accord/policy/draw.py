"""Draw one token a row from logits, with one given uniform number a row."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1024
_BELOW_ONE = 1 - 2**-52


def draw(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample by inverting the cumulative distribution, so that a row's token depends on its own uniform alone.

    The vocabulary is searched in two levels, block and token: one pass over the logits and no sort.

    Args:
        logits: `[N,V]` float32, already divided by the temperature; `-inf` excludes a token.
        uniforms: `[N]` float64 in [0, 1).

    Returns:
        Token ids `[N]` and their log-probabilities `[N]` under softmax(logits), float32. Where logits are not finite
        numbers the log-probability is not either.
    """
    peak = logits.amax(1, keepdim=True)
    weights = (logits - peak).exp_()
    upto = _block_sums(weights).cumsum(1)
    total = upto[:, -1]
    target = (uniforms.clamp(max=_BELOW_ONE) * total)[:, None]
    block = torch.searchsorted(upto, target, right=True).clamp(max=upto.shape[1] - 1)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = (target - before) / (upto.gather(1, block) - before)

    tokens = block * _BLOCK + torch.arange(_BLOCK, device=logits.device)
    exists = tokens < logits.shape[1]
    tokens = tokens.clamp(max=logits.shape[1] - 1)
    upto = (weights.gather(1, tokens) * exists).double().cumsum(1)
    # Scaled to the block's own sum, the target stays below it whatever was rounded: no token of weight zero is drawn.
    target = inside.clamp(0.0, _BELOW_ONE) * upto[:, -1:]
    chosen = tokens.gather(1, torch.searchsorted(upto, target, right=True).clamp(max=_BLOCK - 1))
    return chosen[:, 0], (logits.gather(1, chosen) - peak)[:, 0] - total.log().float()


def _block_sums(weights: Tensor) -> Tensor:
    """Sums `[N,V/1024]` over blocks of the vocabulary, in float64; the last block may be a short one."""
    whole = weights.shape[1] // _BLOCK * _BLOCK
    sums = weights[:, :whole].reshape(len(weights), -1, _BLOCK).sum(-1).double()
    rest = weights[:, whole:]
    return torch.cat([sums, rest.sum(1, keepdim=True).double()], dim=1) if rest.shape[1] else sums


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Exclude all but the most likely tokens that together reach probability `top_p` (Holtzman et al. 2020).

    The token that crosses the threshold stays, so at least one always does.
    """
    ordered, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered
    excluded = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return logits.masked_fill(excluded, float("-inf"))


def most_likely(logits: Tensor, count: int) -> Tensor:
    """Exclude all but the `count` most likely tokens; those as likely as the last of them stay as well."""
    least = logits.topk(min(count, logits.shape[1]), dim=1).values[:, -1:]
    return logits.masked_fill(logits < least, float("-inf"))


def greedy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely token of each row, `[N]`, and its log-probability under softmax(logits), `[N]` float32."""
    tokens = logits.argmax(1)
    return tokens, logits.log_softmax(1).gather(1, tokens[:, None])[:, 0]
