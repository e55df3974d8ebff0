"""The attention of a shared row, put in the place of a model's own for the length of a `with` block.

transformers lets attention functions be registered by name, and a model looks its function up at every call. While
prompts are shared, the model's configuration names the function below; before and after, sampling, saving and every
other use of the model see the configuration as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from accord.policy.engine import flash
from accord.policy.engine.block_mask import BlockMasks, block_attention
from accord.policy.engine.last_layer import Asked, computing_only, last_attention
from accord.policy.layout import Attention, Layout
from accord.policy.sharding import decoder_layers

NAME = "accord_shared_prompts"

_CHANGES: dict[Attention, tuple[str, ...]] = {
    "parts": ("softcap", "s_aux", "position_bias"),
    "blocks": ("position_bias",),
}
"""What some models add to attention, and a shared row cannot do."""


class UnsupportedAttentionError(RuntimeError):
    """A model's attention does something that a shared row cannot reproduce."""


@dataclass
class Trace:
    """What a model's attention layers asked for in one forward pass.

    Attributes:
        calls: how many layers came here.
        windows: sliding windows that layers named; `None` is a layer without one.
        local_sizes: reach of the masks that the model asked for; `None` is the whole past.
    """

    calls: int = 0
    windows: set[int | None] = field(default_factory=set)
    local_sizes: set[int | None] = field(default_factory=set)


@dataclass(frozen=True)
class _Sharing:
    layout: Layout
    masks: BlockMasks | None
    configs: tuple[PretrainedConfig, ...]
    asked: Callable[[], AbstractContextManager[None]]


_active: ContextVar[_Sharing | None] = ContextVar("accord_sharing", default=None)
_trace: ContextVar[Trace | None] = ContextVar("accord_trace", default=None)


@contextmanager
def shared_prompts(model: nn.Module, layout: Layout, asked: Asked | None = None) -> Iterator[None]:
    """Read a model's input as a shared row for the length of the block.

    Args:
        model: a causal language model.
        layout: how the row is to be read.
        asked: the only tokens that the last layer computes; all if `None`.
    """
    owned = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in owned if isinstance(config, PretrainedConfig)}
    masks = BlockMasks(layout) if layout.attention == "blocks" else None
    last = nullcontext if asked is None else partial(computing_only, asked, decoder_layers(model)[-1])
    with _entered(_Sharing(layout, masks, tuple(configs.values()), last)):
        yield


@contextmanager
def traced() -> Iterator[Trace]:
    """Note what attention layers ask for while prompts are shared in the block."""
    trace = Trace()
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def recompute_contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts of a checkpointed layer's forward pass and of its recomputation, for `torch.utils.checkpoint`.

    The backward pass runs outside of the block in which prompts were shared; a layer must be recomputed as it ran.
    """
    sharing = _active.get()
    return nullcontext(), nullcontext() if sharing is None else _entered(sharing)


@contextmanager
def _entered(sharing: _Sharing) -> Iterator[None]:
    before = [config._attn_implementation for config in sharing.configs]
    token = _active.set(sharing)
    try:
        for config in sharing.configs:
            config._attn_implementation = NAME
        with sharing.asked():
            yield
    finally:
        for config, name in zip(sharing.configs, before, strict=True):
            config._attn_implementation = name
        _active.reset(token)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: `[1,H,L,D]` queries to `[1,L,H,D]` outputs."""
    sharing = _active.get()
    if sharing is None:  # another thread uses the model while this one shares prompts
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **arguments
        )
    layout, masks = sharing.layout, sharing.masks
    added = [name for name in _CHANGES[layout.attention] if arguments.get(name) is not None]
    if attention_mask is not None or dropout or added:
        raise UnsupportedAttentionError(f"its attention has {', '.join(added) or 'a mask or dropout of its own'}")
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    running = last_attention()
    if running is not None:
        key, value = running.whole(key, value)
    starts = None if running is None else running.asked.starts
    trace = _trace.get()
    if trace is not None:
        trace.calls += 1
        trace.windows.add(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window if sliding_window is not None and sliding_window < layout.longest else None
    if masks is not None:
        cap, sinks = arguments.get("softcap"), arguments.get("s_aux")
        out = block_attention(query, key, value, masks.under(window), scale=scale, cap=cap, sinks=sinks)
    elif flash.AVAILABLE and query.device.type == "cpu" and window is None and key.shape == value.shape:
        out = flash.merged_flash(query, key, value, layout.segments, scale, starts)
    else:
        out = sequence_attention(query, key, value, layout, scale=scale, window=window, starts=starts)
    return out.transpose(1, 2).contiguous(), None  # some models view a token's heads as one


def _mask(*, local_size: int | None = None, **named: Any) -> Tensor | None:
    """No mask where prompts are shared: the layout says who sees whom."""
    sharing = _active.get()
    if sharing is None:
        return sdpa_mask(local_size=local_size, **named)
    trace = _trace.get()
    if trace is not None:
        trace.local_sizes.add(local_size)
    return None


# Within a compiled layer it stays as it is: traced, it would be compiled for this very row and again for the next.
AttentionInterface.register(NAME, torch.compiler.disable(_attend))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(NAME, _mask)


def sequence_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    *,
    scale: float,
    window: int | None,
    starts: Sequence[int] | None = None,
) -> Tensor:
    """Attention outputs `[1,H,M,D]` of tokens of a shared row by PyTorch's public attention, a segment at a time.

    Serves every device, sliding windows, and values of another size than keys.

    Args:
        query: `[1,H,M,D]`, of the tokens of each segment from its start on.
        key: `[1,K,L,D]` of all tokens, of K heads that each serve H / K query heads.
        value: `[1,K,L,E]`.
        layout: how to read the row.
        scale: factor of the scores.
        window: how many tokens back a token sees, itself included; all if `None`.
        starts: where in the row the queries of each segment start; where it begins if `None`.
    """
    times = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(times, dim=1) if times > 1 else states for states in (key, value))
    parts, count = [], 0
    for index, (segment, ancestors) in enumerate(layout.with_ancestors()):
        of = slice(count, count + segment.end - (segment.begin if starts is None else starts[index]))
        count = of.stop
        runs = [*((one.begin, one.end) for one in ancestors), (segment.begin, segment.end)]
        keys, values = (torch.cat([states[:, :, begin:end] for begin, end in runs], dim=2) for states in (key, value))
        seen = _reach(of.stop - of.start, keys.shape[2], window, query.device)
        parts.append(scaled_dot_product_attention(query[:, :, of], keys, values, attn_mask=seen, scale=scale))
    return torch.cat(parts, dim=2)


def _reach(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """`[queries,keys]` which keys each of the last `queries` tokens of a sequence sees."""
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return seen if window is None else seen.triu(keys - queries - window + 1)
