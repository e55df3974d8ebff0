"""A shared row read segment by segment: what a segment leaves in the model's key-value cache, its continuations share.

The second rung, for attention that a shared row cannot be given at once (soft-capping, sinks, biases by position).
The cache is the model's own, so whatever its attention does, it does here as in generation; gradients flow through it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from accord.policy.layout import Layout, Segment

Read = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Token ids `[n,l]` after what a cache holds (`None`: nothing), to states `[n,l,H]` and the cache with them in it."""

_windows: ContextVar[set[int] | None] = ContextVar("accord_cache_windows", default=None)


@contextmanager
def observed_windows() -> Iterator[set[int]]:
    """How far back the layers of caches in this block remember, where they forget."""
    windows: set[int] = set()
    token = _windows.set(windows)
    try:
        yield windows
    finally:
        _windows.reset(token)


def cached_states(read: Read, ids: Tensor, layout: Layout) -> Tensor:
    """States `[L,H]` of a shared row.

    Segments that nothing continues are read together, padded on the right, where no token sees the padding.

    Args:
        read: the model.
        ids: `[L]` the row.
        layout: how to read it.
    """
    continued = _by_parent(layout)
    found: dict[int, Tensor] = {}

    def visit(parent: Segment | None, cache: Any) -> None:
        after = continued.get(parent, [])
        for segment in after:
            if segment in continued:
                states, grown = read(ids[None, segment.begin : segment.end], _repeated(cache, 1))
                _observe(grown)
                found[segment.begin] = states[0]
                visit(segment, grown)
        leaves = [segment for segment in after if segment not in continued]
        if leaves:
            states, grown = read(_padded([ids[one.begin : one.end] for one in leaves]), _repeated(cache, len(leaves)))
            _observe(grown)
            found.update((one.begin, of[: one.end - one.begin]) for one, of in zip(leaves, states, strict=True))

    visit(None, None)
    return torch.cat([found[segment.begin] for segment in layout.segments])


def _by_parent(layout: Layout) -> dict[Segment | None, list[Segment]]:
    """The segments that continue each segment, and those that begin (under `None`)."""
    continued: dict[Segment | None, list[Segment]] = {}
    for segment, ancestors in layout.with_ancestors():
        continued.setdefault(ancestors[-1] if ancestors else None, []).append(segment)
    return continued


def _padded(rows: list[Tensor]) -> Tensor:
    """Rows of ids on top of each other; padding repeats a token of the row itself."""
    length = max(map(len, rows))
    return torch.stack([torch.cat([row, row[:1].expand(length - len(row))]) for row in rows])


def _repeated(cache: Any, times: int) -> Any:
    """A cache that grows on its own from the same states, once a row."""
    if cache is None:
        return None
    twin = copy.copy(cache)
    twin.layers = [_twin(layer) for layer in cache.layers]
    twin.reorder_cache(torch.zeros(times, dtype=torch.long))
    for layer in twin.layers:
        if hasattr(layer, "is_recurrent_states_initialized"):
            # Recurrent states are overwritten in place, which would take them from the backward pass; as if there were
            # none yet, the next ones get a tensor of their own.
            layer.is_recurrent_states_initialized = dict.fromkeys(layer.is_recurrent_states_initialized, False)
    return twin


def _twin(layer: Any) -> Any:
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(twin, name, dict(value))
    return twin


def _observe(cache: Any) -> None:
    windows = _windows.get()
    if windows is not None:
        named = (getattr(layer, "sliding_window", None) for layer in cache.layers)
        windows.update(window for window in named if window is not None)
