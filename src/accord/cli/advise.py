"""`accord advise`: which objective fits a file of feedback, and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from accord.cli.parameters import Switch
from accord.cli.terminal import console
from accord.data import read
from accord.train.config import TrainConfig

if TYPE_CHECKING:
    from accord.recipes.method_trial import Trial


def advise(
    *,
    data: Annotated[tuple[str, ...], Parameter(consume_multiple=(1, None), negative="")],
    model: str | None = None,
    memory: str | None = None,
    columns: str | None = None,
    split: str = "train",
    json: Switch = False,
    methods: Annotated[tuple[str, ...], Parameter(name="--try", consume_multiple=(1, None), negative="")] = (),
    trials: int = 12,
    trial_steps: int = 30,
    trial_lr: float | None = None,
) -> int:
    """Look at what feedback data holds, and say which objective fits it, why, and with which command.

    Args:
        data: files, directories or hub ids.
        model: directory or hub id of the model to train, for the commands.
        memory: of the machine, e.g. 24GB: with a model, settings with which its training fits.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question,chosen=good.
        split: which split of a data set to read.
        json: print counts and advice as JSON.
        methods: objectives to try on the preferences in the data: each is trained briefly, those that do well more
            often (UCB1).
        trials: how many such trainings in all.
        trial_steps: optimiser steps of each.
        trial_lr: their peak learning rate; default that of the training.
    """
    from accord.errors import ConfigError
    from accord.recipes.advise import advise as advice_on
    from accord.recipes.evidence import gather

    if memory is not None and model is None:
        mend = "Add --model: what fits depends on it."
        raise ConfigError("says nothing without a model", where="--memory", mend=mend)
    if methods and model is None:
        raise ConfigError("needs a model to train", where="--try", mend="Add --model.")
    evidence = gather(read(data, columns=columns, split=split))
    flags: tuple[str, ...] = ()
    estimate = None
    if memory is not None and model is not None:
        from accord.recipes.fitting import fitting_flags, parse_memory

        flags, estimate = fitting_flags(model, parse_memory(memory))
    advice = advice_on(evidence, data, model=model or "MODEL", flags=flags)
    tried: list[Trial] = []
    if methods and model is not None:
        from accord.recipes.method_trial import try_methods

        config = TrainConfig(
            objective=methods[0],
            model=model,
            data=data,
            out="",
            columns=columns,
            steps=trial_steps,
            lr=trial_lr,
            holdout=0.2,
        )
        tried = try_methods(methods, config, pulls=trials, console=None if json else console())
    if json:
        found = {"evidence": evidence, "advice": advice, "flags": flags, "tried": tried}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return 0
    screen = console()
    held = Table(title="What the data holds", title_justify="left", show_header=False)
    counts = msgspec.to_builtins(evidence)
    for name, count in counts.items():
        if isinstance(count, int) and count:
            held.add_row(name.replace("_", " "), f"{count:,}")
    screen.print(held)
    for place, choice in enumerate(advice.choices):
        screen.print(f"{'Best fit' if place == 0 else 'Also'}: {choice.objective}, on {choice.groups:,} groups")
        screen.print(f"  {choice.why}", soft_wrap=True)
        for command in choice.commands:
            screen.print(f"  $ {command}", soft_wrap=True)
    if estimate is not None:
        screen.print(f"memory, of micro-batches of {estimate.tokens} tokens: {estimate}", soft_wrap=True)
    for caution in advice.cautions:
        screen.print(f"Beware: {caution}", soft_wrap=True)
    if not advice.choices:
        screen.print("Nothing here can be trained on.")
    if tried:
        from accord.recipes.method_trial import render

        screen.print(render(tried))
    return 0
