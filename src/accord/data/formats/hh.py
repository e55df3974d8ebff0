"""Anthropic HH-RLHF: whole transcripts in `chosen` and `rejected`, turns marked by `Human:` and `Assistant:`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from accord.data.formats.pairs import pair_of
from accord.data.problems import Problem, problem_at
from accord.data.rows import Row
from accord.record import Group, Message, Response

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript_pair(values: Mapping[str, Any]) -> bool:
    """Whether both sides are transcripts."""
    return all(
        isinstance(values[side], str) and "\n\nHuman:" in "\n\n" + values[side] and "\n\nAssistant:" in values[side]
        for side in ("chosen", "rejected")
    )


def is_transcript_prompt(values: Mapping[str, Any]) -> bool:
    """Whether the prompt is a transcript that waits for the assistant, and the sides are what it would say."""
    prompt = values["prompt"]
    return (
        isinstance(prompt, str)
        and prompt.rstrip().endswith("\n\nAssistant:")
        and all(isinstance(values[side], str) for side in ("chosen", "rejected"))
    )


def transcripts(row: Row) -> Group | Problem:
    """A pair of transcripts, cut before the last turn of the assistant; what precedes it must be the same in both."""
    chosen, rejected = _turns(row, "chosen"), _turns(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        return problem_at(
            row.origin,
            "prefixes differ",
            "warning",
            "chosen and rejected differ before the assistant's last turn; the pair is left out",
            lost=True,
        )
    return pair_of(row, chosen[:-1], Response(chosen[-1].content), Response(rejected[-1].content), source="human")


def transcript_prompt(row: Row) -> Group:
    """A pair with its transcript so far in `prompt`; sides that repeat it are cut there."""
    text = row.text("prompt")
    prompt = _parse(text.rstrip())[:-1]
    if not prompt:
        raise row.error("`prompt` has no turn of the human")
    answers = [row.text(side).removeprefix(text).strip() for side in ("chosen", "rejected")]
    return pair_of(row, prompt, Response(answers[0]), Response(answers[1]), source="human")


def _turns(row: Row, column: str) -> tuple[Message, ...]:
    turns = _parse(row.text(column))
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise row.error(f"`{column}` is not a transcript that ends with a turn of the assistant")
    return turns


def _parse(text: str) -> tuple[Message, ...]:
    parts = _TURN.split(text)
    return tuple(
        Message(_ROLES[speaker], content.strip()) for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    )
