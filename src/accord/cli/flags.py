"""Flags made from data: the fields of `TrainConfig`, and the hyperparameters of an objective."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import docstring_parser
import msgspec
from cyclopts import Group, Parameter

from accord.objectives import Objective, signature_of
from accord.train.config import TrainConfig

# In the order in which the help shows them.
_OWN = "Of {name}"
_SHARED = Group("Of every training", sort_key=2)
_RUN = Group("Of this run", sort_key=3)

NOT_FLAGS = ("objective", "hyper")
"""Fields of `TrainConfig` that are no flags: the command names the objective, its hyperparameters have flags."""

_OTHER_HELP = {"out": "the run directory; default runs/OBJECTIVE-MODEL-DATA."}
"""Where a flag may be left out that the settings need."""

RUN_FLAGS: Mapping[str, tuple[Any, Any, str]] = {
    "config": (str | None, None, "settings to start from: a run's config.toml, or your own TOML or YAML."),
    "stepwise": (
        int | None,
        None,
        "train on the data in so many parts, from easy to hard, each with the policy of the part before as reference.",
    ),
    "members": (
        int | None,
        None,
        "train so many times, OUT/member-0 and on, each from a seed of its own: an ensemble for accord reward.",
    ),
    "policies": (
        int | None,
        None,
        "train so many policies at once, OUT/policy-0 and on, and average their weights into OUT/soup; needs --reward.",
    ),
    "policies_act": (
        Literal["average", "own"],
        "average",
        "whose answers they learn from: those of all as one, or each from its own.",
    ),
    "policies_noise": (float, 0.01, "how far apart they start, as a share of their weights; without adapters."),
    "member_share": (float, 1.0, "share of the prompts that each member draws for itself."),
    "fresh": (bool, False, "start again in a run directory that is in use; deletes only what Accord wrote."),
}
"""What a training command takes beside its settings: type, default, help."""


def training_command(name: str, objective: Objective, run: Callable[[str, dict[str, Any]], int]) -> Callable[..., int]:
    """A function whose signature is the flags of training with `objective`.

    It calls `run(name, given)` with the flags that were given, and only those: a default must not hide a value
    of the configuration file.

    Raises:
        TypeError: the objective has a hyperparameter that is named like a flag of every training.
    """

    def command(**given: Any) -> int:
        return run(name, given)

    parameters = [*_own_parameters(name, objective), *_shared_parameters(), *_run_parameters()]
    names = [parameter.name for parameter in parameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"objective {name!r}: {', '.join(twice)} is a flag of every training, choose another name")
    command.__doc__ = summary(objective)
    command.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    return command


def summary(function: Callable[..., Any]) -> str:
    """The first sentence of a docstring, on one line; formulas without their mark-up."""
    sentence = docstring_parser.parse(inspect.getdoc(function) or "").short_description or ""
    return re.sub(r":math:`(.*?)`", r"\1", sentence)


def _own_parameters(name: str, objective: Objective) -> Iterator[inspect.Parameter]:
    group = Group(_OWN.format(name=name), sort_key=1)
    for hyper in signature_of(objective).hyperparameters:
        yield _parameter(hyper.name, hyper.type, hyper.default, hyper.help, group)


def _shared_parameters() -> Iterator[inspect.Parameter]:
    hints = get_type_hints(TrainConfig)
    documented = docstring_parser.parse(TrainConfig.__doc__ or "").params
    helps = {entry.args[1]: entry.description for entry in documented} | _OTHER_HELP
    for field in msgspec.structs.fields(TrainConfig):
        if field.name not in NOT_FLAGS:
            default = None if field.required else field.default
            yield _parameter(field.name, hints[field.name], default, helps.get(field.name) or "", _SHARED)


def _run_parameters() -> Iterator[inspect.Parameter]:
    for name, (kind, default, text) in RUN_FLAGS.items():
        yield _parameter(name, kind, default, text, _RUN)


def _parameter(name: str, kind: Any, default: Any, text: str, group: Group) -> inspect.Parameter:
    several = get_origin(kind) is tuple
    # Every flag may be left out, as far as the parser knows: the configuration file may have it.
    optional = kind if default is not None or _takes_none(kind) else kind | None
    details = Parameter(
        help=" ".join(text.replace("`", "").split()),
        group=group,
        show_default=default is not None and default is not False and default != (),
        consume_multiple=(1, None) if several else None,
        # A switch that the configuration file turned on can be turned off; a list cannot be emptied.
        negative=f"--no-{name.replace('_', '-')}" if kind is bool and group is not _RUN else "",
    )
    annotation = cast(Any, Annotated)[optional, details]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _takes_none(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
