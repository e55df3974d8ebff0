"""The sandbox's child: confine this process, run a program and its tests, report the results with the nonce.

Started as `python -I -B harness.py FD`. It reads the request from standard input and writes two lines of JSON to FD:
which layers confine it, written before the program runs, and the results with the nonce, written after.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

OUTPUT, INPUT = ".stdout", ".stdin"


def main(results: int) -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.buffer.read())
    sys.stdin.close()
    _redirect(os.devnull, os.O_RDWR, 0, 1, 2)
    in_force = _confine(request["limits"])
    _report(results, {"in_force": in_force})
    outcomes = run(request["program"], request["tests"])
    _report(results, {"nonce": request["nonce"], "outcomes": outcomes})


def run(program: str, tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outcome of each test: `passed` of code, `value` of an expression or call, `output` of a run, or `error`."""
    if any("stdin" in test for test in tests):
        return [_of(_run_with_input, program, test["stdin"]) for test in tests]
    namespace = _namespace()
    defined = _of(_execute, program, namespace)
    if "error" in defined:
        return [defined for _ in tests]
    return [_of(_test, test, namespace) for test in tests]


def canonical(value: Any, tuples: str = "()") -> str:
    """A plain value as text, the same for values that are equal: 1, 1.0 and True; dictionaries and sets in any order.

    Args:
        value: of numbers, text, bytes, `None`, lists, tuples, sets and dictionaries.
        tuples: the brackets of tuples; those of lists make the two equal.

    Raises:
        TypeError: another type is in it.
        RecursionError: it is too deep.
    """
    if value is None or isinstance(value, str | bytes):
        return repr(value) if value is None else (str if isinstance(value, str) else bytes).__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if not float.is_integer(value) else int.__repr__(int(value))
    if hasattr(value, "__index__"):
        return int.__repr__(int(value))
    if isinstance(value, list | tuple):
        brackets = "[]" if isinstance(value, list) else tuples
        return brackets[0] + ",".join(canonical(one, tuples) for one in value) + brackets[1]
    if isinstance(value, dict):
        pairs = sorted(f"{canonical(key, tuples)}:{canonical(one, tuples)}" for key, one in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, set | frozenset):
        return "set(" + ",".join(sorted(canonical(one, tuples) for one in value)) + ")"
    raise TypeError(f"{type(value).__name__} is not a plain value")


def _of(action: Any, *arguments: Any) -> dict[str, Any]:
    """What the action returns, or its error: the program may raise anything, `SystemExit` included."""
    try:
        outcome: dict[str, Any] = action(*arguments)
    except BaseException as error:
        return {"error": type(error).__name__}
    return outcome


def _execute(source: str, namespace: dict[str, Any]) -> dict[str, Any]:
    exec(compile(source, "<program>", "exec"), namespace)  # noqa: S102 - what the sandbox is for
    return {"passed": True}


def _test(test: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    if "code" in test:
        return _execute(test["code"], namespace)
    if "call" in test:
        function = namespace[test["call"]] if test["call"] in namespace else _method(namespace, test["call"])
        return {"value": canonical(function(*test["arguments"]), "[]")}
    return {"value": canonical(eval(compile(test["expression"], "<test>", "eval"), namespace))}  # noqa: S307 - as above


def _method(namespace: dict[str, Any], name: str) -> Any:
    """The method of that name of a class `Solution`, the other form in which such tasks are answered."""
    return getattr(namespace["Solution"](), name)


def _run_with_input(program: str, given: str) -> dict[str, Any]:
    with open(INPUT, "w", encoding="utf-8") as file:
        file.write(given)
    _redirect(INPUT, os.O_RDONLY, 0)
    _redirect(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 1)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    try:
        _execute(program, _namespace())
    except SystemExit:
        pass  # a program may end itself; what it printed counts
    finally:
        sys.stdout.flush()
    with open(OUTPUT, encoding="utf-8", errors="replace") as file:
        return {"output": file.read()}


def _namespace() -> dict[str, Any]:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    return module.__dict__


def _redirect(path: str, flags: int, *descriptors: int) -> None:
    opened = os.open(path, flags, 0o600)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    if opened not in descriptors:
        os.close(opened)


def _report(results: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(results, line) :]


def _confine(limits: dict[str, Any]) -> list[str]:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import confinement  # type: ignore[import-not-found]  # beside this file, which is no package to this interpreter

    sys.path.remove(here)
    in_force: list[str] = confinement.confine(**limits)
    return in_force


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # whatever threads and exit handlers the program has left
