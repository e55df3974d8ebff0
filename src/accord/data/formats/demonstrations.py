"""Single responses: prompt/completion with or without label, conversations, Alpaca and Dolly instructions."""

from __future__ import annotations

from collections.abc import Callable

from accord.data.formats.chat import is_messages, messages_of, response_of, split_conversation
from accord.data.problems import Problem, problem_at
from accord.data.rows import Row
from accord.record import Feedback, Group, Message, Prompt, Response


def prompt_of(row: Row, column: str = "prompt") -> Prompt:
    """A prompt written as text or as messages."""
    return messages_of(row, column) if is_messages(row.value(column)) else row.text(column)


def labelled(column: str) -> Callable[[Row], Group]:
    """Reads prompt, a completion in `column`, and whether it is desirable."""

    def read(row: Row) -> Group:
        feedback = Feedback("dataset", labels=(row.truth("label"),))
        return Group(prompt_of(row), (_response(row, column),), (feedback,), origin=row.origin)

    return read


def completed(column: str) -> Callable[[Row], Group]:
    """Reads prompt and a completion in `column`, with a `score` or `reward` where the row has one."""

    def read(row: Row) -> Group:
        value = row.number("score") if "score" in row.values else row.number("reward")
        feedback = () if value is None else (Feedback("dataset", scores={"overall": (value,)}),)
        return Group(prompt_of(row), (_response(row, column),), feedback, origin=row.origin)

    return read


def conversation(column: str) -> Callable[[Row], Group | Problem]:
    """Reads a conversation; every answer of the assistant is trained, turns after the last answer are left out."""

    def read(row: Row) -> Group | Problem:
        messages = messages_of(row, column)
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        if not answers:
            return Group(messages, origin=row.origin)
        prompt, response = split_conversation(row, messages[: answers[-1] + 1])
        if response is None:
            return problem_at(
                row.origin, "no prompt", "error", "the conversation has no turn before the assistant's", lost=True
            )
        identifier = row.values.get("id")
        return Group(prompt, (response,), id=None if identifier is None else str(identifier), origin=row.origin)

    return read


def alpaca(row: Row) -> Group:
    """An instruction with its input below it, as one turn of the user."""
    return _instruction(row, row.optional_text("input"), row.text("output"))


def dolly(row: Row) -> Group:
    """An instruction with its context below it, as one turn of the user."""
    return _instruction(row, row.optional_text("context"), row.text("response"))


def alpaca_in_template(row: Row) -> Group:
    """An instruction in the plain-text template `### Instruction: / ### Input: / ### Response:`."""
    return _templated(row, "Input", row.optional_text("input"), row.text("output"))


def dolly_in_template(row: Row) -> Group:
    """An instruction in the plain-text template `### Instruction: / ### Context: / ### Response:`."""
    return _templated(row, "Context", row.optional_text("context"), row.text("response"))


def _instruction(row: Row, context: str, answer: str) -> Group:
    instruction = row.text("instruction")
    content = f"{instruction}\n\n{context}" if context.strip() else instruction
    return _demonstration(row, (Message("user", content),), answer)


def _templated(row: Row, title: str, context: str, answer: str) -> Group:
    block = f"### {title}:\n{context}\n\n" if context.strip() else ""
    return _demonstration(row, f"### Instruction:\n{row.text('instruction')}\n\n{block}### Response:\n", answer)


def _demonstration(row: Row, prompt: Prompt, answer: str) -> Group:
    category = row.values.get("category")
    meta = {"category": category} if isinstance(category, str) else {}
    return Group(prompt, (Response(answer),), origin=row.origin, meta=meta)


def _response(row: Row, column: str) -> Response:
    if is_messages(row.value(column)):
        return response_of(row, messages_of(row, column))
    return Response(row.text(column))
