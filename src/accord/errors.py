"""Errors for the person who reads them: what is wrong, where, and how to mend it.

Everything that a user can cause (a flag, a file, a model directory) is raised as an `AccordError`; the command
line prints it as one sentence and exits with 2. Anything else that escapes is a defect and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path


class AccordError(ValueError):
    """A mistake that the user can mend.

    Args:
        what: what is wrong, as a full sentence without its final stop.
        where: the flag, file, `file:line` or model it concerns.
        mend: what to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what.rstrip("."), where, mend
        message = f"{where}: {self.what}" if where else self.what
        super().__init__(f"{message}. {mend}" if mend else f"{message}.")


class ConfigError(AccordError):
    """A flag or a configuration key has a value that cannot work."""


class DataError(AccordError):
    """A data file cannot be read, or a row of it cannot be used."""

    def __init__(
        self,
        what: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        mend: str | None = None,
    ) -> None:
        self.path, self.line = path, line
        where = None if path is None else str(path) if line is None else f"{path}:{line}"
        super().__init__(what, where=where, mend=mend)


class ModelError(AccordError):
    """A model or tokenizer cannot be loaded, or cannot do what is asked of it."""


class NumericsError(AccordError):
    """A loss, reward or gradient is not a finite number; the message names the prompt."""


class Interrupted(Exception):  # noqa: N818 - a stop that was asked for is no error
    """A run stopped because it was asked to (Ctrl-C, SIGTERM) and can go on from where it stopped.

    Args:
        signal: number of the signal.
        message: what was kept and how to go on.
    """

    def __init__(self, signal: int, message: str) -> None:
        self.signal = signal
        super().__init__(message)
