"""The flags are an interface: scripts rely on them, so a change has to be meant."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from torch import Tensor

from accord.cli.app import build_app
from accord.cli.flags import NOT_FLAGS, training_command
from accord.cli.train import build_app as build_train
from accord.objectives import OBJECTIVES, Terms
from accord.train.config import TrainConfig

SNAPSHOT = Path(__file__).with_name("flags.txt")


def flags_of(app: App) -> list[str]:
    """The flags and positional arguments of one command, a line each: names, type, default."""
    lines = []
    for argument in app.assemble_argument_collection():
        default = argument.field_info.default
        shown = "" if default in (inspect.Parameter.empty, None, (), False) else f" = {default!r}"
        kind = inspect.formatannotation(argument.hint).replace("typing.", "")
        lines.append(f"  {' '.join(argument.names)}: {kind}{shown}")
    return lines


def commands_of(app: App, name: str) -> Iterator[tuple[str, App]]:
    subcommands = {key: child for key, child in app.resolved_commands().items() if not key.startswith("-")}
    if not subcommands:
        yield name, app
    for key, child in subcommands.items():
        yield from commands_of(build_train() if key == "train" else child, f"{name} {key}")


def test_flags_are_as_recorded() -> None:
    lines: list[str] = []
    for name, app in commands_of(build_app(), "accord"):
        lines += [name, *flags_of(app), ""]
    text = "\n".join(lines)
    assert text == SNAPSHOT.read_text(encoding="utf-8"), (
        f"the flags differ from {SNAPSHOT.name}; if that is meant, write this there:\n{text}"
    )


def test_every_setting_has_a_flag_with_help() -> None:
    parameters = inspect.signature(training_command("dpo", OBJECTIVES["dpo"], lambda name, given: 0)).parameters
    for field in TrainConfig.__struct_fields__:
        if field not in NOT_FLAGS:
            details: Any = parameters[field].annotation.__metadata__[0]
            assert details.help, field


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_hyperparameter_has_help(name: str) -> None:
    for parameter in inspect.signature(training_command(name, OBJECTIVES[name], lambda *_: 0)).parameters.values():
        assert parameter.annotation.__metadata__[0].help, parameter.name


def test_help_lists_every_objective_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    build_train()("--help")
    shown = capsys.readouterr().out
    for name in OBJECTIVES:
        assert f"│ {name} " in shown


def test_a_hyperparameter_may_not_hide_a_setting() -> None:
    def clash(policy: Tensor, mask: Tensor, *, lr: float = 1.0) -> Terms:
        return Terms(loss=-lr * policy, weight=mask)

    with pytest.raises(TypeError, match="lr is a flag of every training"):
        training_command("clash", clash, lambda name, given: 0)
