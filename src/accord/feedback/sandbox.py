"""Run a program and its tests in a child process that can do no harm, and believe only what it cannot forge.

What holds the child is in `sandboxed.confinement`; `Outcome.in_force` says which of it this machine has. Beside it: an
empty environment, a temporary directory that is deleted, a deadline, and the end of the child's whole process group.

**What a program can forge.** Tests of the kind `Expression`, `Call` and `Run` are compared out here, with expected
values that never enter the child: only the right value passes. Tests of the kind `Code` are judged inside, and count
only with a nonce drawn for the run, so that leaving early, printing "passed" or closing files passes nothing. A program
written against this very harness could search its own process for the nonce; give expected values where a policy is
trained for long.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from accord.feedback.sandboxed import harness
from accord.feedback.sandboxed.confinement import KERNEL

_STARTING = 30.0
_ENVIRONMENT = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ENDED = {"late": "took too long", "large": "reported more than it may", "died": "ended before its tests did"}

Ended = Literal["finished", "late", "large", "died"]


class Code(msgspec.Struct, frozen=True):
    """Statements that raise where the program is wrong; judged inside."""

    code: str


class Expression(msgspec.Struct, frozen=True):
    """An expression over the program's names, and the plain value that it must have."""

    expression: str
    expected: str

    @classmethod
    def of(cls, expression: str, value: Any) -> Expression:
        """Raises TypeError for an expected value that is not plain."""
        return cls(expression, harness.canonical(value))


class Call(msgspec.Struct, frozen=True):
    """A call of a function of the program with JSON values, and the JSON value that it must return."""

    call: str
    arguments: list[Any]
    expected: Any


class Run(msgspec.Struct, frozen=True):
    """A run of the whole program on an input, and what it must print; spaces at the ends of lines do not count."""

    stdin: str
    expected: str


Test = Code | Expression | Call | Run


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        passed: of each test.
        ended: how the child ended.
        in_force: the layers that confined it, as `sandboxed.confinement` names them.
    """

    passed: tuple[bool, ...]
    ended: Ended
    in_force: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why no test passed, where the child did not finish."""
        return _ENDED.get(self.ended, "")


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Limits of a child process.

    Attributes:
        timeout: seconds for a program with all its tests.
        memory: bytes of address space.
        file_bytes: largest file it may write, and most that it may report.
        layers: protections of the kernel to use where the machine has them.
    """

    timeout: float = 10.0
    memory: int = 1 << 30
    file_bytes: int = 4 << 20
    layers: Sequence[str] = KERNEL

    def run(self, program: str, tests: Sequence[Test]) -> Outcome:
        """Run a program and its tests; all of one kind when one of them is a `Run`.

        Raises:
            OSError: the child cannot be started.
        """
        nonce = secrets.token_hex(16)
        limits = {
            "memory": self.memory,
            "cpu_seconds": math.ceil(self.timeout) + 1,
            "file_bytes": self.file_bytes,
            "layers": list(self.layers),
        }
        questions = [_question(test) for test in tests]
        request = {"program": program, "tests": questions, "nonce": nonce, "limits": limits}
        ended, messages = self._exchange(json.dumps(request).encode())
        in_force = tuple(messages[0].get("in_force", ())) if messages else ()
        outcomes = next((m["outcomes"] for m in messages[1:] if m.get("nonce") == nonce), None)
        if outcomes is None:
            return Outcome((False,) * len(tests), "died" if ended == "finished" else ended, in_force)
        passed = tuple(_passed(test, outcome) for test, outcome in zip(tests, outcomes, strict=True))
        return Outcome(passed, "finished", in_force)

    def _exchange(self, request: bytes) -> tuple[Ended, list[dict[str, Any]]]:
        """Start a child on the request, and return what it reports until its end."""
        with tempfile.TemporaryDirectory(prefix="accord-") as directory, tempfile.TemporaryFile() as given:
            given.write(request)
            given.seek(0)
            reading, writing = os.pipe()
            try:
                child = subprocess.Popen(  # noqa: S603 - this interpreter, our harness
                    [sys.executable, "-I", "-B", harness.__file__, str(writing)],
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**_ENVIRONMENT, "HOME": directory, "TMPDIR": directory},
                    cwd=directory,
                    pass_fds=(writing,),
                    start_new_session=True,
                )
            except BaseException:
                os.close(reading)
                raise
            finally:
                os.close(writing)
            try:
                return self._read(reading)
            finally:
                _kill(child)
                os.close(reading)
                _make_deletable(Path(directory))

    def _read(self, reading: int) -> tuple[Ended, list[dict[str, Any]]]:
        received = bytearray()
        deadline = time.monotonic() + _STARTING
        while len(received) <= self.file_bytes:
            ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(reading, 1 << 16) if ready else None
            if not part:
                return ("late" if part is None else "finished"), _messages(received)
            if b"\n" not in received and b"\n" in part:
                deadline = time.monotonic() + self.timeout  # it is confined: the program's time begins
            received += part
        return "large", _messages(received)


def _question(test: Test) -> dict[str, Any]:
    """What the child is told of a test: everything but what is expected."""
    told: dict[str, Any] = msgspec.to_builtins(test)
    told.pop("expected", None)
    return told


def _passed(test: Test, outcome: Any) -> bool:
    if not isinstance(outcome, dict) or "error" in outcome:
        return False
    match test:
        case Code():
            return outcome.get("passed") is True
        case Expression():
            return outcome.get("value") == test.expected
        case Call():
            return outcome.get("value") == harness.canonical(test.expected, "[]")
        case Run():
            return _lines(str(outcome.get("output"))) == _lines(test.expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _messages(received: bytes | bytearray) -> list[dict[str, Any]]:
    """The lines that are JSON objects; the program may have written anything between them."""
    messages = []
    for line in bytes(received).splitlines():
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict):
            messages.append(message)
    return messages


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and every process of its group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()
    child.wait()


def _make_deletable(directory: Path) -> None:
    """A program may have taken the permissions of its own directories away."""
    for place, _, _ in os.walk(directory):
        os.chmod(place, 0o700)
