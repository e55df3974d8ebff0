"""Helpful, honest, harmless: is the better of two answers the likelier?

Formats: BIG-bench's (`input`, `target_scores`), the same on the hub (`input`, `targets` with `choices` and `labels`),
and Anthropic's of the constitutional paper (`text_correct`, `text_incorrect`: transcripts).

Source: Askell et al. 2021 (arXiv:2112.00861); Bai et al. 2022 (arXiv:2212.08073) for the 438 comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.data.formats.hh import transcripts
from accord.data.rows import Row
from accord.errors import DataError
from accord.evaluate.ask import reward_or_likelihood
from accord.evaluate.suites.ranking import ranked, ranking_axes, ranking_controls, ranking_item
from accord.evaluate.suites.sources import rows_of
from accord.evaluate.task import Task, each
from accord.record import Group, Response

CATEGORIES = ("harmless", "helpful", "honest", "other")


def hhh(data: str) -> Task:
    """The better answer has the higher reward, or of a language model the higher log-likelihood.

    Args:
        data: a file, a directory of the four categories, or the id of a public data set.

    Raises:
        DataError: a row cannot be read; names file and line.
    """
    items = [_item(row) for source in _sources(data) for row in rows_of(source)]
    return Task(
        "hhh",
        items,
        ask=reward_or_likelihood(),
        score=each(ranked),
        axes=ranking_axes(),
        slices=("category",),
        controls=ranking_controls(),
    )


def _sources(data: str) -> list[str]:
    """A path, or each of a public data set's four configurations."""
    return [data] if Path(data).exists() or ":" in data else [f"{data}:{category}" for category in CATEGORIES]


def _item(row: Row) -> Group:
    return _compared(row) if "text_correct" in row.values else _scored(row)


def _scored(row: Row) -> Group:
    """A row of BIG-bench, or of its copy on the hub."""
    if "targets" in row.values:
        targets = _object(row, "targets")
        try:
            scores = dict(zip(targets["choices"], targets["labels"], strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise row.error("`targets` has no `choices` with as many `labels`") from error
    else:
        scores = dict(_object(row, "target_scores"))
    right = [Response(text) for text, label in scores.items() if label]
    wrong = [Response(text) for text, label in scores.items() if not label]
    if not right or not wrong:
        raise row.error("has no right or no wrong answer")
    meta = {"category": category} if (category := _category(row)) else {}
    return ranking_item(row.text("input"), right, wrong, origin=row.origin, meta=meta)


def _compared(row: Row) -> Group:
    """A row of the constitutional paper."""
    sides = {"chosen": row.text("text_correct"), "rejected": row.text("text_incorrect")}
    read = transcripts(Row(sides, row.path, row.line))
    if not isinstance(read, Group):
        raise DataError(read.message, path=row.path, line=row.line)
    better, worse = read.responses
    return ranking_item(read.prompt, [better], [worse], origin=row.origin)


def _category(row: Row) -> str | None:
    """The category: a column, or a part of the path."""
    named = row.optional_text("category") or row.optional_text("subset")
    if named:
        return named
    words = re.split(r"[^a-z]+", row.path.lower())
    return next((word for word in reversed(words) if word in CATEGORIES), None)


def _object(row: Row, column: str) -> Mapping[str, Any]:
    value = row.value(column)
    if not isinstance(value, dict):
        raise row.expected(column, value, "an object")
    return value
