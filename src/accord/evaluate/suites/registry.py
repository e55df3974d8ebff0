"""The suites that are called by name. One that is added here is known to the command line and to its help.

A suite is a function `(data, *, options) -> Task`: `data` is a file, a directory or the id of a public data set, and
its keyword-only parameters are its options. One whose answers a judge scores has the option `judge: Chat | None = None`.
One that needs no data has no `data`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from accord.evaluate.task import Task

Need = Literal["answers", "log-probabilities", "rewards", "rewards or log-probabilities", "choices"]


@dataclass(frozen=True)
class Suite:
    """What the registry knows of a suite without reading its data.

    Attributes:
        target: `module:function` that makes the task.
        says: what it measures, one sentence.
        needs: what the model must be able to do.
        reads: the format of its files; empty where it needs none.
        hub: id of its data set, looked for in the local cache where no path is given.
        judged: whether a judge scores the answers.
    """

    target: str
    says: str
    needs: Need
    reads: str = ""
    hub: str = ""
    judged: bool = False


def suite_function(suite: Suite) -> Callable[..., Task]:
    """The function that makes a suite's task."""
    module, _, function = suite.target.partition(":")
    build: Callable[..., Task] = getattr(importlib.import_module(module), function)
    return build


_HOME = "accord.evaluate.suites"

SUITES: dict[str, Suite] = {
    "hhh": Suite(
        f"{_HOME}.hhh:hhh",
        "Whether the better of two answers is the likelier: helpful, honest, harmless.",
        "rewards or log-probabilities",
        reads="rows with input and target_scores (BIG-bench) or targets with choices and labels, in JSON or JSONL",
        hub="HuggingFaceH4/hhh_alignment",
    ),
}
"""The suites; one that is added here is known to the command line and to its help."""
