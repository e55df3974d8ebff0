"""The flags are an interface: scripts rely on them, so a change has to be meant."""

from __future__ import annotations

import inspect
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
        if argument.names == ("*",):  # flags that commands share, which follow one by one
            continue
        default = argument.field_info.default
        unset = default is inspect.Parameter.empty or default is None or default is False or default == ()
        kind = inspect.formatannotation(argument.hint).replace("typing.", "")
        lines.append(f"  {' '.join(argument.names)}: {kind}{'' if unset else f' = {default!r}'}")
    return lines


def commands_of(app: App, name: str) -> dict[str, list[str]]:
    """The flags of every command below `app`."""
    subcommands = {key: child for key, child in app.resolved_commands().items() if not key.startswith("-")}
    if not subcommands:
        return {name: flags_of(app)}
    below: dict[str, list[str]] = {}
    for key, child in subcommands.items():
        below |= training_commands() if key == "train" else commands_of(child, f"{name} {key}")
    return below


def training_commands() -> dict[str, list[str]]:
    """Each objective's own flags, and once those they all share."""
    each = commands_of(build_train(), "accord train")
    shared = [flag for flag in each["accord train dpo"] if all(flag in flags for flags in each.values())]
    own = {name: [flag for flag in flags if flag not in shared] for name, flags in each.items()}
    return {"accord train OBJECTIVE": shared, **own}


def test_flags_are_as_recorded(tmp_path: Path) -> None:
    flags = commands_of(build_app(), "accord")
    text = "\n".join("\n".join([name, *lines, ""]) for name, lines in flags.items())
    new = tmp_path / SNAPSHOT.name
    new.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8"), f"if the change is meant: cp {new} {SNAPSHOT}"


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
