"""UltraFeedback as published: an instruction and its completions, each rated on several aspects by a judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from accord.data.formats.base import Item
from accord.data.problems import Problem
from accord.data.rows import Row
from accord.errors import DataError
from accord.record import Feedback, Group, Message, Response


def has_rated_completions(values: Mapping[str, Any]) -> bool:
    """Whether `completions` is a list of objects with a response."""
    completions = values["completions"]
    return isinstance(completions, list) and all(isinstance(one, dict) and "response" in one for one in completions)


def read(rows: Iterable[Row]) -> Iterator[Item]:
    """One Group a row: aspects by name, and `overall` from `overall_score`.

    In the published data some overall scores of 1 stand as 10. A 10 beside aspects that average at most 2 of 5 is
    taken for a 1 and reported.
    """
    for row in rows:
        try:
            group, problems = _group(row)
        except DataError as error:
            yield error
            continue
        yield from problems
        yield group


def _group(row: Row) -> tuple[Group, list[Problem]]:
    completions = row.sequence("completions")
    aspects: dict[str, list[float | None]] = {}
    responses: list[Response] = []
    problems: list[Problem] = []
    for index, completion in enumerate(completions):
        name = f"completions[{index}]"
        if not isinstance(completion, dict) or not isinstance(completion.get("response"), str):
            raise row.error(f"`{name}` has no text in `response`")
        ratings = _ratings(row, name, completion)
        overall = row.as_number(completion.get("overall_score"), f"{name}.overall_score")
        meta = {"model": completion["model"]} if isinstance(completion.get("model"), str) else {}
        if overall is not None and overall >= 10 and _is_low(row, name, completion, ratings):
            message = f"`{name}.overall_score` is 10 although its aspects are rated 2 or lower; it is read as 1"
            problems.append(Problem("overall score 10 for 1", "warning", message, row.path, row.line))
            meta["overall_score"] = overall
            overall = 1.0
        responses.append(Response(completion["response"], meta=meta))
        for aspect, value in {**ratings, "overall": overall}.items():
            aspects.setdefault(aspect, [None] * len(completions))[index] = value
    scores = {aspect: tuple(values) for aspect, values in aspects.items() if any(v is not None for v in values)}
    feedback = (Feedback("judge", scores=scores),) if scores else ()
    prompt = (Message("user", row.text("instruction")),)
    return Group(prompt, tuple(responses), feedback, origin=row.origin), problems


def _ratings(row: Row, name: str, completion: dict[str, Any]) -> dict[str, float | None]:
    """The aspects' ratings; `N/A` is missing. An aspect may hold one annotation or a list of one."""
    annotations = completion.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise row.expected(f"{name}.annotations", annotations, "an object")
    ratings: dict[str, float | None] = {}
    for aspect, annotation in annotations.items():
        first = annotation[0] if isinstance(annotation, list) and annotation else annotation
        rating = first.get("Rating") if isinstance(first, dict) else first
        missing = rating is None or str(rating).strip().upper() == "N/A"
        ratings[aspect.replace("-", "_")] = (
            None if missing else row.as_number(rating, f"{name}.annotations.{aspect}.Rating")
        )
    return ratings


def _is_low(row: Row, name: str, completion: dict[str, Any], ratings: dict[str, float | None]) -> bool:
    mean = row.as_number(completion.get("fine-grained_score"), f"{name}.fine-grained_score")
    given = [rating for rating in ratings.values() if rating is not None]
    if mean is None and given:
        mean = sum(given) / len(given)
    return mean is not None and mean <= 2
