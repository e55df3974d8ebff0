"""Drawing by inverse cumulative distribution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.policy.draw import draw, greedy, most_likely, nucleus


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31), vocabulary=st.sampled_from([2, 7, 1023, 1024, 1025, 3000]), spread=st.floats(0.1, 30)
)
def test_a_grid_of_uniforms_reproduces_the_distribution(seed: int, vocabulary: int, spread: float) -> None:
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    points = 500
    uniforms = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    tokens, logprobs = draw(logits.expand(points, -1), uniforms)
    counts = torch.bincount(tokens, minlength=vocabulary)
    expected = logits[0].double().softmax(0)
    assert (counts / points - expected).abs().max() < 2 / points
    torch.testing.assert_close(logprobs, logits[0].log_softmax(0)[tokens], atol=1e-5, rtol=1e-5)


@given(
    allowed=st.sets(st.integers(0, 2999), min_size=1, max_size=5),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2**-53, 0.5])),
)
def test_excluded_tokens_are_never_drawn(allowed: set[int], uniform: float) -> None:
    logits = torch.full((1, 3000), float("-inf"))
    logits[0, list(allowed)] = torch.linspace(0, 40, len(allowed))
    tokens, logprobs = draw(logits, torch.tensor([uniform], dtype=torch.float64))
    assert int(tokens) in allowed
    assert torch.isfinite(logprobs).all()


def test_rows_are_drawn_with_their_own_uniform() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]]))
    tokens, _ = draw(logits, torch.tensor([0.3, 0.3], dtype=torch.float64))
    assert tokens.tolist() == [1, 0]


def test_not_a_number_gives_not_a_number() -> None:
    logits = torch.zeros(3, 2000)
    logits[0, 5], logits[1, 1999] = float("nan"), float("inf")
    _, logprobs = draw(logits, torch.full((3,), 0.999, dtype=torch.float64))
    assert torch.isfinite(logprobs).tolist() == [False, False, True]


def test_nucleus_keeps_the_smallest_set_that_reaches_the_mass() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]))
    assert torch.isfinite(nucleus(logits, 0.6)).tolist() == [[False, True, False, True], [True, False, False, False]]
    assert torch.isfinite(nucleus(logits, 0.4)).sum(1).tolist() == [1, 1]


def test_the_most_likely_tokens_are_kept_with_their_equals() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 4.0, 5.0, 1.0]])
    assert torch.isfinite(most_likely(logits, 2)).tolist() == [[True, False, True, True], [False, True, True, False]]
    assert torch.equal(most_likely(logits, 9), logits)


def test_greedy_takes_the_most_likely() -> None:
    tokens, logprobs = greedy(torch.log(torch.tensor([[0.2, 0.7, 0.1]])))
    assert tokens.tolist() == [1]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.7]))
