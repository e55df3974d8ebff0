"""`accord train OBJECTIVE`: one generated subcommand an objective."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from accord.cli.flags import summary, training_command
from accord.cli.settings import combine, objective_names, read_settings
from accord.cli.terminal import console
from accord.errors import ConfigError
from accord.objectives import OBJECTIVES, Objective, resolve
from accord.objectives.policy_gradient import METHODS
from accord.train.config import TrainConfig

_HELP = """Train a language model on your data: accord train OBJECTIVE --model M --data D --out RUN

accord train OBJECTIVE --help lists the flags of an objective; one of your own is named module:function.

The same command on an unfinished run resumes it, on a finished one it says so.

accord train --config RUN/config.toml takes the settings of a run."""

# What follows `accord train` is parsed by the application that `build_app` makes, `--help` and `--` included.
app = App(name="train", help_flags=(), version_flags=(), end_of_options_delimiter="")


@app.default
def train(*tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]) -> int:
    """Train a language model on your data."""
    tokens = tokens or ("--help",)
    if tokens[0].startswith("-") and tokens[0] not in ("--help", "-h"):
        tokens = (_objective_of_config(tokens), *tokens)
    code: int = build_app(tokens[0])(tokens)
    return code


def build_app(first: str = "") -> App:
    """The application that parses what follows `accord train`.

    Args:
        first: the first word, an objective's name unless it is a flag; a user's own becomes a command like the others.

    Raises:
        ConfigError: no objective has that name.
    """
    application = App(
        name="accord train",
        help=_HELP,
        help_format="plaintext",
        version_flags=(),
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    objectives: dict[str, Objective] = {**OBJECTIVES, **METHODS}
    if first and not first.startswith("-"):
        objectives[first] = resolve(first)
    for place, (name, objective) in enumerate(objectives.items()):
        command = training_command(name, objective, _run)
        application.command(command, name=name, help=summary(objective), sort_key=place)
    return application


def _objective_of_config(tokens: tuple[str, ...]) -> str:
    """The objective that the file of `--config` names, for a command that names none."""
    for index, token in enumerate(tokens):
        flag, _, value = token.partition("=")
        if flag == "--config":
            path = value or next(iter(tokens[index + 1 :]), "")
            settings = read_settings(path)
            if "objective" in settings:
                return str(settings["objective"])
            mend = "Add objective to the file, or name one: accord train dpo --config FILE."
            raise ConfigError("names no objective", where=f"--config {path}", mend=mend)
    mend = f"Name one of {objective_names()} after 'train'; accord train --help describes them."
    raise ConfigError("the objective is missing", where="accord train", mend=mend)


def _run(name: str, given: dict[str, Any]) -> int:
    fresh, parts = bool(given.pop("fresh", False)), given.pop("stepwise", None)
    members, share = given.pop("members", None), given.pop("member_share", 1.0)
    policies, together = given.pop("policies", None), _together(given)
    file = given.pop("config", None)
    config = combine(name, given, read_settings(file) if file is not None else {})
    if policies is not None:
        if members is not None or parts is not None or fresh:
            mend = "Leave them out."
            raise ConfigError("cannot be combined with --members, --stepwise or --fresh", where="--policies", mend=mend)
        return execute_simultaneous(config, policies=policies, **together)
    if members is None:
        return execute(config, fresh=fresh, parts=parts)
    if parts is not None:
        mend = "Leave one of them out."
        raise ConfigError("cannot be combined with --stepwise", where="--members", mend=mend)
    return execute_members(config, members=members, share=share, fresh=fresh)


def execute(config: TrainConfig, *, fresh: bool, parts: int | None = None) -> int:
    """Train, measure and report; returns the exit code."""
    from accord.recipes.stepwise import stepwise
    from accord.recipes.train import train as train_as_asked
    from accord.train import distributed

    screen = console()
    if parts is None:
        result = train_as_asked(config, console=screen, fresh=fresh)
    else:
        result = stepwise(config, parts=parts, console=screen, fresh=fresh)
    if distributed.rank() == 0:
        screen.print(f"model: {result.path / 'model'}\nreport: {result.path / 'report.html'}", soft_wrap=True)
    return 0


def _together(given: dict[str, Any]) -> dict[str, Any]:
    """How simultaneous policies go together, taken out of the flags that were given."""
    names = {"policies_act": "acting", "policies_noise": "noise"}
    return {name: given.pop(flag) for flag, name in names.items() if flag in given}


def execute_simultaneous(config: TrainConfig, *, policies: int, **together: Any) -> int:
    """Train policies at once; returns the exit code."""
    from accord.feedback.spec import parse
    from accord.recipes.simultaneous import train_simultaneously

    screen = console()
    rewards = parse(config.reward)
    standing = train_simultaneously(config, rewards, policies=policies, console=screen, **together)
    screen.print(f"best: {standing.models[standing.best]}\nsoup: {standing.models['soup']}", soft_wrap=True)
    return 0


def execute_members(config: TrainConfig, *, members: int, share: float, fresh: bool) -> int:
    """Train the members of an ensemble, one after the other; returns the exit code."""
    from accord.recipes.members import train_members
    from accord.train import distributed

    screen = console()
    results = train_members(config, members=members, share=share, console=screen, fresh=fresh)
    if distributed.rank() == 0:
        for result in results:
            screen.print(f"model: {result.path / 'model'}", soft_wrap=True)
    return 0
