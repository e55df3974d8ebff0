r"""Perplexity: how well a language model predicts texts.

.. math:: \mathrm{PPL} = \exp\!\left(-\frac{\sum_d \log\pi(d)}{\sum_d T_d}\right)

over the tokens of all texts, so that a long text weighs more than a short one. Tokens differ from model to model;
bits per byte compare models with different tokenizers. A text is read as it stands, behind the beginning-of-sequence
token, in windows where it is longer than the model reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from accord.data.files import is_data_file
from accord.errors import DataError
from accord.evaluate.ask import BYTES, LIKELIHOOD, TOKENS, loglikelihood
from accord.evaluate.suites.sources import files_of, rows_of
from accord.evaluate.task import Task, Values, axis, each
from accord.record import Group, Origin, Response

TEXTS = (".txt", ".md")

Unit = Literal["file", "paragraph", "line"]


def perplexity(data: str, *, column: str = "text", unit: Unit = "file", split: str = "test") -> Task:
    """Perplexity, bits per byte and nats per token of texts.

    Args:
        data: a text file, a directory of them, a file or public data set with a column of text.
        column: where the text stands in rows.
        unit: what of a text file is one text: the whole, a paragraph, or a line.
        split: which split of a data set to read.

    Raises:
        DataError: a text cannot be read, or there are none; names file and line.
    """
    texts = list(_from_texts(data, unit) if _holds_texts(data) else _from_rows(data, column, split))
    if not texts:
        raise DataError("holds no text", path=data)
    return Task(
        "perplexity",
        texts,
        ask=loglikelihood(),
        score=each(_scored),
        axes=[
            axis(
                "perplexity",
                statistic="perplexity",
                columns=("loss", "tokens"),
                higher_is_better=False,
                unit="tokens",
                description="Exponential of the mean loss of a token.",
            ),
            axis(
                "bits per byte",
                statistic="ratio",
                columns=("bits", "bytes"),
                higher_is_better=False,
                unit="bits",
                description="Bits for a byte of text, whatever the tokenizer; 8 is a model that knows nothing.",
            ),
            axis(
                "loss",
                statistic="ratio",
                columns=("loss", "tokens"),
                higher_is_better=False,
                unit="nats per token",
                description="Mean negative log-likelihood of a token.",
            ),
        ],
        notes=("Perplexities of models with different tokenizers cannot be compared; bits per byte can.",),
    )


def _scored(item: Group) -> Values:
    total, tokens, size = ((item.scores(name) or (None,))[0] for name in (LIKELIHOOD, TOKENS, BYTES))
    if total is None or not tokens:
        return {"loss": None, "bits": None}
    return {"loss": -total, "bits": -total / math.log(2), "tokens": tokens, "bytes": size}


def _holds_texts(data: str) -> bool:
    path = Path(data)
    if path.is_dir():
        return not any(is_data_file(file) for file in path.rglob("*"))
    return path.is_file() and not is_data_file(path)


def _from_texts(data: str, unit: Unit) -> Iterator[Group]:
    for path in files_of(data, TEXTS):
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot be read as text ({error})", path=path) from error
        line = 1
        for part in {"file": [content], "paragraph": content.split("\n\n"), "line": content.split("\n")}[unit]:
            if part.strip():
                yield _item(part, Origin(str(path), line))
            line += part.count("\n") + (2 if unit == "paragraph" else 1)


def _from_rows(data: str, column: str, split: str) -> Iterator[Group]:
    for row in rows_of(data, split=split):
        if row.text(column).strip():
            yield _item(row.text(column), row.origin)


def _item(text: str, origin: Origin) -> Group:
    return Group("", (Response(text, finished=False),), origin=origin)
