"""What a person sees while models are asked: what for, how far it is, the time that is left, and the cost so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Cost = Callable[[], float | None]
Asking = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@contextmanager
def asking(console: Console | None, cost: Cost = lambda: None) -> Iterator[Asking]:
    """A bar for the length of the block; without a console it shows nothing."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[cost]}"),
    )
    with Progress(*columns, console=console or Console(quiet=True), transient=True) as bars:
        task, shown = bars.add_task("", total=None, cost=""), ""

        def told(stage: str, done: int, total: int) -> None:
            nonlocal shown
            if stage != shown:
                bars.reset(task, description=stage)
                shown = stage
            spent = cost()
            bars.update(task, completed=done, total=total, cost="" if spent is None else f"cost {spent:.2f}")

        yield told
