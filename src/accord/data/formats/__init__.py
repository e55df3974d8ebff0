"""Every format that Accord reads, in the order in which they are tried, and how a file's format is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.data.formats import (
    demonstrations,
    hh,
    openassistant,
    own,
    pairs,
    ranked,
    safe_rlhf,
    steps,
    transitions,
    ultrafeedback,
)
from accord.data.formats.base import Format, Item, each
from accord.data.formats.chat import is_messages
from accord.data.rows import Row, names_of
from accord.errors import DataError

_PAIR = ("prompt", "chosen", "rejected")
_SAFE = ("better_response_id", "safer_response_id", "is_response_0_safe", "is_response_1_safe")


def _has_from(values: Mapping[str, Any]) -> bool:
    return is_messages(values["conversations"])


def _is_scored_chat_pair(values: Mapping[str, Any]) -> bool:
    return pairs.is_chat_pair(values) and not is_messages(values["prompt"])


FORMATS: tuple[Format, ...] = (
    Format("Accord groups", ("prompt", "responses"), each(own.read), own.is_group, "responses are records with text"),
    Format("Accord prompts", ("prompt", "meta"), each(own.read), own.is_bare, "fields of a Group without responses"),
    Format("PKU-SafeRLHF", ("prompt", "response_0", "response_1", *_SAFE), each(safe_rlhf.read)),
    Format("UltraFeedback", ("instruction", "completions"), ultrafeedback.read, ultrafeedback.has_rated_completions),
    Format(
        "UltraFeedback binarised",
        (*_PAIR, "score_chosen", "score_rejected"),
        each(pairs.chat_with_prompt),
        _is_scored_chat_pair,
        "chosen and rejected are conversations that repeat the prompt",
    ),
    Format(
        "HH-RLHF with prompt",
        _PAIR,
        each(hh.transcript_prompt),
        hh.is_transcript_prompt,
        "the prompt is a transcript that ends with Assistant:",
    ),
    Format("preference pairs, chat", _PAIR, each(pairs.chat_with_prompt), pairs.is_chat_pair, "lists of messages"),
    Format("preference pairs", _PAIR, each(pairs.text_with_prompt), pairs.is_text_pair, "chosen and rejected are text"),
    Format(
        "HH-RLHF",
        ("chosen", "rejected"),
        each(hh.transcripts),
        hh.is_transcript_pair,
        "transcripts with Human: and Assistant:",
    ),
    Format(
        "preference pairs, chat, implicit prompt",
        ("chosen", "rejected"),
        each(pairs.chat_without_prompt),
        pairs.is_chat_pair,
        "the prompt is the turns that both share",
    ),
    Format(
        "preference pairs, implicit prompt",
        ("chosen", "rejected"),
        each(pairs.text_without_prompt),
        pairs.is_text_pair,
        "the prompt is cut after the last line that both share",
    ),
    Format("ranked responses", ("prompt", "responses", "ranking"), each(ranked.ranking), ranked.is_list_of_text),
    Format("ranked responses, ranks", ("prompt", "responses", "ranks"), each(ranked.ranks), ranked.is_list_of_text),
    Format("scored responses", ("prompt", "responses", "scores"), each(ranked.scores), ranked.is_list_of_text),
    Format(
        "responses with probabilities",
        ("prompt", "responses", "probs"),
        each(ranked.probabilities),
        ranked.is_list_of_text,
    ),
    Format("labelled steps", ("prompt", "completions", "labels"), each(steps.listed), steps.is_list_of_steps),
    Format(
        "Math-Shepherd", ("input", "label"), each(steps.tagged), steps.is_tagged, f"steps end with {steps.STEP_TAG}"
    ),
    Format("transitions", ("state", "action", "reward"), each(transitions.read)),
    Format("labelled completions", ("prompt", "completion", "label"), each(demonstrations.labelled("completion"))),
    Format("labelled responses", ("prompt", "response", "label"), each(demonstrations.labelled("response"))),
    Format("OpenAssistant messages", ("message_id", "parent_id", "text", "role"), openassistant.read_messages),
    Format("OpenAssistant trees", ("message_tree_id", "prompt"), openassistant.read_trees, openassistant.is_tree),
    Format("Dolly", ("instruction", "context", "response"), each(demonstrations.dolly)),
    Format("Alpaca", ("instruction", "output"), each(demonstrations.alpaca)),
    Format("prompt and completion", ("prompt", "completion"), each(demonstrations.completed("completion"))),
    Format("prompt and response", ("prompt", "response"), each(demonstrations.completed("response"))),
    Format("messages", ("messages",), each(demonstrations.conversation("messages"))),
    Format("ShareGPT", ("conversations",), each(demonstrations.conversation("conversations")), _has_from),
    Format("verifiable prompts", ("prompt", "ground_truth"), each(ranked.verifiable("ground_truth"))),
    Format("verifiable prompts", ("prompt", "answer"), each(ranked.verifiable("answer"))),
    Format("prompts", ("prompt",), each(ranked.bare), ranked.has_no_answer, "no column of another format"),
)
"""The first format that matches is taken, so the more telling ones stand first."""

TEMPLATED: Mapping[str, Format] = {
    "Dolly": Format("Dolly", ("instruction", "context", "response"), each(demonstrations.dolly_in_template)),
    "Alpaca": Format("Alpaca", ("instruction", "output"), each(demonstrations.alpaca_in_template)),
}
"""Formats that can also be read as plain text in the `### Instruction:` template."""

COLUMNS: frozenset[str] = frozenset(
    {column for known in FORMATS for column in known.columns}
    | {"input", "score", "reward", "margin", "id", "rank", "lang", "category"}
    | {column for both in pairs.SCORE_COLUMNS for column in both}
)
"""Every column name that some format reads; what `--columns` can map to."""


def recognise(row: Row) -> Format:
    """The format of a file, told by its first row.

    Raises:
        DataError: no format matches; names the columns and the format that comes closest.
    """
    for known in FORMATS:
        if known.matches(row.values):
            return known
    raise DataError(
        f"the format is not recognised: the columns are {names_of(row.values)}{_nearest(row.values)}",
        path=row.path,
        line=row.line,
        mend="Name the columns, for example --columns prompt=question,chosen=good,rejected=bad.",
    )


def _nearest(values: Mapping[str, Any]) -> str:
    """What keeps the row from the format that it is closest to: the most telling one that lacks a single column."""
    almost = [known for known in FORMATS if sum(column in values for column in known.columns) == len(known.columns) - 1]
    nearest = max(almost, key=lambda known: len(known.columns), default=None)
    if nearest is not None and len(nearest.columns) > 1:
        missing = next(column for column in nearest.columns if column not in values)
        others = ", ".join(column for column in nearest.columns if column in values)
        return f"; `{missing}` is missing beside {others}"
    for known in FORMATS:
        if all(column in values for column in known.columns):
            return f"; {', '.join(known.columns)} do not hold what {known.name} has there"
    return ""


__all__ = ["COLUMNS", "FORMATS", "TEMPLATED", "Format", "Item", "recognise"]
