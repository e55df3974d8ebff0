"""Chat messages as data sets write them, and where a conversation is cut into prompt and response."""

from __future__ import annotations

from typing import Any

from accord.data.rows import Row, kind_of
from accord.record import Message, Response

_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


def messages_of(row: Row, column: str) -> tuple[Message, ...]:
    """A column that holds a list of messages, as `role`/`content` or as `from`/`value`."""
    messages = tuple(_message(row, f"{column}[{index}]", item) for index, item in enumerate(row.sequence(column)))
    if not messages:
        raise row.error(f"`{column}` is an empty list, messages are expected")
    return messages


def is_messages(value: Any) -> bool:
    """Whether a value looks like a list of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and bool({"role", "from"} & set(value[0]))
    )


def split_conversation(row: Row, messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], Response | None]:
    """Cut a conversation before its first answer; the answers that follow are part of the response.

    An assistant turn that precedes every user turn belongs to the prompt. A conversation without an answer is a bare
    prompt. Turns after the last answer must have been taken off.
    """
    first = next(
        (
            i
            for i, message in enumerate(messages)
            if message.role == "assistant" and i and messages[i - 1].role != "assistant"
        ),
        None,
    )
    if first is None:
        return messages, None
    return messages[:first], response_of(row, messages[first:])


def response_of(row: Row, turns: tuple[Message, ...]) -> Response:
    """One answer of one or several turns; the last is from the assistant."""
    if not turns or turns[-1].role != "assistant":
        role = turns[-1].role if turns else "nobody"
        raise row.error(f"the response ends with a turn of {role!r}, the assistant's is expected")
    return Response(turns[-1].content, context=turns[:-1])


def _message(row: Row, name: str, item: Any) -> Message:
    if not isinstance(item, dict):
        raise row.expected(name, item, "a message with role and content")
    role = item.get("role", item.get("from"))
    content = item.get("content", item.get("value"))
    if not isinstance(role, str):
        raise row.expected(f"{name}.role", role, "text")
    if isinstance(content, list):
        content = _text_of_parts(row, name, content)
    if not isinstance(content, str):
        hint = "; tool calls without text are not supported" if "tool_calls" in item else ""
        raise row.error(f"`{name}.content` is {kind_of(content)}, text is expected{hint}")
    return Message(_ROLES.get(role.lower(), role.lower()), content)


def _text_of_parts(row: Row, name: str, parts: list[Any]) -> str:
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None for part in parts
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise row.error(f"`{name}.content` holds something other than text, Accord trains on text")
    return "".join(text for text in texts if text is not None)
