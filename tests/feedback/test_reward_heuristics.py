"""Heuristics against the worked numbers, and where they are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.heuristics import (
    alignment_reward,
    excess_length_penalty,
    length_penalty,
    repetition,
    simple_alignment_reward,
    soft_overlong,
    unfinished,
)
from accord.record import Response

CASES = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def of_tokens(count: int) -> Response:
    return Response("", tokens=tuple(range(count)))


def test_simple_alignment_golden() -> None:
    case = CASES["seed004.simple_alignment_reward"]
    prompt, responses = case["inputs"]["prompt"], case["inputs"]["responses"]
    assert [simple_alignment_reward(prompt, text) for text in responses] == case["expected"]["rewards"]


def test_the_literal_reward_takes_parts_of_words_and_the_repaired_one_does_not() -> None:
    prompt = "Why is the sky blue?"
    assert simple_alignment_reward(prompt, "A skill, blue.") == -2.0
    assert alignment_reward(prompt, "A skill, blue.") == 0.5
    assert alignment_reward(prompt, "Do not kill!") == -2.0
    assert alignment_reward(prompt, " ".join(["word"] * 20)) == simple_alignment_reward(prompt, "word " * 20) == 1.0


def test_length_penalty_golden() -> None:
    case = CASES["reward.length_penalty"]
    given_, expected = case["inputs"], case["expected"]
    response, alpha = Response("word " * given_["length"]), given_["alpha"]
    linear = length_penalty(response, alpha=alpha)
    excess = excess_length_penalty(response, target=given_["target"], alpha=alpha)
    assert linear is not None
    assert excess is not None
    assert given_["reward"] + linear == pytest.approx(expected["linear"], abs=1e-12)
    assert given_["reward"] + excess == pytest.approx(expected["excess_only"], abs=1e-12)


def test_soft_overlong_golden() -> None:
    case = CASES["dapo.soft_overlong"]
    limits: dict[str, Any] = {"max_length": case["inputs"]["max_len"], "cache": case["inputs"]["cache"]}
    penalties = [soft_overlong(of_tokens(length), **limits) for length in case["inputs"]["lengths"]]
    assert penalties == pytest.approx(case["expected"]["penalties"])


def test_lengths_in_tokens_are_known_of_sampled_responses_only() -> None:
    assert soft_overlong(Response("text"), max_length=10, cache=5) is None
    assert length_penalty(Response("text"), unit="tokens") is None
    assert length_penalty(of_tokens(4), unit="tokens", alpha=0.5) == -2.0
    assert length_penalty(Response("four"), unit="characters", alpha=0.5) == -2.0


def test_repetition() -> None:
    assert repetition("a b c d") == 0.0
    assert repetition("a b") == 0.0
    assert repetition("a a a a a") == pytest.approx(-2 / 3)
    assert repetition("a a a", n=1) == pytest.approx(-2 / 3)


@given(st.text(), st.text())
def test_any_text_has_a_score(prompt: str, response: str) -> None:
    assert -1.0 <= repetition(response) <= 0.0
    assert -2.0 <= simple_alignment_reward(prompt, response) <= 1.5
    assert -2.0 <= alignment_reward(prompt, response) <= 1.5


def test_unfinished() -> None:
    assert (unfinished(Response("x", finished=False)), unfinished(Response("x"))) == (1.0, 0.0)
