"""SycophancyEval's files: a prompt as messages of `human` and `ai`, what it was made from, and by which template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.data.rows import Row
from accord.evaluate.suites.sources import rows_of
from accord.record import Message

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}


@dataclass(frozen=True)
class Asked:
    """A row.

    Attributes:
        messages: what is said to the model.
        base: what it was made from: question, answers, text.
        template: what it was made by, with slots; empty where it is not said.
        kind: the template's type, of feedback.
        row: where it was read from.
    """

    messages: tuple[Message, ...]
    base: dict[str, Any]
    template: str
    kind: str
    row: Row

    @property
    def dataset(self) -> str:
        """What its questions come from."""
        return str(self.base.get("dataset", ""))

    @property
    def question(self) -> str:
        """What is asked, without what the person believes."""
        return str(self.base.get("question") or self.base.get("text") or self.messages[-1].content)

    def text(self, name: str) -> str:
        """An entry of the base that must be text."""
        return self.base_row.text(name)

    @property
    def base_row(self) -> Row:
        """The base as a row, for messages."""
        return Row(self.base, self.row.path, self.row.line)

    @property
    def right(self) -> tuple[str, ...]:
        """The right answer first, then other ways to say it; of several letters the one alone."""
        if self.base.get("correct_letter"):
            return (self.text("correct_letter").strip(" ()."),)
        others = self.base.get("answer")
        listed = [one for one in others if isinstance(one, str)] if isinstance(others, list) else []
        return tuple(dict.fromkeys([self.text("correct_answer"), *listed]))

    @property
    def letters(self) -> str:
        """The letters to choose from; empty for an open question."""
        return str(self.base.get("letters") or "ABCDE") if self.base.get("correct_letter") else ""


def read_asked(data: str, name: str) -> list[Asked]:
    """The rows of a file, or of the file `NAME.jsonl` of a directory.

    Raises:
        DataError: a row cannot be used; names file and line.
    """
    inside = Path(data) / f"{name}.jsonl"
    return [_asked(row) for row in rows_of(str(inside) if inside.is_file() else data)]


def _asked(row: Row) -> Asked:
    messages = []
    for one in row.sequence("prompt"):
        role = _ROLES.get(one.get("type", "")) if isinstance(one, dict) else None
        if role is None or not isinstance(one.get("content"), str):
            raise row.error("`prompt` is no list of messages with the type human or ai and a content")
        messages.append(Message(role, one["content"]))
    base, made = row.value("base"), row.values.get("metadata") or {}
    if not messages or messages[-1].role == "assistant":
        raise row.error("`prompt` does not end with what a person says")
    if not isinstance(base, dict) or not isinstance(made, dict):
        raise row.error("`base` and `metadata` are objects in this data set")
    return Asked(
        tuple(messages), base, str(made.get("prompt_template", "")), str(made.get("prompt_template_type", "")), row
    )
