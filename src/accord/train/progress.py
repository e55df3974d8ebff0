"""What a person sees while a run works: progress with the time that is left, and a line now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SHOWN = (("loss", "loss"), ("margin", "margin"), ("accuracy", "accuracy"), ("eval/kl", "KL"))


class Display:
    """A progress bar over the steps; without a console it shows nothing."""

    def __init__(self, console: Console | None) -> None:
        self.console = console or Console(quiet=True)
        self._latest: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One plain line; nothing in it is markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A bar for the length of the block."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(description, total=total, completed=done, numbers="")
            yield Bar(progress, task)

    def numbers(self, line: dict[str, Any]) -> str:
        """The numbers worth watching, the latest known value of each."""
        self._latest |= {name: line[name] for name, _ in _SHOWN if name in line}
        return "  ".join(f"{label} {self._latest[name]:.3f}" for name, label in _SHOWN if name in self._latest)


class Bar:
    """One task of a progress display."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, numbers: str | None = None) -> None:
        """Move on, and show new numbers."""
        self._progress.update(self._task, advance=amount)
        if numbers is not None:
            self._progress.update(self._task, numbers=numbers)
