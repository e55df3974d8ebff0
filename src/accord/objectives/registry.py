"""The names of the objectives, and what a user may set on them."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Literal, get_args, get_origin

import msgspec

from accord.errors import ConfigError
from accord.objectives.adaptive_dpo import adaptive_dpo
from accord.objectives.aot import aot, aot_unpaired
from accord.objectives.apo import apo, apo_unpaired
from accord.objectives.bco import bco
from accord.objectives.beta_dpo import beta_dpo
from accord.objectives.bradley_terry import bradley_terry, cost_model
from accord.objectives.constrained_dpo import constrained_dpo
from accord.objectives.cost_dpo import cost_dpo
from accord.objectives.cpo import cpo
from accord.objectives.discopop import discopop
from accord.objectives.distill import distill
from accord.objectives.dpo import dpo
from accord.objectives.exo import exo
from accord.objectives.f_dpo import f_dpo
from accord.objectives.gpo import gpo
from accord.objectives.group_dpo import group_dpo
from accord.objectives.hyperparameters import Range
from accord.objectives.ilql import ilql
from accord.objectives.inverse_constraint import inverse_constraint
from accord.objectives.ipo import ipo
from accord.objectives.kto import kto
from accord.objectives.ld_dpo import ld_dpo
from accord.objectives.listwise import lipo, plackett_luce, soft_listwise
from accord.objectives.named_rewards import multi_bradley_terry, reward_regression
from accord.objectives.nash_md import nash_md
from accord.objectives.nca import nca
from accord.objectives.offset import modpo, odpo, r_dpo, shaped_dpo
from accord.objectives.orpo import orpo
from accord.objectives.policy_gradient.methods import METHODS
from accord.objectives.process_reward import process_reward
from accord.objectives.robust_dpo import robust_dpo
from accord.objectives.sft import sft
from accord.objectives.simpo import simpo
from accord.objectives.slic import slic
from accord.objectives.sppo import sppo
from accord.objectives.vocabulary import Hyperparameter, Objective, signature_of
from accord.objectives.weighted import awr, rwr
from accord.objectives.wpo import wpo
from accord.objectives.xpo import xpo

_ALL: tuple[Objective, ...] = (
    # Imitation, plain and weighted.
    sft,
    rwr,
    awr,
    distill,
    # Pairs, relative to a reference.
    dpo,
    robust_dpo,
    ipo,
    gpo,
    f_dpo,
    exo,
    nca,
    apo,
    sppo,
    discopop,
    r_dpo,
    ld_dpo,
    odpo,
    shaped_dpo,
    modpo,
    constrained_dpo,
    beta_dpo,
    adaptive_dpo,
    group_dpo,
    wpo,
    aot,
    # Pairs of two samplers, online.
    xpo,
    nash_md,
    # Pairs, without a reference.
    simpo,
    orpo,
    cpo,
    slic,
    # Single labelled responses.
    kto,
    apo_unpaired,
    bco,
    aot_unpaired,
    # Scored responses, relative to a reference.
    cost_dpo,
    # Lists.
    plackett_luce,
    soft_listwise,
    lipo,
    # Offline reinforcement learning.
    ilql,
    # Reward models.
    bradley_terry,
    cost_model,
    multi_bradley_terry,
    reward_regression,
    process_reward,
    inverse_constraint,
)

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({objective.__name__: objective for objective in _ALL})
"""The command line's name of each objective, and its function."""


def resolve(name: str) -> Objective:
    """The objective of that name: one of `OBJECTIVES` or `METHODS`, or a user's own as `module:function`.

    A user's module is found like any import, and in the working directory.

    Raises:
        ConfigError: the name is unknown, the module or function cannot be found, or its signature is not one of
            an objective.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if name in METHODS:
        return METHODS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        known = [*OBJECTIVES, *METHODS]
        mend = f"{_did_you_mean(name, known)}Known: {', '.join(known)}; or your own as module:function."
        raise ConfigError(f"no objective is named {name!r}", mend=mend)
    module = _import(module_name, name)
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value)]
        mend = f"{_did_you_mean(function_name, functions)}The name after the colon must be a function of that module."
        raise ConfigError(f"{module_name} has no function {function_name!r}", where=name, mend=mend)
    objective: Objective = function
    try:
        signature_of(objective)
    except (TypeError, NameError, ValueError) as error:
        mend = "Take tensors of the vocabulary as positional and hyperparameters as keyword-only parameters."
        raise ConfigError(str(error), where=name, mend=mend) from error
    return objective


def validate(name: str, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """All hyperparameters of an objective: the given ones checked and converted, the others at their defaults.

    A number may come as text, as from a command line. No model is needed.

    Args:
        name: as for `resolve`.
        hyper: the values to set, by name.

    Raises:
        ConfigError: an unknown hyperparameter, a value of the wrong type, or one outside its `Range`; the message names
            the flag and the allowed range.

    >>> validate("ipo", {"tau": "0.5"})
    {'tau': 0.5, 'length': 'token_mean'}
    """
    objective = resolve(name)
    known = {parameter.name: parameter for parameter in signature_of(objective).hyperparameters}
    for key in hyper:
        if key not in known:
            takes = f"It takes {', '.join(map(_flag, known))}." if known else "It takes none."
            mend = _did_you_mean(_flag(key), map(_flag, known)) + takes
            raise ConfigError(f"{name} has no such hyperparameter", where=_flag(key), mend=mend)
    given = {key: _checked(known[key], value) for key, value in hyper.items()}
    return {key: given.get(key, parameter.default) for key, parameter in known.items()}


def _checked(parameter: Hyperparameter, value: Any) -> Any:
    flag, allowed = _flag(parameter.name), parameter.allowed
    try:
        converted = msgspec.convert(value, parameter.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        mend = f"Give {_kind(parameter.type, allowed)}; the default is {parameter.default}."
        raise ConfigError(f"{value!r} cannot be used", where=flag, mend=mend) from error
    if allowed is not None and converted not in allowed:
        mend = f"Give a number {allowed}; the default is {parameter.default}."
        raise ConfigError(f"{converted} is out of range", where=flag, mend=mend)
    return converted


def _kind(kind: Any, allowed: Range | None) -> str:
    """The values of a type, in words."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind in (int, float):
        number = "a whole number" if kind is int else "a number"
        return f"{number} {allowed}" if allowed is not None else number
    if kind is bool:
        return "true or false"
    return f"a value of type {getattr(kind, '__name__', kind)}"


def _import(module_name: str, name: str) -> ModuleType:
    """Import a user's module, looking in the working directory last."""
    if "" not in sys.path:
        sys.path.append("")
    try:
        return importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        mend = "Write module:function, with the module in the working directory or installed."
        raise ConfigError(f"cannot import {module_name!r} ({error})", where=name, mend=mend) from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""
