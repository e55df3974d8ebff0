"""Alarms: what a run should not go on with unnoticed. The caller brings the guard that raises them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from accord.record import Group


class Alarm(msgspec.Struct, frozen=True):
    """Something that has gone wrong, in a sentence with its numbers.

    Attributes:
        name: a short stable name, e.g. `reward hacking`.
        message: what was seen, with the prompt where it shows most.
    """

    name: str
    message: str


Guard = Callable[[Sequence[Group]], Sequence[Alarm]]
"""Called after every measurement with the scored answers to the held-out prompts; what it returns is shown, recorded,
and may end the run."""
