"""Work that may never end, done in a child process that is killed and replaced when a request takes too long.

No thread and no signal can stop a pattern that backtracks or an expression that grows inside a library's C code; ending
its process can. The child runs a function of Accord's own on data of others; code of others runs in the `sandbox`.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import resource
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MEMORY = 4 << 30
"""Address space of a child, in bytes."""

_STARTING = 60.0


class TimedOut(Exception):  # noqa: N818 - an outcome to be handled, not a mistake
    """A request took longer than it may, or ended the child."""


class Worker:
    """A child process that answers one request after the other; started by the first, replaced after one that failed.

    Args:
        function: `module:function` that takes and returns JSON values.
        warm: a request that a new child answers first, however long it takes: what it imports and builds for it counts
            to no other request's time.
    """

    def __init__(self, function: str, *, warm: Any) -> None:
        self._function, self._warm = function, warm
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Worker] | None = None

    def ask(self, request: Any, *, timeout: float) -> Any:
        """What the function returns for `request`.

        Args:
            request: JSON values.
            timeout: seconds it may take.

        Raises:
            TimedOut: it took longer, or the child ended.
            ImportError: the child cannot answer its first request.
        """
        process = self._started()
        try:
            return _exchange(process, request, time.monotonic() + timeout)
        except (OSError, ValueError) as error:
            self.close()
            raise TimedOut(str(error)) from error

    def close(self) -> None:
        """End the child; the next request starts another."""
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
            process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                [sys.executable, "-m", __name__, self._function],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            self._process, self._finalizer = process, weakref.finalize(self, _end, process)
            try:
                _exchange(process, self._warm, time.monotonic() + _STARTING)
            except (OSError, ValueError) as error:
                self.close()
                raise ImportError(f"{self._function} cannot be run in a child process ({error})") from error
        return self._process


class Workers:
    """Several `Worker`s side by side.

    Args:
        function, warm: as for `Worker`.
        count: how many; default one a processor, at most 8.
    """

    def __init__(self, function: str, *, warm: Any, count: int | None = None) -> None:
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._count = count or min(os.cpu_count() or 1, 8)
        for _ in range(self._count):
            self._idle.put(Worker(function, warm=warm))

    def verdicts(self, requests: Sequence[Any], *, timeout: float) -> list[float | None]:
        """1.0 or 0.0 for what the function says of each request, in order; 0.0 for one that takes too long.

        `None` is missing: for a request that is `None`, and where the function says `None`.

        Args:
            requests: JSON values.
            timeout: seconds for one request.

        Raises:
            ImportError: a child cannot answer its first request.
        """

        def ask(request: Any) -> float | None:
            if request is None:
                return None
            worker = self._idle.get()
            try:
                said = worker.ask(request, timeout=timeout)
            except TimedOut:
                said = False
            finally:
                self._idle.put(worker)
            return None if said is None else float(said)

        with ThreadPoolExecutor(self._count) as threads:
            return list(threads.map(ask, requests))


def _exchange(process: subprocess.Popen[bytes], request: Any, deadline: float) -> Any:
    """One line there, one line back. Raises OSError when the child is gone or late, ValueError for no JSON."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    received = bytearray()
    while not received.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("took too long")
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            raise BrokenPipeError("ended")
        received += part
    return json.loads(received)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was still buffered for a child that is gone


def serve(function_name: str) -> None:
    """The child: answer requests, a line of JSON each, until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    module, _, name = function_name.partition(":")
    function = getattr(importlib.import_module(module), name)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(function(json.loads(line))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
