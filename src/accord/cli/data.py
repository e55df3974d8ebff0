"""`accord data check`: what training would find in a file of feedback, before any training."""

from __future__ import annotations

import sys

import msgspec

from accord.cli.parameters import OneOrMore, Switch
from accord.cli.terminal import console
from accord.data import check as examine
from accord.data import read
from accord.data.show import render
from accord.record import Encoder
from accord.train.config import ChatMode, Overlong, Template


def check(
    *data: OneOrMore,
    model: str | None = None,
    objective: str | None = None,
    columns: str | None = None,
    split: str = "train",
    axis: str | None = None,
    template: Template = "messages",
    max_length: int | None = None,
    overlong: Overlong = "drop",
    chat: ChatMode = "auto",
    json: Switch = False,
    trust_remote_code: Switch = False,
) -> int:
    """Report on data: formats, rows, lengths, duplicates, length bias, and every problem with its file and line.

    Args:
        data: files, directories, saved data sets or hub ids.
        model: directory or hub id of the model to train: lengths in tokens, what its context would drop or cut, its
            chat template, and an example with its trained tokens in colour.
        objective: report on what this objective could use.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question,chosen=good.
        split: which split of a data set to read.
        axis: with an objective, which of several kinds of preference it would learn, e.g. helpfulness or safety.
        template: how Alpaca's and Dolly's instructions are put: as chat messages, or as plain text.
        max_length: longest prompt plus response in tokens; with a model, default its own limit, at most 4096.
        overlong: whether a longer row is dropped or its response cut.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
        json: print the report as JSON.
        trust_remote_code: run code that comes with the model's tokenizer. Off unless you trust its author.
    """
    dataset = read(data, columns=columns, split=split, template=template)
    encoder, limit = _encoder(model, chat, trust_remote_code)
    report = examine(
        dataset,
        needs=_needs(objective),
        axis=axis,
        encoder=encoder,
        max_length=max_length or limit,
        overlong=overlong,
    )
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        console().print(render(report))
    return 0


def _encoder(model: str | None, chat: ChatMode, trust_remote_code: bool) -> tuple[Encoder | None, int | None]:
    """The model's renderer and the longest row that training would take by default."""
    if model is None:
        return None, None
    from accord.policy.load import load_renderer
    from accord.train.prepare import MAX_LENGTH

    renderer, positions = load_renderer(model, chat=chat, trust_remote_code=trust_remote_code)
    return renderer, min(positions or MAX_LENGTH, MAX_LENGTH)


def _needs(objective: str | None) -> tuple[str, ...] | None:
    if objective is None:
        return None
    from accord.objectives import resolve, signature_of

    return signature_of(resolve(objective)).needs
