"""What a run ran on: versions, hardware, hashes, times. Written to `environment.json`."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from accord import __version__
from accord.errors import DataError


def now() -> str:
    """The present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_environment() -> dict[str, Any]:
    """Versions of what matters, the hardware, and the commit of the working directory."""
    return {
        "accord": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        **{name: _version(name) for name in ("torch", "transformers", "peft", "tokenizers")},
        "hardware": _hardware(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "git_commit": _git_commit(),
        "command": shlex.join([_program(), *sys.argv[1:]]),
    }


def read_environment(path: Path) -> dict[str, Any]:
    """The recorded environment of a run, empty if there is none."""
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise DataError(f"is damaged ({error})", path=path, mend="Delete the run, or start it with --fresh.") from error


def write_environment(path: Path, recorded: dict[str, Any]) -> None:
    """Write the record whole or not at all."""
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(recorded)))
    os.replace(beside, path)


def _program() -> str:
    """The command as it is typed, also when it was started as `python -m accord`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hardware() -> str:
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{psutil.cpu_count(logical=False) or psutil.cpu_count()} CPU cores, {memory:.0f} GiB"
    if not torch.cuda.is_available():
        return cores
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{', '.join(gpus)}; {cores}"


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
