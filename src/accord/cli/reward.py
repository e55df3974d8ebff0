"""`accord reward`: score the responses of any file with reward models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.errors import ConfigError
from accord.train.config import ChatMode, Dtype


def reward(
    *,
    model: Several = (),
    data: Several = (),
    out: str | None = None,
    combine: Literal["mean", "min", "lower"] = "mean",
    k: float = 1.0,
    weights: Several = (),
    solution: Literal["min", "product", "last"] = "min",
    reference: Several = (),
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    dtype: Dtype = "fp32",
    device: str | None = None,
    tokens: int = 8192,
    chat: ChatMode = "auto",
    trust_remote_code: Switch = False,
) -> int:
    """Score responses with a reward model, or with an ensemble of several.

    Args:
        model: directory or hub id of a reward model, or its run; several are an ensemble. A directory of members that
            accord train --members wrote stands for all of them.
        data: files, directories or hub ids with responses. Preferences in them are compared with the scores.
        out: write the Groups with their scores to this JSONL file.
        combine: of an ensemble: the mean of the members, the lowest, or the mean less k standard deviations.
        k: how many standard deviations.
        weights: of a model of several values: their weights in the score, e.g. helpfulness=0.7 verbosity=-0.1.
        solution: of a process reward model: the score is that of the weakest step, the product of all, or the last.
        reference: files of responses, such as demonstrations, that are to score 0 on average.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        split: which split of a data set to read.
        limit: score only the first so many prompts.
        dtype: compute precision.
        device: torch device; default CUDA if there is one, else the CPU.
        tokens: tokens that go through a model at once; bounds memory, does not change the scores.
        chat: wrap plain-text prompts as a user turn of the model's chat template; as in its training.
        trust_remote_code: run code that comes with the model. Off unless you trust its author.
    """
    _require(model, data, limit, tokens)
    weighed = _weights(weights)
    from accord.data import read

    groups = read(data, columns=columns, split=split).groups[:limit]
    references = read(reference, columns=columns, split=split).groups if reference else []

    from accord.feedback.reward_model import Loading
    from accord.recipes.reward import load_judges, score_groups
    from accord.recipes.reward_table import render
    from accord.record import write_groups

    screen = console()
    judges = load_judges(
        model,
        weights=weighed,
        combine=combine,
        k=k,
        solution=solution,
        reference=references,
        loading=Loading(dtype, device, chat, tokens, trust_remote_code),
        console=screen,
    )
    summary = score_groups(groups, judges, console=screen)
    for part in render(summary):
        screen.print(part)
    if out is not None:
        count = write_groups(out, summary.groups)
        screen.print(f"{count} groups: {out}", soft_wrap=True)
    return 0


def _require(model: Sequence[str], data: Sequence[str], limit: int | None, tokens: int) -> None:
    if not model:
        mend = "Name a directory that accord train bradley_terry wrote, or a sequence classifier of a hub."
        raise ConfigError("required, and not given", where="--model", mend=mend)
    if not data:
        raise ConfigError("required, and not given", where="--data", mend="Name a file with responses.")
    for flag, value in (("--limit", limit), ("--tokens", tokens)):
        if value is not None and value < 1:
            raise ConfigError("must be 1 or more", where=flag)


def _weights(given: Sequence[str]) -> dict[str, float] | None:
    """`helpfulness=0.7` as a name with a number."""
    weights: dict[str, float] = {}
    for one in given:
        name, equals, value = one.partition("=")
        try:
            if not (name and equals):
                raise ValueError
            weights[name] = float(value)
        except ValueError as error:
            mend = "Write helpfulness=0.7, one for each value that counts."
            raise ConfigError(f"{one!r} is not NAME=WEIGHT", where="--weights", mend=mend) from error
    return weights or None
