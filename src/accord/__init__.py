"""Accord aligns language models: from raw feedback to an aligned model and a verdict you can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.data import read
    from accord.errors import AccordError
    from accord.objectives import OBJECTIVES, Terms
    from accord.policy.load import load_policy
    from accord.record import Feedback, Group, Message, Preference, Response
    from accord.train.config import TrainConfig
    from accord.train.run import run_training

__version__ = "0.1.0"

__all__ = [
    "OBJECTIVES",
    "AccordError",
    "Feedback",
    "Group",
    "Message",
    "Preference",
    "Response",
    "Terms",
    "TrainConfig",
    "load_policy",
    "read",
    "run_training",
]

# Where each name lives; it is imported when it is first used, so that `import accord` loads no torch.
_HOMES = {
    "OBJECTIVES": "accord.objectives",
    "AccordError": "accord.errors",
    "Feedback": "accord.record",
    "Group": "accord.record",
    "Message": "accord.record",
    "Preference": "accord.record",
    "Response": "accord.record",
    "Terms": "accord.objectives",
    "TrainConfig": "accord.train.config",
    "load_policy": "accord.policy.load",
    "read": "accord.data",
    "run_training": "accord.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
