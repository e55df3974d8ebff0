"""Unit tests as a reward: how tests are read, what passes, what is missing."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import pytest

from accord.errors import ConfigError
from accord.feedback.sandbox import Call, Code, Expression, Run, Sandbox
from accord.feedback.verifiers import code
from accord.feedback.verifiers.code import UnitTests, read_tests
from accord.record import Group, Response

RIGHT = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."
WRONG = "```python\ndef add(a, b):\n    return 0\n```"


def scores(reward: UnitTests, answer: Any, *responses: str) -> tuple[float | None, ...]:
    return reward([Group("p", tuple(map(Response, responses)), answer=answer)])[0]


@pytest.fixture(scope="module")
def all_tests() -> UnitTests:
    return UnitTests(timeout=5.0)


def test_asserts_keep_what_is_expected_outside() -> None:
    assert read_tests("assert add(1, 2) == 3\nassert 4 == add(2, 2), 'message'") == [
        Expression.of("add(1, 2)", 3),
        Expression.of("add(2, 2)", 4),
    ]
    assert read_tests(["assert add(1, 2) > 0"]) == [Code("assert add(1, 2) > 0")]
    assert read_tests("x = add(1, 2)\nassert x == 3") == [Code("x = add(1, 2)\nassert x == 3")]


def test_pairs_are_runs_or_calls() -> None:
    assert read_tests({"inputs": ["1\n2"], "outputs": ["3"]}) == [Run("1\n2", "3")]
    answer = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}
    assert read_tests(answer) == read_tests(json.dumps(answer)) == [Call("add", [1, 2], 3)]


@pytest.mark.parametrize("answer", [None, 3, "", "assert (", [], [1], {}, {"inputs": [1], "outputs": []}, "{not JSON"])
def test_tests_that_cannot_be_read_are_missing(answer: Any, all_tests: UnitTests) -> None:
    assert scores(all_tests, answer, RIGHT) == (None,)


@pytest.mark.parametrize(
    "answer",
    [
        "assert add(1, 2) == 3",
        ["assert add(1, 2) == 3", "assert add(-1, 1) + 1 > 0 and add(2, 2) == 4"],
        "def check(candidate):\n    assert candidate(2, 2) == 4\ncheck(add)",
        {"fn_name": "add", "inputs": [[1, 2], [0, 1]], "outputs": [3, 1]},
    ],
)
def test_right_passes_wrong_fails(answer: Any, all_tests: UnitTests) -> None:
    assert scores(all_tests, answer, RIGHT, WRONG, "no code at all", "") == (1.0, 0.0, 0.0, 0.0)


def test_a_share_is_graded() -> None:
    answer = ["assert add(0, 0) == 0", "assert add(1, 2) == 3"]
    assert scores(UnitTests(grade="share"), answer, RIGHT, WRONG) == (1.0, 0.5)


def test_a_sandbox_that_cannot_run_anything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match=r"does not pass in the sandbox \(ended before its tests did\)"):
        UnitTests()


def test_a_machine_without_kernel_protection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "Sandbox", partial(Sandbox, layers=()))
    with pytest.warns(UserWarning, match="lacks landlock and seccomp"):
        UnitTests(timeout=5.0)
