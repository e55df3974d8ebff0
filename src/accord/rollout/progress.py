"""A progress bar for whatever may take longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bars

from accord.policy.sample import Progress

SHOWN_AFTER = 2.0
"""Seconds before a bar appears, so that quick work leaves the terminal alone."""


@contextmanager
def progress_bar(description: str, console: Console) -> Iterator[Progress]:
    """A callable `(done, total)` that draws a bar with the time left, from two seconds on; it vanishes at the end."""
    begun = time.monotonic()
    bars = Bars(*Bars.get_default_columns(), console=console, transient=True)
    task = bars.add_task(description, total=None)

    def report(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total)
        if not bars.live.is_started and time.monotonic() - begun >= SHOWN_AFTER:
            bars.start()

    try:
        yield report
    finally:
        bars.stop()
