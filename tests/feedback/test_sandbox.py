"""The sandbox: right programs pass, hostile ones neither pass nor harm, with the kernel's help and without it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.sandbox import Call, Code, Expression, Run, Sandbox
from accord.feedback.sandboxed.confinement import KERNEL
from accord.feedback.sandboxed.harness import canonical

SQUARE = "def square(x):\n    return x * x\n"
ASSERTED = [Code("assert square(3) == 9")]
COMPARED = [Expression.of("square(3)", 9)]
FORGED = "import os, sys\nos.write(int(sys.argv[1]), b'{report}\\n')\nos._exit(0)"
LAYERS = [KERNEL, ("landlock", "namespace"), ()]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(timeout=5.0)


def refuses(action: str, module: str = "os") -> str:
    """A program that passes exactly when the action is refused to it."""
    lines = action.replace("\n", "\n    ")
    return f"import {module}\ntry:\n    {lines}\nexcept OSError:\n    pass\nelse:\n    raise SystemExit\n{SQUARE}"


def test_right_and_wrong_programs(sandbox: Sandbox) -> None:
    assert sandbox.run(SQUARE, [*ASSERTED, *COMPARED, Call("square", [3], 9)]).passed == (True, True, True)
    wrong = sandbox.run("def square(x):\n    return x", [*ASSERTED, *COMPARED, Expression.of("square(1)", 1)])
    assert wrong.passed == (False, False, True)
    assert sandbox.run("def square(x:", ASSERTED).passed == (False,)
    assert sandbox.run("", ASSERTED).passed == (False,)


def test_runs_read_input_and_print(sandbox: Sandbox) -> None:
    tests = [Run("3", "9"), Run("4\n", "16 \n\n"), Run("5", "24")]
    assert sandbox.run("print(int(input()) ** 2)", tests).passed == (True, True, False)
    assert sandbox.run("import sys\nprint(sys.stdin.read())\nsys.exit(0)", [Run("a\nb", "a\nb")]).passed == (True,)


def test_a_call_may_answer_with_tuples_or_as_a_method(sandbox: Sandbox) -> None:
    program = "class Solution:\n    def pair(self, x):\n        return (x, [x + 1.0])"
    assert sandbox.run(program, [Call("pair", [1], [1, [2]])]).passed == (True,)


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "raise KeyboardInterrupt",
        "import os\ndef square(x):\n    os._exit(0)",
        "class Yes:\n    def __eq__(self, other): return True\ndef square(x):\n    return Yes()",
        FORGED.format(report='{"nonce": 0, "outcomes": [{"passed": true}]}'),
        FORGED.format(report='{"outcomes": [{"value": "9"}]}'),
        "import ctypes\nctypes.string_at(0)",
        "def square(x):\n    return square(x)",
    ],
)
def test_leaving_and_forging_pass_nothing(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run(program, COMPARED).passed == (False,)
    if "__eq__" not in program:  # what is equal to everything satisfies an assert: the reason for `Expression`
        assert sandbox.run(program, ASSERTED).passed == (False,)


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("import time\ntime.sleep(60)", "late"),
        ("while True: pass", "late"),
        ("while True:\n  try:\n    while True: pass\n  except BaseException: pass", "late"),
        ("while True: print('x' * 10000)", "late"),
        ("import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 1000)", "large"),
    ],
)
def test_what_does_not_end_is_ended(program: str, ended: str) -> None:
    begun = time.monotonic()
    outcome = Sandbox(timeout=0.7).run(program, ASSERTED)
    assert (outcome.passed, outcome.ended) == ((False,), ended)
    assert outcome.reason
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "program", ["x = []\nwhile True: x.append(bytearray(10**7))", "x = bytearray(10**12)", "x = 9 ** 9 ** 9"]
)
def test_memory_and_time_are_limited(program: str) -> None:
    assert Sandbox(timeout=2.0, memory=256 << 20).run(program, ASSERTED).passed == (False,)


def test_a_fork_bomb_does_not_go_off(sandbox: Sandbox) -> None:
    program = "import os\nwhile True:\n    os.fork()"
    assert sandbox.run(program, ASSERTED).passed == (False,)
    assert sandbox.run(refuses("os.fork()"), ASSERTED).passed == (True,)


def test_threads_are_there_but_not_without_end(sandbox: Sandbox) -> None:
    threads = "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\n"
    outcome = sandbox.run(threads + SQUARE, ASSERTED)
    assert outcome.passed == ("seccomp" in outcome.in_force,)
    bomb = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"
    assert sandbox.run(bomb, ASSERTED).passed == (False,)


@pytest.mark.parametrize("layers", LAYERS)
def test_files_network_and_processes_are_refused(layers: tuple[str, ...]) -> None:
    program = """
import os, socket, subprocess

def refused(action):
    try:
        action()
    except OSError:
        return "refused"
"""
    actions = [
        "open('/etc/passwd').read()",
        "open('/proc/self/environ').read()",
        "open(f'/proc/{os.getppid()}/cmdline').read()",
        "open('/tmp/accord-was-here', 'w')",
        "os.listdir('/')",
        "os.remove('/etc/hostname')",
        "os.chmod('.', 0)",
        "os.kill(os.getppid(), 0)",
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socket()",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.fork()",
    ]
    tests = [Expression.of(f"refused(lambda: {action})", "refused") for action in actions]
    outcome = Sandbox(timeout=5.0, layers=layers).run(program, tests)
    assert dict(zip(actions, outcome.passed, strict=True)) == dict.fromkeys(actions, True)
    assert ("python" in outcome.in_force) == ({"landlock", "seccomp"} - set(outcome.in_force) != set())


def test_the_rest_of_a_project_cannot_be_read(sandbox: Sandbox) -> None:
    here = str(Path(__file__).resolve())
    assert sandbox.run(refuses(f"open({here!r}).read()"), ASSERTED).passed == (True,)


def test_it_writes_in_its_own_directory_which_goes(sandbox: Sandbox, tmp_path: Path) -> None:
    program = f"import os, tempfile\nassert os.getcwd() == tempfile.gettempdir()\nopen('a', 'w').write('x')\n{SQUARE}"
    before = set(os.listdir(tmp_path.parent))
    assert sandbox.run(program, ASSERTED).passed == (True,)
    assert set(os.listdir(tmp_path.parent)) == before
    big = "open('big', 'wb').write(bytes(10**8))\n" + SQUARE
    assert sandbox.run(big, ASSERTED).passed == (False,)


def test_nothing_of_the_environment_is_inherited(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "value")
    program = f"import os\nassert 'SECRET' not in os.environ and 'PATH' not in os.environ\n{SQUARE}"
    assert sandbox.run(program, ASSERTED).passed == (True,)


def test_the_standard_library_works(sandbox: Sandbox) -> None:
    program = (
        "import collections, dataclasses, datetime, decimal, heapq, hashlib, random, re, zoneinfo\nrandom.random()\n"
    )
    assert sandbox.run(program + SQUARE, COMPARED).passed == (True,)


@given(PLAIN)
def test_equal_plain_values_have_one_form(value: object) -> None:
    assert canonical(value) == canonical(eval(repr(value)))


def test_canonical_follows_equality() -> None:
    assert canonical(1) == canonical(1.0) == canonical(True)
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({1, 2}) == canonical(frozenset([2, 1]))
    assert canonical((1,)) != canonical([1])
    assert canonical((1,), "[]") == canonical([1], "[]")
    assert canonical("1") != canonical(1)
    with pytest.raises(TypeError, match="object is not a plain value"):
        canonical(object())
