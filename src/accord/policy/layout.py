"""Sequences in one row in which every beginning that some of them have in common stands once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import Tensor

Reading = Literal["attention", "cache"]
"""How a model reads a shared row."""

Attention = Literal["parts", "blocks"]
"""How the attention of a row that is read at once is computed: in several calls, or in one under a block mask."""


class Segment(NamedTuple):
    """A run of tokens `[begin, end)` that no sequence leaves halfway; what continues it fills `[end, close)`.

    A group is a tree of depth one: its prompt is a segment that its responses continue.
    """

    begin: int
    end: int
    close: int


@dataclass(frozen=True)
class Layout:
    """How a shared row is to be read: a token sees what comes before it in its own sequence.

    Attributes:
        segments: in the order of the row, which they fill; a segment stands before all that continue it.
        position_ids: `[1,L]` each token's position in its own sequence.
        longest: tokens of the longest sequence.
        by: read at once, by an attention made for it, or segment by segment, by a key-value cache.
        attention: the way of the attention made for it.
        asked_only: the last layer computes only what is asked for.
    """

    segments: tuple[Segment, ...]
    position_ids: Tensor
    longest: int
    by: Reading
    attention: Attention = "parts"
    asked_only: bool = False

    def with_ancestors(self) -> Iterator[tuple[Segment, tuple[Segment, ...]]]:
        """Every segment with those it continues, first to last."""
        path: list[Segment] = []
        for segment in self.segments:
            while path and path[-1].close <= segment.begin:
                path.pop()
            yield segment, tuple(path)
            path.append(segment)


class SharedRow(NamedTuple):
    """A row, its segments, each token's position in its sequence, and each sequence's positions in the row."""

    ids: list[int]
    depths: list[int]
    segments: tuple[Segment, ...]
    paths: list[list[int]]


def lay_out(sequences: Sequence[tuple[int, ...]]) -> SharedRow:
    """Sequences as one row: a tree of their common beginnings, in the order of their tokens."""
    ids: list[int] = []
    depths: list[int] = []
    closed: list[Segment] = []
    open_: list[_Open] = []
    paths: list[list[int]] = [[] for _ in sequences]
    path: list[int] = []
    before: tuple[int, ...] = ()
    for index in sorted(range(len(sequences)), key=sequences.__getitem__):
        sequence = sequences[index]
        common = _common(before, sequence)
        _close(open_, closed, common, len(ids))
        if common < len(sequence):
            open_.append(_Open(common, len(ids), len(ids) + len(sequence) - common))
            path = path[:common] + list(range(len(ids), len(ids) + len(sequence) - common))
            ids += sequence[common:]
            depths += range(common, len(sequence))
        paths[index], before = path, sequence
    _close(open_, closed, 0, len(ids))
    return SharedRow(ids, depths, tuple(sorted(closed)), paths)


@dataclass(frozen=True)
class _Open:
    """A segment that may yet be continued or cut: how deep in its sequence it begins, and its place in the row."""

    depth: int
    begin: int
    end: int


def _close(open_: list[_Open], closed: list[Segment], common: int, length: int) -> None:
    """Close what lies deeper than `common` tokens in the sequence; a segment that reaches across is cut there."""
    while open_ and open_[-1].depth >= common:
        last = open_.pop()
        closed.append(Segment(last.begin, last.end, length))
    if open_:
        last = open_[-1]
        cut = last.begin + common - last.depth
        if cut < last.end:
            closed.append(Segment(cut, last.end, length))
            open_[-1] = replace(last, end=cut)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the longest common beginning."""
    shortest = min(len(one), len(other))
    return bisect_left(range(shortest), True, key=lambda index: one[: index + 1] != other[: index + 1])
