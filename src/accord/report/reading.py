"""A run directory as the report sees it: whatever is there, and what could not be read.

Every file may be missing, cut short or damaged: a run that was killed deserves a report too. A broken file raises
nothing; it is named in `Run.unreadable` and shown.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import DataError
from accord.record import Evaluation
from accord.report.text import one_line

_LARGEST = 1e30
"""Beyond this a metric is a sign of a broken run, not a number to draw."""

_LAST_STEP = 1e12
"""Beyond this a step, an index or a count of tokens is damage."""


@dataclass(frozen=True)
class Series:
    """One metric over the steps at which it was measured; `broken` counts values that were not finite."""

    key: str
    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    broken: int = 0

    def __bool__(self) -> bool:
        return bool(self.steps)

    def start(self) -> float:
        """Where it began: the first measurement, or the mean of the first tenth of a long, noisy series."""
        return _mean(self.values[: self._window])

    def end(self) -> float:
        """Where it ended: the last measurement, or the mean of the last tenth of a long, noisy series."""
        return _mean(self.values[-self._window :])

    @property
    def _window(self) -> int:
        return 1 if self.key.startswith(("eval/", "probe/")) else max(1, len(self.values) // 10)


@dataclass(frozen=True)
class Sample:
    """What the model answered to one of the fixed prompts at one step."""

    step: int
    index: int
    prompt: str
    response: str
    tokens: int | None = None
    finished: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Alarm:
    """What a guard said during the run."""

    step: int
    name: str
    message: str


@dataclass(frozen=True)
class Run:
    """A run directory, read."""

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    doctor: Mapping[str, Any]
    series: Mapping[str, Series]
    samples: tuple[Sample, ...]
    evaluation: Evaluation | None
    unreadable: tuple[str, ...]
    alarms: tuple[Alarm, ...] = ()

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name or self.path.resolve().name

    @property
    def objective(self) -> str:
        """The objective's name, or `"unknown objective"`."""
        return one_line(str(self.config.get("objective") or self.environment.get("objective") or "unknown objective"))

    @property
    def finished(self) -> bool:
        """Whether the run says that it came to its end."""
        return bool(self.environment.get("finished"))

    @cached_property
    def last_step(self) -> int:
        """The last step of any metric; 0 without metrics."""
        return max((series.steps[-1] for series in self.series.values() if series), default=0)

    def metric(self, key: str) -> Series:
        """The metric named `key`; empty when it was never measured."""
        return self.series.get(key, Series(key))

    def samples_at(self, step: int) -> dict[int, Sample]:
        """The samples of one step, by the index of their prompt."""
        return {sample.index: sample for sample in self.samples if sample.step == step}

    @cached_property
    def sample_steps(self) -> tuple[int, ...]:
        """The steps at which the fixed prompts were answered."""
        return tuple(sorted({sample.step for sample in self.samples}))


def read_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        DataError: the directory does not exist, or holds none of a run's files.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError("is not a directory", path=path, mend="Name the directory that --out of the training named.")
    files = ("config.toml", "environment.json", "data.json", "metrics.jsonl", "samples.jsonl", "evaluation.json")
    if not any((path / name).exists() for name in files):
        raise DataError("holds no run", path=path, mend=f"A run has at least one of {', '.join(files)}.")
    unreadable: list[str] = []
    return Run(
        path=path,
        config=_read_toml(path / "config.toml", unreadable),
        environment=_read_object(path / "environment.json", unreadable),
        doctor=_read_object(path / "data.json", unreadable),
        series=_read_metrics(path / "metrics.jsonl", unreadable),
        samples=_read_samples(path / "samples.jsonl", unreadable),
        evaluation=_read_evaluation(path / "evaluation.json", unreadable),
        alarms=_read_alarms(path / "alarms.jsonl", unreadable),
        unreadable=tuple(unreadable),
    )


