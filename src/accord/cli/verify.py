"""`accord verify`: score the responses of a file with verifiers and other rewards."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from accord.cli.parameters import Several
from accord.cli.terminal import console
from accord.data.show import printable
from accord.errors import ConfigError
from accord.feedback.score import Missing


def verify(
    *,
    data: Several = (),
    reward: Several = (),
    out: str | None = None,
    columns: str | None = None,
    split: str = "train",
    limit: int | None = None,
    missing: Missing = "stop",
    examples: int = 1,
    listing: Annotated[bool, Parameter(name="--list", negative="", show_default=False)] = False,
) -> int:
    """Score responses with verifiers, heuristics, reward models, reward servers or functions of your own.

    Args:
        data: files, directories or hub ids with responses, and the ground truth where a verifier needs it.
        reward: what scores, e.g. numeric:tolerance=0.01, module:function, model:DIR, http://host/score; each may add
            weight=0.5, role=penalty, cost, reject or monitor, threshold=NUMBER, name=NAME.
        out: write the Groups with their scores to this JSONL file.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question,answer=solution.
        split: which split of a data set to read.
        limit: score only the first so many prompts.
        missing: what becomes of a reward that raises or returns a number that is not finite: stop, or record the score
            as missing.
        examples: how many of the lowest and of the highest scored responses of each reward to show.
        listing: show the rewards that are called by name, with their options, and score nothing.
    """
    if listing:
        return _show_rewards()
    for flag, given in (("--data", data), ("--reward", reward)):
        if not given:
            mend = "Name a file with responses." if flag == "--data" else "accord verify --list shows the rewards."
            raise ConfigError("required, and not given", where=flag, mend=mend)
    if examples < 0 or (limit is not None and limit < 1):
        raise ConfigError("must be 1 or more", where="--examples" if examples < 0 else "--limit")
    from accord.data import read
    from accord.feedback.spec import parse
    from accord.recipes import verify as recipe
    from accord.record import write_groups

    parts = parse(reward)
    screen = console()
    groups = read(data, columns=columns, split=split).groups[:limit]
    scored = recipe.verify(groups, parts, missing=missing, console=screen)
    screen.print(recipe.render(scored, parts))
    for remark in recipe.remarks(scored):
        screen.print(printable(f"Note: {remark}", style="yellow"), soft_wrap=True)
    for example in recipe.examples(scored, count=examples):
        screen.print(example, soft_wrap=True)
    if out is not None:
        count = write_groups(out, scored.groups)
        screen.print(f"{count} groups: {out}", soft_wrap=True)
    return 0


def _show_rewards() -> int:
    from accord.feedback.spec import options_by_name

    screen = console()
    for name, (sentence, options) in options_by_name().items():
        screen.print(Text.assemble((name, "bold"), ": ", sentence.replace("`", "")), soft_wrap=True)
        for option in options:
            default = "required" if option.required else f"default {option.default!r}"
            screen.print(Text(f"    {option.name} ({default}): {option.help}", style="dim"), soft_wrap=True)
    screen.print(
        "model:DIR: A reward model.\n"
        "permissible:DIR: A learned constraint, from 0 (forbidden) to 1.\n"
        "values:FILE: Several values, by the weights that accord values fit learned from choices.\n"
        "http://HOST/PATH: A reward server.\n"
        "module:function: A function of yours, whose parameters say what it needs.\n"
        "Every reward takes weight=NUMBER, role=reward, penalty, cost, reject or monitor, and name=NAME.\n"
        "threshold=NUMBER makes a constraint of it: its score is by how much a response falls short.",
        soft_wrap=True,
    )
    return 0
