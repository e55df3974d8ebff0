"""MT-Bench's files, as FastChat has them: questions of one turn or two, models' answers, and judges' prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from accord.data.rows import Row
from accord.errors import DataError
from accord.evaluate.judging import SHIPPED
from accord.evaluate.suites.sources import rows_of
from accord.feedback.judge.templates import fill
from accord.record import Message

TEMPERATURES: Mapping[str, float] = MappingProxyType(
    {
        "writing": 0.7,
        "roleplay": 0.7,
        "extraction": 0.0,
        "math": 0.0,
        "coding": 0.0,
        "reasoning": 0.0,
        "stem": 0.1,
        "humanities": 0.1,
    }
)
"""Of the sampling, by category."""

OTHER_TEMPERATURE = 0.7
"""Of the sampling of a question of any other category."""

WITH_REFERENCE = ("math", "reasoning", "coding")
"""Categories whose answers are judged beside a right one."""


@dataclass(frozen=True)
class Question:
    """A question of several turns.

    Attributes:
        id: as in the file.
        category: what it is about.
        turns: what the person says, turn by turn.
        temperature: of the sampling.
        reference: right answers, turn by turn; empty where there are none.
        row: where it was read from.
    """

    id: str
    category: str
    turns: tuple[str, ...]
    temperature: float
    reference: tuple[str, ...]
    row: Row


@dataclass(frozen=True)
class JudgePrompt:
    """How a judge is asked.

    Attributes:
        name: as in the file.
        system: a line before it; may be empty.
        template: with slots in braces.
    """

    name: str
    system: str
    template: str

    def messages(self, values: Mapping[str, str]) -> tuple[Message, ...]:
        """The request, with its slots filled."""
        opening = (Message("system", self.system),) if self.system else ()
        return (*opening, Message("user", fill(self.template, values)))


def read_questions(data: str, reference: str | None) -> list[Question]:
    """The questions of `question.jsonl`, with right answers from a file of answers or from their own `reference`.

    Args:
        data: the file, or the directory of a benchmark with `question.jsonl` and `reference_answer/` in it.
        reference: file of answers that are taken for right; default the only one in `reference_answer/`.

    Raises:
        DataError: a row cannot be used; names file and line.
    """
    path = Path(data)
    if path.is_dir():
        path = path / "question.jsonl"
    answers = _reference_answers(path, reference)
    found = []
    for row in rows_of(str(path)):
        name, category, turns = identifier(row), row.text("category"), texts(row, "turns")
        if len(turns) > 2:
            raise row.error(f"`turns` has {len(turns)} turns; judges' prompts have a place for two")
        temperature = row.number("required_temperature")
        found.append(
            Question(
                name,
                category,
                turns,
                TEMPERATURES.get(category, OTHER_TEMPERATURE) if temperature is None else temperature,
                answers.get(name) or (texts(row, "reference") if row.values.get("reference") else ()),
                row,
            )
        )
    return found


def read_answers(path: str) -> dict[str, tuple[str, ...]]:
    """A model's answers by question, turn by turn: the first choice of each row.

    Raises:
        DataError: a row cannot be used; names file and line.
    """
    found = {}
    for row in rows_of(path):
        choices = row.sequence("choices")
        if not choices or not isinstance(choices[0], dict):
            raise row.error("`choices` has no answer")
        found[identifier(row)] = texts(Row(choices[0], row.path, row.line), "turns")
    return found


def read_prompts(path: str | None) -> dict[str, JudgePrompt]:
    """Judges' prompts by name: Accord's own, or the user's from a file like FastChat's `judge_prompts.jsonl`.

    Raises:
        DataError: a row cannot be used; names file and line.
    """
    source = path or str(SHIPPED / "mt_bench.jsonl")
    return {
        row.text("name"): JudgePrompt(row.text("name"), row.optional_text("system_prompt"), row.text("prompt_template"))
        for row in rows_of(source)
    }


def identifier(row: Row) -> str:
    """The question that a row is about: a number or text."""
    value = row.value("question_id")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise row.expected("question_id", value, "a number or text")
    return str(value)


def texts(row: Row, column: str) -> tuple[str, ...]:
    """A column that holds a list of texts, one at least."""
    values = row.sequence(column)
    if not values or not all(isinstance(value, str) for value in values):
        raise row.error(f"`{column}` is not a list of texts")
    return tuple(values)


def _reference_answers(questions: Path, reference: str | None) -> dict[str, tuple[str, ...]]:
    if reference is not None:
        return read_answers(reference)
    directory = questions.parent / "reference_answer"
    found = sorted(directory.glob("*.jsonl")) if directory.is_dir() else []
    if len(found) > 1:
        mend = f"Name one with the option reference=, such as {found[0]}."
        raise DataError("has the right answers of several models", path=directory, mend=mend)
    return read_answers(str(found[0])) if found else {}
