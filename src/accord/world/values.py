"""What the world's annotators weigh, as functions that any `--reward` takes: `accord.world.values:warm`."""

from __future__ import annotations

from accord.record import Group, Response
from accord.world.annotators import VALUES


def right(group: Group, record: Response) -> float:
    """The oracle's gold."""
    return VALUES["right"].value(group, record)


def brief(group: Group, record: Response) -> float:
    """Minus the words of a response, in tens."""
    return VALUES["brief"].value(group, record)


def warm(group: Group, record: Response) -> float:
    """How many friendly phrases a response has."""
    return VALUES["warm"].value(group, record)


def careful(group: Group, record: Response) -> float:
    """1 for a response that refuses or admits ignorance."""
    return VALUES["careful"].value(group, record)
