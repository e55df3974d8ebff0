"""Decoding many rows of a few prompts: the keys and values of a prompt are held once, and read once for all its rows.

A row's new token attends to its prompt and to its own tokens. On a CPU the two parts are computed apart, all rows of a
prompt together in the first, and merged by their log-sum-exps. Prompts are read in one row without padding, a row that
has ended takes only its own tokens with it, and no attention mask is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from accord.policy.decoding import CachedDecoder, Network
from accord.policy.engine import flash
from accord.policy.engine.attention import UnsupportedAttentionError, shared_prompts, traced
from accord.policy.layout import Layout, Segment

NAME = "accord_cascade"

_CHANGES = ("softcap", "s_aux", "position_bias")
"""What some models add to attention, and the two parts cannot do."""

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference of a logit in the probe, as a share of the largest logit."""


@dataclass
class _Layer:
    """What a layer has seen: `[1,K,P,D]` for each prompt, and a buffer `[N,K,room,D]` of the rows' own tokens."""

    prompts: list[tuple[Tensor, Tensor]]
    own: tuple[Tensor, Tensor]


class Cascade:
    """Keys and values of prompts and of the rows that continue them.

    Args:
        cache: what a model kept of a shared row of prompts.
        spans: where each prompt stands in it.
        counts: how many rows continue each prompt; rows are in the order of their prompts.
        room: tokens still to come in a row.
    """

    def __init__(self, cache: Any, spans: Sequence[tuple[int, int]], counts: list[int], room: int) -> None:
        self._lengths = [end - begin for begin, end in spans]
        self._counts, self._room = counts, room
        self._length = 0
        self._layers: list[_Layer] = []
        self._next = 0
        for layer in cache.layers:
            # Under autocast rotary positions leave keys in float32; attention is computed in the wider precision.
            dtype = torch.promote_types(layer.keys.dtype, layer.values.dtype)
            states = keys, values = layer.keys.to(dtype), layer.values.to(dtype)
            own = [s.new_empty(sum(counts), s.shape[1], room, s.shape[3]) for s in states]
            prompts = [(keys[:, :, begin:end], values[:, :, begin:end]) for begin, end in spans]
            self._layers.append(_Layer(prompts, (own[0], own[1])))

    def passed(self) -> None:
        """Called after a forward pass: every row has a token more.

        Raises:
            UnsupportedAttentionError: not every layer took part.
        """
        if self._next != len(self._layers):
            raise UnsupportedAttentionError(f"its {len(self._layers)} layers call attention {self._next} times")
        self._next, self._length = 0, self._length + 1

    def keep(self, rows: Tensor, counts: list[int]) -> None:
        """Drop all rows but these (ascending indices); `counts` says how many each prompt still has."""
        self._counts = counts
        for layer in self._layers:
            keys, values = (self._shrunk(states, rows) for states in layer.own)
            layer.own = (keys, values)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Outputs `[N,H,1,D]` of the next layer for queries `[N,H,1,D]` and the new token's states `[N,K,1,D]`.

        Args:
            query: of K times some query heads.
            key: of the new token.
            value: of the same size as keys.
            scale: factor of the scores.
            window: how many tokens back a token sees, itself included; all if `None`.
        """
        layer = self._layers[self._next]
        self._next += 1
        rows, heads, size = len(query), key.shape[1], key.shape[3]
        keys, values = layer.own
        keys[:, :, self._length], values[:, :, self._length] = key[:, :, 0], value[:, :, 0]
        grouped = query.to(keys.dtype).view(rows, heads, -1, size)
        end = self._length + 1
        seen = slice(0 if window is None else max(0, end - window), end)
        own, own_lse = flash.full_attention(grouped, keys[:, :, seen], values[:, :, seen], scale)
        of_prompt, lse = self._of_prompts(layer, grouped, scale, window)
        merged = torch.lerp(own, of_prompt, torch.sigmoid(lse - own_lse).unsqueeze(-1).to(own.dtype))
        return merged.reshape(query.shape)

    def _of_prompts(self, layer: _Layer, query: Tensor, scale: float, window: int | None) -> tuple[Tensor, Tensor]:
        """What queries `[N,K,g,D]` find in their prompts: outputs and log-sum-exps `[N,K,g]`, `-inf` out of reach."""
        _, heads, times, size = query.shape
        parts: list[tuple[Tensor, Tensor]] = []
        begin = 0
        for (keys, values), length, count in zip(layer.prompts, self._lengths, self._counts, strict=True):
            own = query[begin : begin + count]
            begin += count
            first = 0 if window is None else max(0, length + self._length + 1 - window)
            if count and first < length:
                together = own.transpose(0, 1).reshape(1, heads, count * times, size)
                out, lse = flash.full_attention(together, keys[:, :, first:], values[:, :, first:], scale)
                shape = (heads, count, times)
                parts.append((out.view(*shape, size).transpose(0, 1), lse.view(shape).transpose(0, 1)))
            elif count:
                nothing = torch.full((count, heads, times), float("-inf"), device=query.device)
                parts.append((torch.zeros_like(own), nothing))
        if len(parts) == 1:
            return parts[0]
        outs, lses = zip(*parts, strict=True)
        return torch.cat(outs), torch.cat(lses)

    def _shrunk(self, states: Tensor, rows: Tensor) -> Tensor:
        kept = states.new_empty(len(rows), *states.shape[1:])
        kept[:, :, : self._length] = states[:, :, : self._length].index_select(0, rows)
        return kept


_active: ContextVar[Cascade | None] = ContextVar("accord_cascade", default=None)


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
    """Attention as transformers calls it: `[N,H,1,D]` queries to `[N,1,H,D]` outputs."""
    cascade = _active.get()
    if cascade is None:  # another thread uses the model while this one decodes
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **arguments
        )
    added = [name for name in _CHANGES if arguments.get(name) is not None]
    if attention_mask is not None or dropout or added or key.shape != value.shape or query.shape[2] != 1:
        raise UnsupportedAttentionError("its attention is more than one query over keys and values of one size")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return cascade.attend(query, key, value, scale, sliding_window).transpose(1, 2), None


# Without a mask function of the same name, transformers makes no mask.
AttentionInterface.register(NAME, _attend)


class CascadeDecoder:
    """Rows that continue a few prompts; for models that `reach` accepts."""

    def __init__(self, network: Network) -> None:
        self._network = network
        owned = (getattr(module, "config", None) for module in network.model.modules())
        self._configs = list({id(config): config for config in owned if isinstance(config, PretrainedConfig)}.values())
        self._cascade: Cascade
        self._owners: Tensor
        self._positions: Tensor
        self._prompts = 0

    def start(self, prompts: Sequence[Sequence[int]], owners: Sequence[int], room: int) -> Tensor:
        """See `Decoder.start`; rows come in the order of their prompts."""
        device = self._network.device
        spans: list[tuple[int, int]] = []
        ids: list[int] = []
        positions: list[int] = []
        for prompt in prompts:
            spans.append((len(ids), len(ids) + len(prompt)))
            ids += prompt
            positions += range(len(prompt))
        position_ids = torch.tensor([positions], device=device)
        segments = tuple(Segment(begin, end, end) for begin, end in spans)
        layout = Layout(segments, position_ids, max(map(len, prompts)), "attention")
        ends = torch.tensor([end - 1 for _, end in spans], device=device)
        cache = DynamicCache()
        with shared_prompts(self._network.model, layout):
            logits = self._network.logits_at(
                torch.tensor([ids], device=device), ends, position_ids=position_ids, past_key_values=cache
            )
        self._owners = torch.tensor(owners, device=device)
        self._prompts = len(prompts)
        self._cascade = Cascade(cache, spans, self._counts(), room)
        self._positions = torch.tensor([len(prompts[owner]) for owner in owners], device=device)[:, None]
        return logits[0][self._owners]

    def advance(self, tokens: Tensor) -> Tensor:
        """See `Decoder.advance`."""
        with self._decoding():
            logits, _ = self._network(tokens[:, None], position_ids=self._positions, use_cache=False)
        self._cascade.passed()
        self._positions = self._positions + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """See `Decoder.keep`; the order of rows stays."""
        self._owners, self._positions = self._owners[rows], self._positions[rows]
        self._cascade.keep(rows, self._counts())

    def _counts(self) -> list[int]:
        counts: list[int] = torch.bincount(self._owners, minlength=self._prompts).tolist()
        return counts

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Let the model's attention be the cascade's for the length of the block."""
        before = [config._attn_implementation for config in self._configs]
        token = _active.set(self._cascade)
        try:
            for config in self._configs:
                config._attn_implementation = NAME
            yield
        finally:
            for config, name in zip(self._configs, before, strict=True):
                config._attn_implementation = name
            _active.reset(token)


