"""`accord evaluate`: put suites to a model, and leave a measurement of each.

A model's answers are kept on disk as they come: a job that was killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from accord.chat.cached import CachedChat
from accord.chat.spec import Opening, open_chat
from accord.chat.types import Chat, Progress, Reply, Request
from accord.errors import ConfigError
from accord.evaluate.measure import measure, subset
from accord.evaluate.subject import Likelihood, Subject
from accord.evaluate.suites.spec import build_task
from accord.evaluate.task import Task
from accord.feedback.reward import Row
from accord.record import Group
from accord.record.measurement import Measurement
from accord.record.measurement_files import measurement_path, write_measurement
from accord.rollout import progress_bar

Scores = TypeVar("Scores", Row, tuple[Likelihood, ...])

PART = 256
"""Items that are scored before the bar moves."""


def tasks_of(
    suites: Sequence[str],
    *,
    data: str | None = None,
    judge: Chat | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """The tasks that a command line names, read before anything is measured.

    Args:
        suites: as `accord.evaluate.suites.spec` has them.
        data: file or directory of their data.
        judge: who scores answers.
        limit: at most so many items of each.
        seed: of the draw of items.

    Raises:
        ConfigError: a suite is unknown or misspelt, or two have the same name.
        DataError: its data cannot be read.
    """
    tasks = [build_task(suite, data=data, judge=judge) for suite in suites]
    for task in tasks:
        if sum(other.name == task.name for other in tasks) > 1:
            raise ConfigError(f"{task.name} is asked for twice", where="--suite", mend="Measure one after the other.")
    return tasks if limit is None else [subset(task, limit, seed=seed) for task in tasks]


def open_judge(spec: str, *, opening: Opening | None = None, cache: Path | None = None) -> CachedChat:
    """The judge that a command line names, with a memory of its answers."""
    return CachedChat(open_chat(spec, opening, flag="--judge"), cache)


def evaluate(
    tasks: Sequence[Task],
    subject: Subject,
    *,
    out: str | Path | None = None,
    console: Console | None = None,
    done: Callable[[Measurement, Path | None], None] = lambda measurement, path: None,
) -> list[Measurement]:
    """Measure a model on tasks, one after the other; each measurement is written as soon as it is there.

    Args:
        tasks: what is put to it.
        subject: the model.
        out: directory of the measurements; nothing is written without it.
        console: where progress is shown.
        done: told of each measurement, and where it stands.
    """
    measured = []
    for task in tasks:
        with progress_bar(task.name, console or Console(quiet=True)) as told:
            found = measure(task, watched(subject, told))
        path = None if out is None else measurement_path(out, task.name)
        if path is not None:
            write_measurement(path, found)
        measured.append(found)
        done(found, path)
    return measured


def watched(subject: Subject, told: Progress) -> Subject:
    """A subject that says how far it is."""
    return dataclasses.replace(
        subject,
        chat=None if subject.chat is None else _WatchedChat(subject.chat, told),
        likelihoods=None if subject.likelihoods is None else _in_parts(subject.likelihoods, told),
        rewards=None if subject.rewards is None else _in_parts(subject.rewards, told),
    )


class _WatchedChat:
    """A chat that tells a bar of its replies."""

    def __init__(self, chat: Chat, told: Progress) -> None:
        self._chat, self._told, self.identity = chat, told, chat.identity

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        return self._chat(requests, progress=progress or self._told)


def _in_parts(
    score: Callable[[Sequence[Group]], list[Scores]], told: Progress
) -> Callable[[Sequence[Group]], list[Scores]]:
    """A function of items that is called with some of them at a time."""

    def scored(items: Sequence[Group]) -> list[Scores]:
        rows: list[Scores] = []
        for start in range(0, len(items), PART):
            rows += score(items[start : start + PART])
            told(len(rows), len(items))
        return rows

    return scored
