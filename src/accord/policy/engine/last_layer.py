"""A last layer that computes only what is asked for.

What a token is to the tokens after it, in the last layer, is its keys and values; where nobody asks what the model
predicts from it, as in a prompt, nothing else of that layer is of use. The layer runs twice: over those tokens up to
its attention, which takes their keys and values, and over the others, which see both. No layer is known by name: any
whose attention comes to `accord.policy.engine.attention` is served, and the probe tells whether that was exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from accord.policy.layout import Segment


@dataclass(frozen=True)
class Asked:
    """The tokens of a shared row that its last layer computes: of each segment those from the first that is asked for.

    What follows that one in the segment is computed with it, so that a segment's tokens are in one piece.

    Attributes:
        starts: where in the row the computed tokens of each segment begin; at its end if there are none.
        computed: `[M]` the computed tokens, by their place in the row.
        others: `[L-M]` the rest of the row.
        place: `[N]` where among the computed tokens those stand that are asked for.
    """

    starts: tuple[int, ...]
    computed: Tensor
    others: Tensor
    place: Tensor

    @classmethod
    def of(cls, segments: tuple[Segment, ...], at: Tensor) -> Asked | None:
        """What is computed of a row if the tokens at its places `[N]` are asked for; `None` if that is all or none."""
        ascending = sorted(set(at.tolist()))
        starts: list[int] = []
        computed: list[int] = []
        others: list[int] = []
        for begin, end, _ in segments:
            index = bisect_left(ascending, begin)
            start = min(ascending[index], end) if index < len(ascending) else end
            starts.append(start)
            others += range(begin, start)
            computed += range(start, end)
        if not (computed and others):
            return None
        places = torch.tensor(computed, dtype=torch.long, device=at.device)
        rest = torch.tensor(others, dtype=torch.long, device=at.device)
        return cls(tuple(starts), places, rest, torch.searchsorted(places, at))


class LastAttention:
    """Attention of a last layer while it runs: the keys and values of the tokens that were not asked for, then of all.

    Args:
        asked: which tokens are.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._order = torch.cat([asked.others, asked.computed]).argsort()
        self._others: tuple[Tensor, Tensor] | None = None

    def whole(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[1,K,L,.]` of the row, from those of the computed tokens.

        Raises:
            KeysTakenError: those that came were of the others; nothing more is needed of them.
        """
        if self._others is None:
            self._others = key, value
            raise KeysTakenError
        others = self._others
        pairs = zip(others, (key, value), strict=True)
        keys, values = (torch.cat(pair, dim=2).index_select(2, self._order) for pair in pairs)
        return keys, values


class KeysTakenError(Exception):
    """What ends a layer's first run."""


_asked: ContextVar[Asked | None] = ContextVar("accord_asked", default=None)
_running: ContextVar[LastAttention | None] = ContextVar("accord_last_layer", default=None)


def last_attention() -> LastAttention | None:
    """That of the last layer, if it is the one that runs."""
    return _running.get()


@contextmanager
def computing_only(asked: Asked, layer: nn.Module) -> Iterator[None]:
    """Have a model's last layer compute only some tokens of the row that is read in the block.

    Other threads, which may use the model for something else, see the layer as it was. It is not checkpointed: to
    recompute what the backward pass begins with would save nothing.
    """
    own: Callable[..., Any] = layer.forward
    kept = {name: value for name, value in vars(layer).items() if name == "forward"}
    token = _asked.set(asked)
    vars(layer)["forward"] = partial(_forward, layer, own)
    try:
        yield
    finally:
        vars(layer).pop("forward")
        vars(layer).update(kept)
        _asked.reset(token)


def _forward(layer: nn.Module, own: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """A last layer's own forward pass, over the computed tokens, with what it is given for the row."""
    asked = _asked.get()
    if asked is None:
        return own(*arguments, **named)
    rows = partial(_at, length=len(asked.computed) + len(asked.others))
    token, asking = (
        _running.set(LastAttention(asked)),
        _asked.set(None),
    )  # its own forward pass may be another's of these
    try:
        with _not_checkpointed(layer):
            with suppress(KeysTakenError):
                own(*rows(arguments, asked.others), **rows(named, asked.others))
            return own(*rows(arguments, asked.computed), **rows(named, asked.computed))
    finally:
        _running.reset(token)
        _asked.reset(asking)


@contextmanager
def _not_checkpointed(layer: nn.Module) -> Iterator[None]:
    """Without activation checkpointing of a layer for the length of the block."""
    kept = {name: value for name, value in vars(layer).items() if name == "gradient_checkpointing"}
    vars(layer).update(dict.fromkeys(kept, False))
    try:
        yield
    finally:
        vars(layer).update(kept)


def _at(given: Any, places: Tensor, *, length: int) -> Any:
    """What a layer is given, at some tokens of the row: of tensors `[1,L,...]` or `[L,...]`; all else as it is."""
    if isinstance(given, tuple | list):
        return type(given)(_at(part, places, length=length) for part in given)
    if isinstance(given, dict):
        return {name: _at(part, places, length=length) for name, part in given.items()}
    if isinstance(given, Tensor):
        for dimension in (1, 0):
            if given.dim() > dimension and given.shape[dimension] == length:
                return given.index_select(dimension, places)
    return given
