"""Solutions in steps, each step labelled: as a list of steps, or marked in the text (Math-Shepherd)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.data.formats.demonstrations import prompt_of
from accord.data.rows import Row
from accord.record import Feedback, Group, Prompt, Response
from accord.record.steps import response_of_steps

STEP_TAG = "ки"
"""What ends a step in Math-Shepherd's `input`; in `label` the sign of the step stands there."""

_SIGNS = {"+": 1.0, "-": 0.0}


def is_list_of_steps(values: Mapping[str, Any]) -> bool:
    """Whether `completions` is a list of texts."""
    completions = values["completions"]
    return isinstance(completions, list) and all(isinstance(step, str) for step in completions)


def is_tagged(values: Mapping[str, Any]) -> bool:
    """Whether `input` has step tags and `label` is text."""
    return isinstance(values["input"], str) and STEP_TAG in values["input"] and isinstance(values["label"], str)


def listed(row: Row) -> Group:
    """`completions` lists the steps of one solution, `labels` says of each whether it is right.

    A label is true or false, or a number from 0 to 1 (the share of continuations that came out right); null is not
    judged. Steps are joined by line breaks.
    """
    steps, labels = row.sequence("completions"), row.sequence("labels")
    if not steps:
        raise row.error("`completions` is an empty list, the steps of a solution are expected")
    if len(labels) != len(steps):
        raise row.error(f"`labels` has {len(labels)} entries for {len(steps)} steps")
    for index, step in enumerate(steps):
        if not isinstance(step, str):
            raise row.expected(f"completions[{index}]", step, "text")
        if not step:
            raise row.error(f"`completions[{index}]` is empty")
    scores = tuple(_probability(row, label, f"labels[{index}]") for index, label in enumerate(labels))
    return _group(row, prompt_of(row), response_of_steps(steps), scores)


def tagged(row: Row) -> Group:
    """Math-Shepherd: `input` is the question and its steps, each ended by a tag; `label` has `+` or `-` there."""
    text, labelled = row.text("input"), row.text("label")
    question, opening, solution = text.partition("Step 1:")
    if not opening or not question.strip():
        raise row.error("`input` has no question in front of `Step 1:`")
    *pieces, rest = (opening + solution).split(STEP_TAG)
    if rest.strip():
        raise row.error(f"`input` goes on after its last {STEP_TAG}: {rest.strip()[:40]!r}")
    scores: list[float] = []
    place = len(question)
    for piece in pieces:
        place += len(piece)
        sign = labelled[place : place + 1]
        if sign not in _SIGNS:
            raise row.error(f"`label` has {sign!r} where step {len(scores) + 1} of `input` ends, + or - is expected")
        scores.append(_SIGNS[sign])
        place += 1
    return _group(row, question.strip(), response_of_steps([piece.strip() for piece in pieces]), tuple(scores))


def _group(row: Row, prompt: Prompt, response: Response, scores: tuple[float | None, ...]) -> Group:
    return Group(prompt, (response,), (Feedback("dataset", step_scores=(scores,)),), origin=row.origin)


def _probability(row: Row, label: Any, name: str) -> float | None:
    if isinstance(label, bool):
        return float(label)
    value = row.as_number(label, name)
    if value is not None and not 0 <= value <= 1:
        raise row.error(f"`{name}` is {value:g}", "Give true or false, or a number from 0 to 1.")
    return value
