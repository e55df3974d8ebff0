"""`accord constitution`: revise answers by principles, compare two constitutions, train by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.errors import ConfigError
from accord.train.config import ChatMode, Dtype

if TYPE_CHECKING:
    from rich.console import Console

    from accord.recipes.constitution import Cast

Numbers = Annotated[tuple[float, ...], Parameter(consume_multiple=(1, None), negative="", show_default=False)]
"""A flag that takes one or more numbers."""


def revise(
    *,
    data: Several = (),
    out: str | None = None,
    constitution: str = "default",
    answerer: str | None = None,
    critic: Several = (),
    reviser: str | None = None,
    judge: str | None = None,
    template: str = "plain",
    critic_weights: Numbers = (),
    aggregate: Literal["mean", "weighted", "veto"] = "mean",
    form: str | None = None,
    rounds: int = 4,
    choose: Literal["sampled", "worst", "whole"] = "sampled",
    keep: Literal["best", "last"] = "best",
    clean: float = 0.5,
    always: Switch = False,
    tolerance: float | None = None,
    patience: int = 1,
    disagreement: float = 0.5,
    imitate: Literal["kept", "clean"] = "kept",
    temperature: float = 0.7,
    critique_temperature: float = 0.3,
    revision_temperature: float = 0.3,
    max_tokens: int = 512,
    seed: int = 0,
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    parallel: int = 16,
    timeout: float = 600.0,
    retries: int = 5,
    key_env: str | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    cache: str | None = None,
    dtype: Dtype = "fp32",
    device: str | None = None,
    chat: ChatMode = "auto",
    trust_remote_code: Switch = False,
) -> int:
    """Have answers criticised by principles and rewritten: demonstrations, preferences and a full trace.

    Answers of models are kept on disk: a job that was killed goes on where it was.

    Args:
        data: files, directories or hub ids with prompts; without an answerer, their responses are revised.
        out: directory for demonstrations.jsonl, preferences.jsonl, trace.jsonl, review.jsonl and summary.json.
        constitution: default, tidewater, a TOML file of your own, or a JSON file of critique and revision requests.
        answerer: who gives the first answers: a model's directory or hub id, http://host/v1#model, module:function.
        critic: who criticises and scores; one or several.
        reviser: who rewrites; default the first critic.
        judge: take a revision only where this one prefers it in both orders: a model, reward:SPEC or control:NAME.
        template: how a judge is asked: plain, reasoned, written, score, tidewater, or a file of your own.
        critic_weights: a weight for each critic, for --aggregate weighted.
        aggregate: of several critics' scores: their mean, the weighted mean, or the least.
        form: how critics and reviser are asked: plain, turns, tidewater, or a file; default the constitution's.
        rounds: of critique and revision at most.
        choose: the principle of a round: drawn by weight, the one that is broken most, or all at once.
        keep: of an answer and its revisions, what the critics score best or what was taken last.
        clean: leave an answer alone whose score reaches this by every principle.
        always: revise on, however clean an answer is.
        tolerance: smallest gain in score that counts; without it no answer is left alone for want of gain.
        patience: rounds in a row without such a gain after which an answer is left alone.
        disagreement: difference between two critics by one principle from which a person should look.
        imitate: write every kept answer as a demonstration, or only those that keep every principle by the critics.
        temperature: of first answers.
        critique_temperature: of critiques.
        revision_temperature: of revisions.
        max_tokens: longest answer, critique or revision.
        seed: of the draws of principles and of the sampling.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        split: which split of a data set to read.
        limit: revise only for the first so many prompts.
        parallel: requests to a server under way at a time.
        timeout: seconds without a byte of a server's answer.
        retries: attempts after one that failed.
        key_env: environment variable with the key that a server wants.
        price_in: price of a million tokens read, to show the cost.
        price_out: price of a million tokens written.
        cache: SQLite file of models' answers; default in Accord's cache directory.
        dtype: compute precision of a model in this process.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
        trust_remote_code: run code that comes with the model. Off unless you trust its author.
    """
    _require({"--data": data, "--out": out, "--critic": critic})
    if limit is not None and limit < 1:
        raise ConfigError("must be 1 or more", where="--limit")
    if always and (clean != 0.5):
        raise ConfigError("cannot be combined with --always", where="--clean", mend="Leave one of them out.")
    from accord.chat.spec import Opening
    from accord.data import read
    from accord.feedback.constitution import Rules, load_constitution, load_form
    from accord.recipes.constitution import Cast, revise_groups, summary_of, write_revised
    from accord.recipes.constitution_table import render

    principles = load_constitution(constitution)
    rules = Rules(
        rounds=rounds,
        choose=choose,
        keep=keep,
        aggregate=aggregate,
        clean=None if always else clean,
        tolerance=tolerance,
        patience=patience,
        disagreement=disagreement,
        answer_temperature=temperature,
        critique_temperature=critique_temperature,
        revision_temperature=revision_temperature,
        max_tokens=max_tokens,
        seed=seed,
    )
    asked = load_form(form or principles.form)
    cast = Cast(
        Opening(dtype, device, chat, trust_remote_code, parallel, timeout, retries, key_env),
        None if cache is None else Path(cache),
    )
    screen = console()
    revised = revise_groups(
        read(data, columns=columns, split=split).groups[:limit],
        constitution=principles,
        cast=cast,
        critics=critic,
        reviser=reviser or critic[0],
        answerer=answerer,
        judge=judge,
        weights=critic_weights,
        template=template,
        form=asked,
        rules=rules,
        cost=lambda: cast.cost(price_in, price_out),
        console=screen,
    )
    for part in render(summary_of(revised, principles)):
        screen.print(part, soft_wrap=True)
    _spent(cast, screen, cast.cost(price_in, price_out))
    assert out is not None
    for path, what in write_revised(out, revised, principles, imitate=imitate):
        screen.print(f"{what}: {path}", soft_wrap=True)
    return 0


def _spent(cast: Cast, screen: Console, cost: float | None) -> None:
    (asked, known), (read, written) = cast.requests, cast.tokens
    said = "" if cost is None else f", cost {cost:.2f}"
    screen.print(f"{asked:,} asked, {known:,} known; {read:,} tokens read, {written:,} written{said}", soft_wrap=True)


def _require(given: dict[str, object]) -> None:
    for flag, value in given.items():
        if not value:
            mends = {"--data": "Name a file of prompts.", "--out": "Say where to write."}
            raise ConfigError("required, and not given", where=flag, mend=mends.get(flag, "Name a model or a server."))
