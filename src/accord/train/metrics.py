"""What a step logs: (sum, count) pairs become numbers, and one line a step goes to `metrics.jsonl`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from accord.errors import ConfigError
from accord.train.config import TrainConfig
from accord.train.step import StepResult


def numbers(result: StepResult, prefix: str = "") -> dict[str, float]:
    """The loss, its components where there are several, and the mean of each monitored quantity."""
    line = {f"{prefix}loss": result.loss}
    if len(result.components) > 1:
        line |= {prefix + name: value for name, value in result.components.items()}
    return line | {f"{prefix}{name}": total / count for name, (total, count) in result.metrics.items() if count > 0}


class Tracker(Protocol):
    """Somewhere else that wants every line."""

    def log(self, step: int, line: dict[str, Any]) -> None:
        """Take one line."""
        ...

    def close(self) -> None:
        """Write out what is pending."""
        ...


class Log:
    """`metrics.jsonl` and the trackers beside it."""

    def __init__(self, path: Path, trackers: list[Tracker]) -> None:
        self._path, self._trackers = path, trackers
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `close`

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, at once: a killed run keeps what it logged."""
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.log(int(line["step"]), line)

    def close(self) -> None:
        """Close the file and the trackers."""
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def rewind(path: Path, step: int) -> None:
    """Drop lines of later steps than `step`: a resumed run writes them again. Half a line at the end goes too."""
    if not path.exists():
        return
    kept = []
    for raw in path.read_bytes().splitlines():
        try:
            line = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            break
        if line["step"] <= step:
            kept.append(raw + b"\n")
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(b"".join(kept))
    os.replace(beside, path)


def rewards_measured(path: Path) -> list[float]:
    """The held-out reward of every measurement so far, in their order."""
    lines = (msgspec.json.decode(raw) for raw in path.read_bytes().splitlines())
    return [float(line["eval/reward"]) for line in lines if "eval/reward" in line]


def open_trackers(config: TrainConfig) -> list[Tracker]:
    """The trackers that `--track` names.

    Raises:
        ConfigError: an unknown tracker, or one whose package is not installed.
    """
    return [_open(name, config) for name in config.track]


def require_trackers(config: TrainConfig) -> None:
    """Refuse an unknown or missing tracker before a model loads."""
    from importlib.util import find_spec

    for name in config.track:
        if name not in _TRACKERS:
            raise ConfigError(f"unknown tracker {name!r}", where="--track", mend=f"Known: {', '.join(_TRACKERS)}.")
        if find_spec(name) is None:
            raise ConfigError(f"{name} is not installed", where="--track", mend=f"pip install {name}")


def _open(name: str, config: TrainConfig) -> Tracker:
    require_trackers(config)
    return _TRACKERS[name](config)


class _TensorBoard:
    def __init__(self, config: TrainConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(Path(config.out) / "tensorboard"))

    def log(self, step: int, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Hosted:
    """Weights & Biases and trackio share one interface."""

    def __init__(self, package: str, config: TrainConfig) -> None:
        import importlib

        module = importlib.import_module(package)
        self._run = module.init(project="accord", name=Path(config.out).name, config=msgspec.to_builtins(config))

    def log(self, step: int, line: dict[str, Any]) -> None:
        self._run.log({name: value for name, value in line.items() if name != "step"}, step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[TrainConfig], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": lambda config: _Hosted("wandb", config),
    "trackio": lambda config: _Hosted("trackio", config),
}
