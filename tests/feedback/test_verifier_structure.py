"""Verifiers that work in a child process: patterns, schemas, mathematics. None of them hangs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.feedback.verifiers.equivalence import Equivalence
from accord.feedback.verifiers.structure import JsonSchema, Pattern
from accord.feedback.worker import TimedOut, Worker
from accord.record import Group, Response


def scores(reward: FunctionReward, answer: Any, *responses: str) -> tuple[float | None, ...]:
    return reward([Group("p", tuple(map(Response, responses)), answer=answer)])[0]


def test_a_pattern_matches_or_not() -> None:
    assert scores(Pattern(pattern=r"^\d+$"), None, "12", "a12", "12\n") == (1.0, 0.0, 1.0)
    assert scores(Pattern(pattern=r"\d+", where="whole"), None, " 12 ", "a12") == (1.0, 0.0)
    assert scores(Pattern(), "b+", "abb", "a") == (1.0, 0.0)
    assert scores(Pattern(), "(", "(") == (None,)
    assert scores(Pattern(), None, "x") == (None,)


def test_a_pattern_that_backtracks_forever_is_no_match() -> None:
    begun = time.monotonic()
    found = scores(Pattern(pattern="^(a+)+$", timeout=0.3), None, "a" * 60 + "b", "aaa")
    assert found == (0.0, 1.0)
    assert time.monotonic() - begun < 20


def test_a_wrong_pattern_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        Pattern(pattern="(")


def test_json_satisfies_a_schema() -> None:
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    responses = ['{"name": "x"}', '```json\n{"name": "x"}\n```', '{"name": 1}', "{}", "text", "NaN", "[" * 90_000]
    assert scores(JsonSchema(), schema, *responses) == (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert scores(JsonSchema(), json.dumps(schema), "{}") == (0.0,)
    assert scores(JsonSchema(), {"type": "nonsense"}, "{}") == (None,)
    assert scores(JsonSchema(), None, "{}") == (None,)


def test_a_reference_to_another_document_is_not_fetched() -> None:
    assert scores(JsonSchema(), {"$ref": "http://localhost:1/schema"}, "{}") == (None,)


def test_one_schema_for_all(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"type": "array", "maxItems": 1}')
    assert scores(JsonSchema(schema=str(path)), None, "[1]", "[1, 2]") == (1.0, 0.0)
    path.write_text("not JSON")
    with pytest.raises(ConfigError, match="no JSON schema"):
        JsonSchema(schema=str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        JsonSchema(schema=str(tmp_path / "absent"))


@pytest.fixture(scope="module")
def equivalence() -> Equivalence:
    return Equivalence(timeout=10.0)


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        (r"\frac{1}{2}", "so it is $0.5$", r"\boxed{\frac{1}{3}}"),
        ("x^2 + 2x + 1", "$(x+1)^2$", "$(x+2)^2$"),
        (r"\sqrt{8}", r"\boxed{2\sqrt{2}}", r"\boxed{2}"),
        (r"\{1, 2\}", r"\boxed{\{2, 1\}}", r"\boxed{\{1\}}"),
        (3, "the answer is 3", "no idea"),
    ],
)
def test_equivalent_mathematics(equivalence: Equivalence, answer: Any, right: str, wrong: str) -> None:
    assert scores(equivalence, answer, right, wrong, "") == (1.0, 0.0, 0.0)


def test_mathematics_without_a_ground_truth_is_missing(equivalence: Equivalence) -> None:
    assert scores(equivalence, None, "1") == scores(equivalence, "", "1") == scores(equivalence, True, "1") == (None,)


def test_hostile_mathematics_does_not_hang() -> None:
    begun = time.monotonic()
    hostile = (r"\boxed{9^{9^{9^{9^{9}}}}}", "$" + "(" * 5000 + "$", r"$1000000000!!$", "3")
    assert scores(Equivalence(timeout=1.5), "3", *hostile) == (0.0, 0.0, 0.0, 1.0)
    assert time.monotonic() - begun < 60


def test_a_worker_is_replaced_after_it_failed() -> None:
    worker = Worker("accord.feedback.verifiers.structure:matches", warm=["", "whole", ""])
    with pytest.raises(TimedOut):
        worker.ask(["^(a+)+$", "anywhere", "a" * 60 + "b"], timeout=0.3)
    with pytest.raises(TimedOut):
        worker.ask(["(", "anywhere", ""], timeout=5)  # raises in the child, which ends it
    assert worker.ask(["a", "anywhere", "a"], timeout=5) is True
    worker.close()


def test_a_worker_that_cannot_import_its_function_says_so() -> None:
    with pytest.raises(ImportError, match="nowhere"):
        Worker("accord.nowhere:nothing", warm=0).ask([], timeout=5)
