"""`accord evaluate`: put suites to a model, with intervals and degenerate models beside it."""

from __future__ import annotations

from pathlib import Path

from accord.cli.models import Models
from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.errors import ConfigError

_HOW = Models()


def evaluate(
    *,
    model: str | None = None,
    suite: Several = (),
    data: str | None = None,
    out: str | None = None,
    judge: str | None = None,
    reference: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    list_: Switch = False,
    how: Models = _HOW,
) -> int:
    """Measure a model on suites: every number with its 95% interval, beside what degenerate models get.

    Answers are kept on disk: a job that was killed goes on where it was. Compare the measurements of several models
    with accord compare.

    Args:
        model: a model's directory or hub id (a language model or a reward model), http://host/v1#model,
            module:function, or reward:SPEC.
        suite: suites by name, with options as in perplexity:unit=line; or tasks of yours as module:function or
            file.py:function. --list shows them.
        data: file or directory of the suite's data; of several suites, a directory in which each finds its own by its
            name. Without it, they are looked for in $ACCORD_DATA and in the local cache of public data sets.
        out: directory of the measurements, one a suite.
        judge: who scores answers, for suites that need a judge: named as a model is.
        reference: what a policy was trained from: its implicit rewards are then measured where a suite takes rewards.
        limit: measure at most so many items of each suite, drawn at random by whole clusters.
        seed: of that draw.
        list_: show the suites, what they need and what they read.
        how: how the model and the judge are opened.
    """
    from accord.recipes.evaluate_table import render, suites_list

    screen = console()
    if list_:
        for part in suites_list():
            screen.print(part)
        return 0
    if model is None:
        raise ConfigError("required, and not given", where="--model", mend="Name a model, a server or a reward.")
    if not suite:
        raise ConfigError("required, and not given", where="--suite", mend="accord evaluate --list shows the suites.")
    from accord.chat.cached import CachedChat
    from accord.evaluate.subjects import open_subject
    from accord.recipes.evaluate import evaluate as measured
    from accord.recipes.evaluate import open_judge, tasks_of
    from accord.record.measurement import Measurement

    opening, kept = how.opening(), how.kept()
    scorer = None if judge is None else open_judge(judge, opening=opening, cache=kept)
    tasks = tasks_of(suite, data=data, judge=scorer, limit=limit, seed=seed)
    subject = open_subject(model, opening=opening, reference=reference, cache=kept)

    def show(found: Measurement, path: Path | None) -> None:
        for part in render(found):
            screen.print(part, soft_wrap=True)
        if path is not None:
            screen.print(f"measurement: {path}", soft_wrap=True)

    measured(tasks, subject, out=out, console=screen, done=show)
    for who, asked in (("model", subject.chat), ("judge", scorer)):
        if isinstance(asked, CachedChat) and asked.asked + asked.known:
            screen.print(f"{who}: {asked.usage.told(how.prices())}", soft_wrap=True)
    return 0
