"""Extraction and the verifiers of short answers: worked cases, stated misses, and any text at all."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.rlvr import rlvr
from accord.feedback.verifiers.answers import choice, exact, numeric
from accord.feedback.verifiers.extract import as_number, boxed, fenced, last_number, marked, normalised, stated_number

ANSWER_WORDS = st.lists(
    st.sampled_from(
        ["\\boxed{", "}", "####", "answer is", "\\frac{1}", "{2}", "1,234", "-", "/", "e9", ".", "```", " "]
    ),
    max_size=40,
).map("".join)
ANY_TEXT = st.one_of(st.text(max_size=200), ANSWER_WORDS)
ANY_ANSWER = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT), lambda inner: st.lists(inner, max_size=3)
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 42.", 42),
        ("-1,234.5", -1234.5),
        ("x = −5", -5),
        ("5-3", 3),
        ("GPT-4", 4),
        (r"\frac{3}{4}", 0.75),
        (r"-\frac{3}{4}", -0.75),
        ("3 / 4", 0.75),
        ("6.02e23 of them", 6.02e23),
        ("$1,234", 1234),
        ("50%", 50),
        ("1{,}000", 1000),
        (".5", 0.5),
        ("none", None),
        ("1/0", None),
        ("1e999", None),
        # What it misses, as its docstring says.
        ("3,14", 14),
        ("1 000", 0),
        ("1 1/2", 0.5),
    ],
)
def test_last_number(text: str, number: float | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        ("work\n#### 42\nthe end", "42"),
        ("The answer is 7, or the final answer: 8", "8"),
        ("nothing", None),
    ],
)
def test_marked_answer(text: str, answer: str | None) -> None:
    assert marked(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5),
        ("$5.00", 5),
        (r"\$5", 5),
        (r"5\%", 5),
        (r"x = 5", 5),
        ("5 apples", 5),
        ("2 + 3 = 5.", 5),
        (r"5 \text{ cm}^2", None),
        (r"5\text{ cm}", 5),
        (r"90^\circ", 90),
        (r"90^{\circ}", 90),
        (r"\frac{1}{2}", 0.5),
        (r"2\sqrt{2}", None),
        ("sqrt(2)", None),
        ("10^3", None),
        (r"3\pi", None),
        ("x", None),
    ],
)
def test_stated_number(text: str, number: float | None) -> None:
    assert stated_number(text) == number


def test_a_part_of_an_expression_is_no_number() -> None:
    assert numeric(r"\boxed{3\sqrt{2}}", 2) == 0.0
    assert numeric(r"The answer is 3\sqrt{2}.", 2) == 0.0
    assert numeric("2", r"\sqrt{2}") is None
    assert numeric("The answer is below.\n2", 2) == 1.0


def test_a_fence_of_the_language_comes_first() -> None:
    text = "```python\nx = 1\n```\nand\n```\nother\n```\nand ```open"
    assert fenced(text, "python") == "x = 1\n"
    assert fenced(text, "json") == "other\n"
    assert fenced("no fence") is None


def test_exact() -> None:
    assert exact(" Paris. ", "paris") == 1.0
    assert exact("ＰＡＲＩＳ", "Paris") == 1.0  # compatibility characters
    assert exact("London", ["Paris", "london"]) == 1.0
    assert exact("It is Paris", "Paris") == 0.0
    assert exact("The answer is Paris.", "Paris", where="marked") == 1.0
    assert exact("no mark", "Paris", where="marked") == 0.0
    assert exact("It is Paris today", "Paris", where="anywhere") == 1.0
    assert exact("It is Parisian", "Paris", where="anywhere") == 0.0
    assert exact("42", 42) == 1.0
    assert exact("x", None) is None
    assert exact("x", []) is None


def test_numeric_tolerance() -> None:
    assert numeric("about 3.14", "3.14159") == 0.0
    assert numeric("about 3.14", "3.14159", tolerance=0.01) == 1.0
    assert numeric("100000001", "100000000") == 0.0
    assert numeric("0.333", "1/3") == 0.0
    assert numeric("0.333", "1/3", tolerance=1e-3) == 1.0
    assert numeric("no number", "1") == 0.0
    assert numeric("the answer is 5 of 7", 5, found="last") == 0.0
    assert numeric("5", 5, found="boxed") == 0.0
    assert numeric("5 + 2 ... #### 7", "some work 3 + 4 #### 7") == 1.0


@pytest.mark.parametrize("answer", [None, True, "many", "1 or 2", [], {}, math.nan, math.inf, 10**400])
def test_a_ground_truth_that_is_no_number_is_missing(answer: Any) -> None:
    assert numeric("1", answer) is None


def test_rlvr_golden() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    case = next(case for case in cases if case["method"] == "rlvr.reward")
    alpha = case["inputs"]["alpha"]
    rewards = [rlvr(numeric(text, answer), True, alpha=alpha) for text, answer in case["inputs"]["cases"]]
    assert rewards == case["expected"]["rewards_numeric_verifier"]


def test_rlvr_penalises_a_missing_end_and_keeps_missing() -> None:
    assert rlvr(1.0, False) == -10.0
    assert rlvr(0.0, False, missing_eos=-1.0) == -1.0
    assert rlvr(None, False) is None


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B. Paris", "B"),
        ("**B**", "B"),
        ("The answer is (B).", "B"),
        ("Answer: B", "B"),
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{B}}", "B"),
        ("First (A), no: (B)", "B"),
        ("The answer is (A). No, the answer is B", "B"),
        ("A cat sat", None),  # an article
        ("Bears do", None),
        ("b", None),
        ("", None),
    ],
)
def test_choice(response: str, letter: str | None) -> None:
    scores = {gold: choice(response, gold) for gold in "ABCDE"}
    assert scores == {gold: float(gold == letter) for gold in "ABCDE"}


def test_choice_reads_its_ground_truth() -> None:
    assert choice("C", 2) == 1.0
    assert choice("C", "(c)") == 1.0
    assert choice("E", "E", letters="ABCD") is None
    assert [choice("C", answer) for answer in (None, "Paris", 9, True)] == [None] * 4


def test_what_stands_alone_in_a_prose_answer_is_not_guessed() -> None:
    assert choice("A good one is B", "B") == 0.0


@given(ANY_TEXT)
def test_extractors_take_any_text(text: str) -> None:
    for function in (boxed, marked, normalised, fenced):
        found = function(text)
        assert found is None or isinstance(found, str)
    for number in (last_number(text), as_number(text), stated_number(text)):
        assert number is None or math.isfinite(number)


@given(ANY_TEXT, ANY_ANSWER)
def test_verifiers_take_any_text_and_answer(response: str, answer: Any) -> None:
    scores = [
        exact(response, answer),
        exact(response, answer, where="marked"),
        exact(response, answer, where="anywhere"),
        numeric(response, answer),
        numeric(response, answer, found="boxed"),
        choice(response, answer),
    ]
    assert set(scores) <= {None, 0.0, 1.0}


@given(st.integers(-(10**11), 10**11))
def test_a_number_is_found_again(number: int) -> None:
    assert numeric(f"Some 3 thoughts. The answer is {number:,}.", number) == 1.0
    assert numeric(f"\\boxed{{{number}}}", str(number)) == 1.0
    assert numeric(f"It is {number + 1}", number) == 0.0


@pytest.mark.parametrize(
    "hostile",
    ["\\boxed{", "1", "1,", "1/", "-", "#", "answer is ", "\\frac{1}{", "(", "answer ", "1e", ",111", "```", "A "],
)
def test_hostile_length_costs_little_time(hostile: str) -> None:
    text = hostile * (1_000_000 // len(hostile))
    begun = time.process_time()
    for function in (boxed, marked, last_number, normalised, fenced):
        function(text)
    choice(text, "B")
    exact(text, "((", where="anywhere")
    assert time.process_time() - begun < 3.0
