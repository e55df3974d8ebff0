"""`accord compare`: is one model better than another?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from accord.cli.models import Models
from accord.cli.parameters import OneOrMore, Several
from accord.cli.terminal import console
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.chat.types import Progress
    from accord.evaluate.gate import Conditions
    from accord.feedback.judge.pair import PairJudge
    from accord.recipes.compare import Source

_HOW = Models()


def compare(
    *models: OneOrMore,
    out: str | None = None,
    names: Several = (),
    primary: Several = (),
    despite: Several = (),
    require: Several = (),
    guard: Several = (),
    gate: str | None = None,
    plan: float | None = None,
    power: float = 0.8,
    judge: str | None = None,
    template: str = "plain",
    principles: str | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    how: Models = _HOW,
) -> int:
    """Say whether models are better or worse than the first, by axis and slice, over the same items: one page.

    With conditions (--require, --guard, --gate) the exit code is 0 if the last model may replace the first, else 1.

    Args:
        models: directories that accord evaluate wrote (or runs that hold them), the old model first; or data with
            answers, a file a model, or one file whose answers say in their meta, under model, whose they are.
        out: the HTML file, or a directory for it; default compare.html beside the first.
        names: what the models are called, in order; default the names of directories or files.
        primary: axes that the verdict rests on, as AXIS or TASK/AXIS; default the first of each task.
        despite: settings that may differ between the evaluations, by name; the page tells them.
        require: gate: axes that must gain, as AXIS, or by more than a margin, as AXIS:MARGIN.
        guard: gate: axes that must not lose more than a tolerance, as AXIS:TOLERANCE.
        gate: TOML file with the same under [require] and [guard].
        plan: instead of a page, say how many items would show a difference this large, by the spread of these.
        power: probability with which a plan's difference would be found.
        judge: who compares answers: a model's directory or hub id, http://host/v1#model, module:function, reward:SPEC,
            or control:NAME; without it, the feedback in the files does.
        template: how a judging model is asked: plain, reasoned, written, score, tidewater, or a file of your own.
        principles: file of principles for the judge.
        temperature: what the log-odds of a model's judgements are divided by.
        seed: of the ratings' bootstrap.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        split: which split of a data set to read.
        limit: compare only the first so many prompts of each file.
        how: how a judging model is opened.
    """
    from accord.recipes.compare import compare_sources, page_of, read_sources
    from accord.report.compared import print_comparison, write_comparison

    conditions = _conditions(require, guard, gate)
    sources = read_sources(models, names=names, columns=columns, split=split, limit=limit)
    screen = console()
    if plan is not None:
        return _plan(sources, plan, power=power, primary=primary, despite=despite)
    with _judge(
        judge,
        template=template,
        principles=principles,
        temperature=temperature,
        opening=how.opening(),
        cache=how.kept(),
        prices=how.prices(),
        console=screen,
    ) as (who, told):
        compared = compare_sources(
            sources, judge=who, primary=primary, despite=despite, conditions=conditions, seed=seed, progress=told
        )
    files = write_comparison(compared, page_of(sources, out))
    print_comparison(compared, screen)
    screen.print(f"page: {files.html}", soft_wrap=True)
    return 0 if compared.gate is None or compared.gate.accept else 1


def _judge(spec: str | None, **settings: Any) -> AbstractContextManager[tuple[PairJudge | None, Progress | None]]:
    """Whoever compares; torch is loaded for a judge only."""
    if spec is None:
        return nullcontext((None, None))
    from accord.recipes.judging import open_judge

    return open_judge(spec, **settings)


def _plan(
    sources: Sequence[Source], effect: float, *, power: float, primary: Sequence[str], despite: Sequence[str]
) -> int:
    from accord.recipes.compare import plan, plan_lines

    for line in plan_lines(plan(sources, effect, power=power, primary=primary, despite=despite)):
        console().print(line, soft_wrap=True)
    return 0


def _conditions(require: Sequence[str], guard: Sequence[str], gate: str | None) -> Conditions | None:
    from accord.evaluate.gate import Conditions, parse_conditions, read_conditions

    given = parse_conditions(require, guard)
    if gate is not None:
        if given != Conditions():
            raise ConfigError("given beside conditions in flags", where="--gate", mend="Give either.")
        return read_conditions(gate)
    return None if given == Conditions() else given