def _read_toml(path: Path, unreadable: list[str]) -> dict[str, Any]:
    text = _read_text(path, unreadable)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        unreadable.append(f"{path.name} is not TOML: {error}")
        return {}


def _read_object(path: Path, unreadable: list[str]) -> dict[str, Any]:
    text = _read_text(path, unreadable)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        unreadable.append(f"{path.name} is not JSON: {error}")
        return {}
    if not isinstance(value, dict):
        unreadable.append(f"{path.name} does not hold an object")
        return {}
    return value


def _read_evaluation(path: Path, unreadable: list[str]) -> Evaluation | None:
    text = _read_text(path, unreadable)
    if not text:
        return None
    try:
        evaluation = msgspec.json.decode(text, type=Evaluation)
        evaluation.comparison(evaluation.primary)
    except (msgspec.DecodeError, RecursionError) as error:
        unreadable.append(f"{path.name} is not an evaluation: {error}")
        return None
    except KeyError:
        unreadable.append(f"{path.name} names a primary axis that it does not measure")
        return None
    return evaluation


def _read_metrics(path: Path, unreadable: list[str]) -> dict[str, Series]:
    """Metrics by key. A step that a resumed run wrote again counts once, as written last."""
    points: dict[str, dict[int, float]] = {}
    for line in _read_lines(path, unreadable):
        step = _whole(line.get("step"))
        if step is None:
            continue
        for key, value in line.items():
            number = _number(value)
            if key != "step" and number is not None:
                points.setdefault(key, {})[step] = number
    return {key: _series(key, values) for key, values in sorted(points.items())}


def _series(key: str, points: Mapping[int, float]) -> Series:
    usable = {step: value for step, value in sorted(points.items()) if math.isfinite(value) and abs(value) <= _LARGEST}
    return Series(key, tuple(usable), tuple(usable.values()), broken=len(points) - len(usable))


def _read_samples(path: Path, unreadable: list[str]) -> tuple[Sample, ...]:
    samples: dict[tuple[int, int], Sample] = {}
    for line in _read_lines(path, unreadable):
        step, index = _whole(line.get("step")), _whole(line.get("index"))
        if step is None or index is None:
            continue
        scores = line.get("scores")
        samples[step, index] = Sample(
            step=step,
            index=index,
            prompt=str(line.get("prompt", "")),
            response=str(line.get("response", "")),
            tokens=_whole(line.get("tokens")),
            finished=line["finished"] if isinstance(line.get("finished"), bool) else None,
            scores=numbers_of(scores) if isinstance(scores, dict) else {},
        )
    return tuple(samples[key] for key in sorted(samples))


def _read_alarms(path: Path, unreadable: list[str]) -> tuple[Alarm, ...]:
    return tuple(
        Alarm(_whole(line.get("step")) or 0, str(line.get("name", "")), str(line.get("message", "")))
        for line in _read_lines(path, unreadable)
    )


def _read_lines(path: Path, unreadable: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; lines that are none are counted, and the first of them is named."""
    broken: list[int] = []
    for number, line in enumerate(_read_text(path, unreadable).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield value
        else:
            broken.append(number)
    if broken:
        lines = "line" if len(broken) == 1 else "lines"
        unreadable.append(f"{path.name}: {len(broken)} {lines} could not be read, the first is line {broken[0]}")


def _read_text(path: Path, unreadable: list[str]) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        unreadable.append(f"{path.name} could not be opened ({error.strerror})")
        return ""


def numbers_of(values: Mapping[Any, Any]) -> dict[str, float]:
    """The entries of a mapping that are finite numbers."""
    numbers = {str(key): _number(value) for key, value in values.items()}
    return {key: number for key, number in numbers.items() if number is not None and math.isfinite(number)}


def _number(value: object) -> float | None:
    """A JSON number, finite or not; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= _LAST_STEP else None


def _mean(values: tuple[float, ...]) -> float:
    return math.fsum(values) / len(values)
