"""The console of a command's results."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """A console without markup: square brackets in a model's answer are square brackets."""
    return Console(markup=False, highlight=False, emoji=False)
