"""Unit tests of a program that a response contains, run in the sandbox."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.feedback.sandbox import Call, Code, Expression, Run, Sandbox, Test
from accord.feedback.verifiers.extract import LONGEST, fenced
from accord.feedback.verifiers.structure import Seconds

Count = Annotated[int, msgspec.Meta(ge=1)]
Grade = Literal["all", "share"]


class UnitTests(FunctionReward):
    """Whether the Python program in the response passes the tests of its prompt's ground truth, in a sandbox.

    The program is the last closed fence of the response, one of Python before others, else the whole response. The
    tests are asserts (text, or a list of them), or {"inputs": [...], "outputs": [...]}: what the program reads and must
    print, or with "fn_name" the arguments and the value of that function. Misses: values that are equal but not plain,
    such as a Decimal.

    Args:
        timeout: seconds for a program with all its tests.
        memory_mb: address space of a program, in MiB.
        grade: 1 if all tests pass and else 0, or the share that passes.
        workers: programs run at a time.

    Raises:
        ConfigError: the sandbox cannot start on this machine.
    """

    def __init__(
        self,
        *,
        timeout: Seconds = 10.0,
        memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 1024,
        grade: Grade = "all",
        workers: Count = 4,
    ) -> None:
        sandbox = Sandbox(timeout=timeout, memory=memory_mb << 20)
        _tried(sandbox)

        def unit_tests(responses: list[str], answers: list[Any]) -> list[float | None]:
            with ThreadPoolExecutor(workers) as threads:
                return list(threads.map(lambda r, a: _grade(sandbox, r, read_tests(a), grade), responses, answers))

        super().__init__(unit_tests)


def read_tests(answer: Any) -> list[Test] | None:
    """The tests of a ground truth, or `None` if it cannot be read as such."""
    if isinstance(answer, str) and answer.lstrip()[:1] in ("{", "["):
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            return None
    if isinstance(answer, Mapping):
        return _pairs(answer)
    sources = [answer] if isinstance(answer, str) else answer
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        return None
    try:
        return [test for source in sources for test in _asserts(source)] or None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _pairs(answer: Mapping[str, Any]) -> list[Test] | None:
    inputs, outputs, name = answer.get("inputs"), answer.get("outputs"), answer.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        return None
    if name is not None:
        if not all(isinstance(arguments, list) for arguments in inputs):
            return None
        return [Call(str(name), arguments, value) for arguments, value in zip(inputs, outputs, strict=True)]
    return [Run(_lines(given), _lines(printed)) for given, printed in zip(inputs, outputs, strict=True)]


def _lines(text: Any) -> str:
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _asserts(source: str) -> list[Test]:
    """One test for each statement when all are asserts, else one for the whole."""
    statements = ast.parse(source).body
    if not statements or not all(isinstance(statement, ast.Assert) for statement in statements):
        return [Code(source)] if statements else []
    return [_assert(statement) for statement in statements if isinstance(statement, ast.Assert)]


def _assert(statement: ast.Assert) -> Test:
    """`assert expression == value` as an `Expression`, whose value stays outside of the sandbox; else as `Code`."""
    match statement.test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            for expression, value in ((left, right), (right, left)):
                try:
                    return Expression.of(ast.unparse(expression), ast.literal_eval(value))
                except (ValueError, TypeError):
                    continue  # not a plain value
    return Code(ast.unparse(statement))


def _grade(sandbox: Sandbox, response: str, tests: list[Test] | None, grade: Grade) -> float | None:
    if tests is None:
        return None
    program = fenced(response, "python", "py", "python3") or response[-LONGEST:]
    passed = sandbox.run(program, tests).passed
    return float(all(passed)) if grade == "all" else sum(passed) / len(passed)


def _tried(sandbox: Sandbox) -> None:
    """Refuse a sandbox that cannot run a right program, and say which protections the machine lacks."""
    outcome = sandbox.run("def one():\n    return 1", [Expression.of("one()", 1), Code("assert one() == 1")])
    where = "reward unit_tests"
    if not all(outcome.passed):
        mend = "Give it more memory_mb or timeout."
        raise ConfigError(f"a right program does not pass in the sandbox ({outcome.reason})", where=where, mend=mend)
    if "python" in outcome.in_force:
        lacks = [name for name in ("landlock", "seccomp") if name not in outcome.in_force]
        warnings.warn(
            f"{where}: this machine lacks {' and '.join(lacks)}; programs are held back by Python alone, which a"
            " determined one can get around. Run untrusted programs in a container or a virtual machine.",
            stacklevel=3,
        )
