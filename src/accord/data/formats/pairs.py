"""Preference pairs: prompt, chosen, rejected as text or chat, with the prompt in its own column or inside both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.data.formats.chat import is_messages, messages_of, response_of
from accord.data.problems import Problem, problem_at
from accord.data.rows import Row
from accord.record import Feedback, Group, Message, Preference, Prompt, Response

SCORE_COLUMNS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
)


def pair_of(row: Row, prompt: Prompt, chosen: Response, rejected: Response, *, source: Any = "dataset") -> Group:
    """The Group of a pair, with the scores and the margin that the row may carry."""
    scores: dict[str, tuple[float | None, ...]] = {}
    for better, worse in SCORE_COLUMNS:
        if better in row.values and worse in row.values:
            values = (row.number(better), row.number(worse))
            if any(value is not None for value in values):
                scores["overall"] = values
    margin = row.number("margin")
    feedback = Feedback(
        source,
        preferences=(Preference(0, 1),),
        scores=scores,
        meta={} if margin is None else {"margin": margin},
    )
    identifier = row.values.get("prompt_id", row.values.get("id"))
    return Group(
        prompt,
        (chosen, rejected),
        (feedback,),
        id=None if identifier is None else str(identifier),
        origin=row.origin,
    )


def text_with_prompt(row: Row) -> Group:
    """Text pairs whose prompt stands in its own column, as text or as messages."""
    prompt = messages_of(row, "prompt") if is_messages(row.values["prompt"]) else row.text("prompt")
    return pair_of(row, prompt, Response(row.text("chosen")), Response(row.text("rejected")))


def text_without_prompt(row: Row) -> Group | Problem:
    """Text pairs that both start with the prompt: cut after the last line that they share, never inside a line."""
    chosen, rejected = row.text("chosen"), row.text("rejected")
    length = 0
    while length < min(len(chosen), len(rejected)) and chosen[length] == rejected[length]:
        length += 1
    cut = chosen.rfind("\n", 0, length) + 1
    # Two equal texts share everything; their last line is then taken for the response.
    if cut == len(chosen) or cut == len(rejected):
        cut = chosen.rfind("\n", 0, cut - 1) + 1
    if not chosen[:cut].strip():
        return problem_at(
            row.origin,
            "no prompt",
            "error",
            "there is no prompt column, and chosen and rejected share no first line to cut a prompt from; "
            "name the prompt's column with --columns prompt=NAME",
            lost=True,
        )
    return pair_of(row, chosen[:cut], Response(chosen[cut:]), Response(rejected[cut:]))


def chat_with_prompt(row: Row) -> Group:
    """Chat pairs with a prompt column; turns of the prompt that both sides repeat are taken off them."""
    chosen, rejected = messages_of(row, "chosen"), messages_of(row, "rejected")
    given = row.values["prompt"]
    if is_messages(given):
        prompt = messages_of(row, "prompt")
        if chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    else:
        text = row.text("prompt")
        cut = _shared_turns(chosen, rejected)
        prompt = chosen[:cut] or (Message("user", text),)
        if cut and not any(message.content.strip() == text.strip() for message in prompt):
            raise row.error("`prompt` is not among the turns that `chosen` and `rejected` start with")
        chosen, rejected = chosen[cut:], rejected[cut:]
    return pair_of(row, prompt, response_of(row, chosen), response_of(row, rejected))


def chat_without_prompt(row: Row) -> Group | Problem:
    """Chat pairs whose prompt is the turns that both share."""
    chosen, rejected = messages_of(row, "chosen"), messages_of(row, "rejected")
    cut = _shared_turns(chosen, rejected)
    if cut == 0:
        return problem_at(row.origin, "no prompt", "error", "chosen and rejected share no first turn", lost=True)
    return pair_of(row, chosen[:cut], response_of(row, chosen[cut:]), response_of(row, rejected[cut:]))


def is_text_pair(values: Mapping[str, Any]) -> bool:
    """Whether chosen and rejected are text (or at least no lists)."""
    return not isinstance(values["chosen"], list) and not isinstance(values["rejected"], list)


def is_chat_pair(values: Mapping[str, Any]) -> bool:
    """Whether chosen and rejected are lists of messages."""
    return is_messages(values["chosen"]) and is_messages(values["rejected"])


def _shared_turns(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """How many first turns are equal, leaving each side a turn and the prompt no assistant turn at its end."""
    cut, longest = 0, min(len(chosen), len(rejected)) - 1
    while cut < longest and chosen[cut] == rejected[cut]:
        cut += 1
    while cut and chosen[cut - 1].role == "assistant":
        cut -= 1
    return cut
