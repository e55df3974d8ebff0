"""`accord values`: what people's choices go by, and models between several values."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.errors import ConfigError
from accord.feedback.score import Missing
from accord.train.config import ChatMode, Dtype


def fit(
    *,
    data: Several = (),
    reward: Several = (),
    out: str | None = None,
    weights: Literal["free", "positive", "shares"] = "free",
    ridge: float = 0.1,
    folds: int = 5,
    resamples: int = 300,
    seed: int = 0,
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    missing: Missing = "stop",
) -> int:
    """Learn what several values weigh in choices between responses, for all annotators and for each group of them.

    Args:
        data: files, directories or hub ids with preferences.
        reward: what gives each value, e.g. model:DIR,value=helpful, given:kind, length_penalty, module:function.
        out: write the weights to this JSON file; --reward values:FILE then scores by them wherever a reward is taken.
        weights: any (free), at least 0 (positive), or at least 0 and parts of 1 (shares).
        ridge: price of a squared weight, for values of typical difference 1; keeps weights finite.
        folds: parts that the prompts are divided into, to foretell the choices of each by the others.
        resamples: how often prompts are drawn anew for intervals.
        seed: of folds and draws.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question,chosen=good.
        split: which split of a data set to read.
        limit: learn only from the first so many prompts.
        missing: what becomes of a reward that raises or returns a number that is not finite: stop, or record the score
            as missing.
    """
    _require(data, reward, {"--limit": limit})
    from accord.data import read
    from accord.feedback.values import save_values
    from accord.recipes.value_fit import fit_values
    from accord.recipes.value_table import render

    groups = read(data, columns=columns, split=split).groups[:limit]
    fitted = fit_values(
        groups, reward, kind=weights, ridge=ridge, folds=folds, resamples=resamples, missing=missing, seed=seed
    )
    screen = console()
    for part in render(fitted):
        screen.print(part, soft_wrap=True)
    if out is not None:
        save_values(out, fitted.learned)
        screen.print(f"weights: {out} (--reward values:{out})", soft_wrap=True)
    return 0


def front(
    *model: str,
    data: Several = (),
    reward: Several = (),
    out: str,
    soups: int = 0,
    reference: Several = (),
    floors: Several = (),
    n: int = 1,
    temperature: float = 0.7,
    max_tokens: int = 128,
    seed: int = 0,
    columns: str | None = None,
    limit: int | None = None,
    dtype: Dtype = "fp32",
    device: str | None = None,
    chat: ChatMode = "auto",
    trust_remote_code: Switch = False,
) -> int:
    """Have models answer prompts, score them on several values, and draw the front, perhaps with their soups.

    Args:
        model: directories or hub ids; for soups, fine-tuned from one start, say one for each value.
        data: files, directories or hub ids whose prompts to answer.
        reward: what gives each value, two or more.
        out: the Markdown page; the drawing (SVG) and the scores (JSON) go beside it.
        soups: average the models' weights with all shares that are multiples of 1 over this; 0 makes no soups.
        reference: the point from which the dominated volume is measured, e.g. helpful=0 brief=-20; default a tenth of
            the models' span below the lowest mean of any.
        floors: what values must reach, e.g. harmless=0.9: the best model on each other value is then named.
        n: answers a prompt.
        temperature: divides the logits; 0 takes the most likely token.
        max_tokens: longest answer in tokens.
        seed: the same seed draws the same answers.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        limit: answer only the first so many prompts.
        dtype: compute precision.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
        trust_remote_code: run code that comes with the models. Off unless you trust their authors.
    """
    _require(data, reward, {"--limit": limit, "--n": n})
    if not model:
        raise ConfigError("there is no model", where="accord values front", mend="Name one or more directories.")
    if not out.endswith(".md"):
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    if soups < 0:
        raise ConfigError(f"{soups} is out of range", where="--soups", mend="Give at least 0.")
    points, limits = numbers_by_name(reference, "--reference"), numbers_by_name(floors, "--floors")
    from accord.data import read
    from accord.feedback.spec import parse
    from accord.policy.load import load_policy
    from accord.policy.sample import Sampling
    from accord.recipes.value_front import measure_front
    from accord.recipes.value_front_page import write_front

    parts = parse(reward)
    for flag, named in (("--reference", points), ("--floors", limits)):
        _require_known(flag, named, [part.name for part in parts])
    screen = console()
    found = measure_front(
        model,
        read(data, columns=columns).groups[:limit],
        parts,
        parts=soups,
        reference=points,
        n=n,
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed),
        load=lambda one: load_policy(one, dtype=dtype, device=device, chat=chat, trust_remote_code=trust_remote_code),
        console=screen,
    )
    mixed = ["--soups", str(soups)] if soups else []
    words = ["accord", "values", "front", *model, "--data", *data, "--reward", *reward, *mixed, "--out", out]
    write_front(out, found, command=shlex.join(words), floors=limits)
    for how, name in found.chosen().items():
        screen.print(f"{how}: {name}", soft_wrap=True)
    screen.print(f"front: {out}", soft_wrap=True)
    return 0


def numbers_by_name(given: Sequence[str], flag: str) -> dict[str, float]:
    """`name=number` by name.

    Raises:
        ConfigError: one is something else.
    """
    found: dict[str, float] = {}
    for one in given:
        name, _, number = one.partition("=")
        try:
            found[name] = float(number)
        except ValueError as error:
            mend = f"Write a value's name and a number, as in {flag} helpful=0.5."
            raise ConfigError(f"{one!r} is not understood", where=flag, mend=mend) from error
    return found


def _require_known(flag: str, named: Iterable[str], values: Sequence[str]) -> None:
    for name in named:
        if name not in values:
            raise ConfigError(f"no value is called {name!r}", where=flag, mend=f"There are {', '.join(values)}.")


def _require(data: Sequence[str], reward: Sequence[str], counts: dict[str, int | None]) -> None:
    for flag, given in (("--data", data), ("--reward", reward)):
        if not given:
            mend = "Name a file." if flag == "--data" else "accord verify --list shows the rewards."
            raise ConfigError("required, and not given", where=flag, mend=mend)
    for flag, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError("must be 1 or more", where=flag)
