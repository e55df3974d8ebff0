"""`accord judge`: have responses compared by a model, a reward or a rule, and audit whoever compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from accord.cli.models import Models
from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.errors import ConfigError

_HOW = Models()


def judge(
    *,
    judge: str | None = None,
    data: Several = (),
    out: str | None = None,
    template: str = "plain",
    principles: str | None = None,
    hard: Switch = False,
    inconsistent: Literal["keep", "drop"] = "keep",
    keep: Switch = False,
    audit: Switch = False,
    own: str | None = None,
    calibrate: Several = (),
    temperature: float = 1.0,
    pairs: int | None = None,
    name: str | None = None,
    seed: int = 0,
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    how: Models = _HOW,
) -> int:
    """Have the responses to each prompt compared, and say how far whoever compares can be believed.

    Answers are kept on disk: a job that was killed goes on where it was.

    Args:
        judge: who compares: a model's directory or hub id, http://host/v1#model, module:function, reward:SPEC, or
            control:first, control:longest, control:random.
        data: files, directories or hub ids with two or more responses to each prompt. What they say of the responses
            is the gold of the audit.
        out: write the Groups with the judge's feedback to this JSONL file; the audit goes beside it.
        template: how a model is asked: plain, reasoned, written, score, tidewater, or a file of your own.
        principles: file of principles; the judge is asked by each of them, and its answers are averaged.
        hard: write the likelier side as the winner; without it, probabilities become weights that sum to 1.
        inconsistent: keep or drop pairs whose winner depends on the order.
        keep: keep the feedback that the data have, and that training would learn from as well.
        audit: show the whole audit: the controls, and each principle. Needs no --out.
        own: author (in the responses' meta, under model) whose answers may be the judge's own.
        calibrate: files with preferences, to which the judge's temperature is fitted.
        temperature: what the log-odds of a model's judgements are divided by; above 1 it becomes less sure.
        pairs: pairs of one prompt that are compared at most; all if not given.
        name: what the judge is called in the feedback.
        seed: of the draw of pairs.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        split: which split of a data set to read.
        limit: judge only the first so many prompts.
        how: how a judging model is opened.
    """
    if judge is None:
        raise ConfigError("required, and not given", where="--judge", mend="Name a model, a server or a reward.")
    _require(data, out, audit, {"--pairs": pairs, "--limit": limit})
    from accord.data import read
    from accord.feedback.judge.principles import read_principles
    from accord.feedback.judge.spec import parse_judge
    from accord.recipes.judge import judge_groups, write_judged
    from accord.recipes.judge_table import render

    standards = () if principles is None else read_principles(principles)
    groups = read(data, columns=columns, split=split).groups[:limit]
    labelled = read(calibrate, columns=columns, split=split).groups if calibrate else []
    who, asked = parse_judge(
        judge,
        template=template,
        principles=standards,
        temperature=temperature,
        name=name,
        opening=how.opening(),
        cache=how.kept(),
    )
    screen = console()
    judged = judge_groups(
        groups,
        who,
        labels="hard" if hard else "soft",
        inconsistent=inconsistent,
        keep=keep,
        most_pairs=pairs,
        seed=seed,
        own=own,
        labelled=labelled,
        cost=lambda: None if asked is None else asked.usage.cost(how.prices()),
        console=screen,
    )
    for part in render(judged, whole=audit):
        screen.print(part, soft_wrap=True)
    if asked is not None:
        screen.print(asked.usage.told(how.prices()), soft_wrap=True)
    if out is not None:
        for path, what in write_judged(out, judged):
            screen.print(f"{what}: {path}", soft_wrap=True)
    return 0


def _require(data: Sequence[str], out: str | None, audit: bool, counts: dict[str, int | None]) -> None:
    if not data:
        raise ConfigError("required, and not given", where="--data", mend="Name a file with responses.")
    if out is None and not audit:
        raise ConfigError(
            "neither given", where="--out, --audit", mend="Say where to write, or ask for the audit alone."
        )
    for flag, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError("must be 1 or more", where=flag)