_reaches: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()


def reach(network: Network) -> float:
    """Longest sequence up to which cascaded decoding is exact: 0 for models that cannot, infinite if any length can.

    Found by trying it once for a model: the logits of a few steps must equal those of ordinary decoding.
    """
    if not (flash.AVAILABLE and network.device.type == "cpu" and network.pads and network.chooses):
        return 0.0
    if network.model not in _reaches:
        _reaches[network.model] = _tried(network)
    return _reaches[network.model]


def _tried(network: Network) -> float:
    with traced() as trace:
        try:
            found = _steps(CascadeDecoder(network))
        except Exception:  # whatever an architecture raises, it only means that it cannot be decoded this way
            return 0.0
    expected = _steps(CachedDecoder(network, pad_id=0))
    tolerance = _TOLERANCE.get(next(network.model.parameters()).dtype, _TOLERANCE[torch.bfloat16])
    if torch.is_autocast_enabled(network.device.type):
        tolerance = _TOLERANCE[torch.bfloat16]
    if float((found - expected).abs().max()) > tolerance * float(expected.abs().max()):
        return 0.0
    unexplained = trace.windows ^ trace.local_sizes  # local masks that layers do not name themselves, such as chunks
    return float(min((size for size in unexplained if size), default=float("inf")))


def _steps(decoder: CascadeDecoder | CachedDecoder) -> Tensor:
    """The logits of a few steps over two prompts, in which a row ends."""
    logits = [decoder.start([range(3, 10), range(10, 12)], [0, 0, 1, 1], 4)]
    device = logits[0].device
    for tokens in ([12, 13, 14, 15], [16, 17, 18, 19]):
        logits.append(decoder.advance(torch.tensor(tokens, device=device)))
    decoder.keep(torch.tensor([0, 2, 3], device=device))
    logits.append(decoder.advance(torch.tensor([20, 21, 22], device=device)))
    return torch.cat(logits)
