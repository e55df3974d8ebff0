r"""Calibration: is a model as sure of its choices as it is right, and does it know what it does not know?

The options of a question are shown with letters; the model's confidence is the probability of the letter that it finds
likeliest, among the letters shown. Reported are accuracy, the expected calibration error, the Brier score
:math:`\sum_c (p_c - y_c)^2`, and selective answering: the accuracy on the questions that the model is surest of, and
the area under the curve of risk over coverage.

Formats: `question`, `choices`, `answer` (a place from 0, a letter or the text of the option; MMLU and others), and
`question`, `choices` with `text` and `label`, `answerKey` (ARC and others).

Source: Guo et al. 2017 (arXiv:1706.04599); Brier 1950; Geifman and El-Yaniv 2017 (arXiv:1705.08500).
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from accord.data.rows import Row
from accord.evaluate.ask import MASS, choose
from accord.evaluate.controls import constant_answer
from accord.evaluate.perturb import QUESTION
from accord.evaluate.suites.sources import rows_of
from accord.evaluate.task import Task, Values, axis, each
from accord.record import Group, Response

INSTRUCTION = "Answer with the letter of the right option only."
LETTERS = string.ascii_uppercase


def calibration(data: str, *, split: str = "test") -> Task:
    """Accuracy, calibration and selective answering on questions with options.

    Args:
        data: a file, a directory, or the id of a public data set.
        split: which split of a data set to read.

    Raises:
        DataError: a row cannot be read; names file and line.
    """
    right, sure = "right", ("confidence", "right")
    return Task(
        "calibration",
        [_item(row) for row in rows_of(data, split=split)],
        ask=choose(),
        score=each(calibrated),
        axes=[
            axis("accuracy", columns=(right,), description="The likeliest option is the right one."),
            axis(
                "ece",
                statistic="ece",
                columns=sure,
                higher_is_better=False,
                description="Mean distance of confidence and accuracy over ten bins of confidence.",
            ),
            axis(
                "brier",
                higher_is_better=False,
                unit="points",
                description="Squared distance of the probabilities from the truth, 0 to 2.",
            ),
            axis("confidence", higher_is_better=None, description="Mean probability of the likeliest option."),
            axis(
                "aurc",
                statistic="aurc",
                columns=sure,
                higher_is_better=False,
                description="Mean share of wrong answers over all coverages, the surest answered first.",
            ),
            axis("accuracy at 80%", statistic="accuracy at 80%", columns=sure, description="Of the surest 80%."),
            axis("accuracy at 50%", statistic="accuracy at 50%", columns=sure, description="Of the surest half."),
            axis(
                "mass",
                higher_is_better=None,
                description="Probability that the answer begins with any option; small if nothing was understood.",
            ),
            axis("no choice", higher_is_better=False, description="The answer began with no option."),
        ],
        slices=("subject",),
        controls=[constant_answer("A")],
    )


def calibrated(item: Group) -> Values:
    """Of an item whose `answer` is the place of the right option. An answer that is no option is wrong."""
    probabilities = item.distribution()
    if probabilities is None:
        return {"right": 0.0, "confidence": None, "brier": None, "no choice": 1.0, "mass": None}
    highest = max(probabilities)
    top = [place for place, probability in enumerate(probabilities) if probability == highest]
    truth = [float(place == item.answer) for place in range(len(probabilities))]
    return {
        "right": float(item.answer in top) / len(top),
        "confidence": highest,
        "brier": sum((p - y) ** 2 for p, y in zip(probabilities, truth, strict=True)),
        "no choice": 0.0,
        "mass": next((one.meta.get(MASS) for one in item.feedback if one.distribution is not None), None),
    }


def _item(row: Row) -> Group:
    given = row.value("choices")
    if isinstance(given, Mapping):
        options, labels = [str(text) for text in given.get("text", ())], [str(one) for one in given.get("label", ())]
    else:
        options = [str(text) for text in row.sequence("choices")]
        labels = list(LETTERS[: len(options)])
    if not 2 <= len(options) <= len(LETTERS) or len(labels) != len(options):
        raise row.error(f"`choices` has {len(options)} options and {len(labels)} labels")
    answer = _place(row, options, labels)
    letters = LETTERS[: len(options)]
    shown = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
    subject = row.optional_text("subject") or row.optional_text("category")
    return Group(
        f"{row.text('question')}\n{shown}\n{INSTRUCTION}",
        tuple(Response(letter, finished=False) for letter in letters),
        answer=answer,
        origin=row.origin,
        meta={QUESTION: row.text("question"), **({"subject": subject} if subject else {})},
    )


def _place(row: Row, options: Sequence[str], labels: Sequence[str]) -> int:
    """The place of the right option: given as itself, as a label, or as the option's text."""
    column = "answerKey" if "answerKey" in row.values else "answer"
    given: Any = row.value(column)
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(options):
        return given
    for known in (labels, options):
        if given in known:
            return list(known).index(given)
    raise row.error(f"`{column}` is {given!r}, which is no option", "Write its place from 0, its letter or its text.")
