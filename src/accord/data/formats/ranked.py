"""Several responses to a prompt with a ranking, scores or probabilities; prompts with a known answer; bare prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from accord.data.formats.demonstrations import prompt_of
from accord.data.rows import Row
from accord.record import Feedback, Group, Response
from accord.record.convert import preferences_from_ranking


def is_list_of_text(values: Mapping[str, Any]) -> bool:
    """Whether `responses` is a list of texts rather than Accord's own records."""
    responses = values["responses"]
    return isinstance(responses, str) or (
        isinstance(responses, list) and not any(isinstance(item, dict) for item in responses)
    )


def has_no_answer(values: Mapping[str, Any]) -> bool:
    """Whether a row is a prompt alone, and not a pair or a completion whose other column has an unknown name."""
    return not _ANSWERS & set(values)


_ANSWERS = frozenset(
    {"chosen", "rejected", "completion", "completions", "label", "response", "responses", "response_0", "response_1"}
)


def ranking(row: Row) -> Group:
    """`ranking` lists the responses' indices from best to worst, each once, counted from 0."""
    group = _group(row)
    order = row.sequence("ranking")
    count = len(group.responses)
    if any(isinstance(index, bool) or not isinstance(index, int) for index in order) or sorted(order) != list(
        range(count)
    ):
        raise row.error(
            f"`ranking` is not an order of the {count} responses",
            "List every index from 0 once, best first; for a rank of each response name the column `ranks`.",
        )
    ranks: list[float | None] = [0.0] * count
    for place, index in enumerate(order):
        ranks[index] = place
    return preferences_from_ranking(group, ranks)


def ranks(row: Row) -> Group:
    """`ranks` gives each response its rank, the lowest being best; equal ranks are ties."""
    group = _group(row)
    return preferences_from_ranking(group, _numbers(row, "ranks", len(group.responses)))


def scores(row: Row) -> Group:
    """`scores` gives each response a number, higher being better."""
    group = _group(row)
    values = _numbers(row, "scores", len(group.responses))
    return Group(
        group.prompt, group.responses, (Feedback("dataset", scores={"overall": tuple(values)}),), origin=row.origin
    )


def probabilities(row: Row) -> Group:
    """`probs` gives each response a probability."""
    group = _group(row)
    values = [value for value in _numbers(row, "probs", len(group.responses)) if value is not None]
    if len(values) != len(group.responses) or min(values) < 0 or abs(sum(values) - 1) > 1e-3:
        raise row.error("`probs` is not one probability a response that sum to 1")
    return Group(group.prompt, group.responses, (Feedback("dataset", distribution=tuple(values)),), origin=row.origin)


def verifiable(column: str) -> Callable[[Row], Group]:
    """Reads a prompt whose right answer is in `column`."""

    def read(row: Row) -> Group:
        answer = row.value(column)
        if answer is None or answer == "":
            raise row.error(f"`{column}` is empty, an answer to verify is expected")
        return Group(prompt_of(row), answer=answer, origin=row.origin)

    return read


def bare(row: Row) -> Group:
    """A prompt to sample from."""
    return Group(prompt_of(row), origin=row.origin)


def _group(row: Row) -> Group:
    texts = row.sequence("responses")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise row.expected(f"responses[{index}]", text, "text")
    if not texts:
        raise row.error("`responses` is an empty list")
    return Group(prompt_of(row), tuple(Response(text) for text in texts), origin=row.origin)


def _numbers(row: Row, column: str, count: int) -> list[float | None]:
    values = row.sequence(column)
    if len(values) != count:
        raise row.error(f"`{column}` has {len(values)} entries for {count} responses")
    return [row.as_number(value, f"{column}[{index}]") for index, value in enumerate(values)]
