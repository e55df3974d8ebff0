"""Sequences in one row: every beginning once, and each token in sight of what comes before it in its sequence."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.policy.layout import Layout, Segment, lay_out

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), max_size=9)


def test_a_group_is_a_prompt_that_its_responses_continue() -> None:
    row = lay_out([(1, 2, 3), (1, 2, 4, 5), (1, 2)])
    assert row.ids == [1, 2, 3, 4, 5]
    assert row.depths == [0, 1, 2, 2, 3]
    assert row.segments == (Segment(0, 2, 5), Segment(2, 3, 3), Segment(3, 5, 5))
    assert row.paths == [[0, 1, 2], [0, 1, 3, 4], [0, 1]]


def test_no_sequences_are_an_empty_row() -> None:
    assert lay_out([]) == ([], [], (), [])


@given(SEQUENCES)
def test_every_beginning_stands_once(sequences: list[tuple[int, ...]]) -> None:
    row = lay_out(sequences)
    assert len(row.ids) == len({sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)})
    for sequence, path in zip(sequences, row.paths, strict=True):
        assert tuple(row.ids[place] for place in path) == sequence
        assert [row.depths[place] for place in path] == list(range(len(sequence)))


@given(SEQUENCES)
def test_segments_say_what_a_token_sees(sequences: list[tuple[int, ...]]) -> None:
    row = lay_out(sequences)
    assert [begin for begin, _, _ in row.segments] == [0, *(end for _, end, _ in row.segments)][: len(row.segments)]
    layout = Layout(row.segments, torch.tensor([row.depths]), 1 + max(row.depths, default=-1), "attention")
    seen = {}
    for segment, ancestors in layout.with_ancestors():
        before = [place for one in ancestors for place in range(one.begin, one.end)]
        for place in range(segment.begin, segment.end):
            seen[place] = before + list(range(segment.begin, place + 1))
        assert all(one.end <= segment.begin and segment.close <= one.close for one in ancestors)
    for path in row.paths:
        for depth, place in enumerate(path):
            assert seen[place] == path[: depth + 1]
