"""The command line starts fast, loads what it needs and nothing else, and ends with the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "datasets", "matplotlib", "scipy", "sklearn")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def run_accord(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "accord", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | (environment or {}),
    )


def fastest(command: list[str], tries: int = 5) -> float:
    """Seconds of the fastest of several runs: what the program takes when the machine is not busy with others."""
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, timeout=60, check=True)
        best = min(best, time.perf_counter() - start)
    return best


def test_import_is_fast() -> None:
    bare = fastest([sys.executable, "-c", "pass"])
    assert fastest([sys.executable, "-c", "import accord"]) - bare < 0.2


def test_help_is_fast() -> None:
    assert fastest([sys.executable, "-m", "accord", "--help"]) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data", "--help"], ["world", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom accord.cli.app import main\n"
        f"code = main({arguments!r})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert code == 0 and not loaded, (code, loaded)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["accord", "accord.record", "accord.data", "accord.report", "accord.train.config"])
def test_import_without_torch(module: str) -> None:
    done = run_python(f"import sys, {module}; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_version_is_printed() -> None:
    done = run_accord("--version")
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")


def test_a_mistake_is_one_sentence_and_exit_code_2() -> None:
    done = run_accord("train", "dpo", "--model", "m", "--data", "d", "--lr", "7")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "accord: --lr: 7.0 is out of range. Give at least 0 and at most 1.\n"


def test_debug_shows_the_traceback() -> None:
    done = run_accord("train", "dpo", "--model", "m", "--data", "d", "--lr", "7", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("accord: --lr: 7.0 is out of range. Give at least 0 and at most 1.\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m accord train dpo --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("Usage: accord train dpo")
    assert done.stderr == ""
