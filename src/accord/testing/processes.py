"""Two processes that train together, as two machines would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def run_in_two_processes(program: str, argument: str, given: bytes) -> None:
    """Run a Python program in two processes of one group, on one thread each; both must succeed.

    Args:
        program: its source.
        argument: its only argument.
        given: what it reads from standard input.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = [
        subprocess.Popen(  # noqa: S603 - the program is a test's own
            [sys.executable, "-c", program, argument],
            env=os.environ | there | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(given)
        child.stdin.close()
        child.stdin = None
    try:
        for child in children:
            _, errors = child.communicate(timeout=300)
            assert child.returncode == 0, errors.decode()[-2000:]
    finally:
        for child in children:
            child.kill()
            child.communicate()
