r"""Rewards as they are written on the command line.

    TARGET[:OPTION=VALUE[,OPTION=VALUE...]]

    numeric:tolerance=0.01             a reward of `REWARDS`, with options
    regex:^\d+$                         its first option may be written without its name
    rlvr:math,alpha=1                  around another one, whose options may follow
    rewards:brief,words=20             a function of yours, `module:function`
    model:runs/reward/model            a reward model
    permissible:runs/rule/model        a learned constraint, from 0 (forbidden) to 1
    values:weights.json                several values, by weights that choices taught
    http://localhost:8000/score        a reward server

Every reward also takes `weight` (a number; default 1), `name` (of its score), and `role`: reward, penalty (taken off),
cost, reject or monitor. `threshold` makes a constraint of it, a penalty unless its role says otherwise: its score is
then by how much a response falls short of the threshold, and role=reject has such responses drawn again. A comma parts
two options only where `option=` follows it, so that a value may hold commas.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import docstring_parser

from accord.errors import ConfigError
from accord.feedback import heuristics
from accord.feedback.constraints import Constraint
from accord.feedback.function import FunctionReward, Option, checked_options, options_of
from accord.feedback.given import Given
from accord.feedback.reward import Part, Reward, Role
from accord.feedback.rlvr import RLVR
from accord.feedback.score import parts_of
from accord.feedback.server_reward import ServerReward
from accord.feedback.verifiers.answers import choice, exact, numeric
from accord.feedback.verifiers.code import UnitTests
from accord.feedback.verifiers.equivalence import Equivalence
from accord.feedback.verifiers.instructions import instructions
from accord.feedback.verifiers.structure import JsonSchema, Pattern

REWARDS: Mapping[str, Callable[..., Any]] = {
    # Verifiers: functions of one response, and classes that hold what they need.
    "exact": exact,
    "numeric": numeric,
    "choice": choice,
    "instructions": instructions,
    "math": Equivalence,
    "regex": Pattern,
    "json_schema": JsonSchema,
    "unit_tests": UnitTests,
    # Heuristics.
    "length_penalty": heuristics.length_penalty,
    "excess_length_penalty": heuristics.excess_length_penalty,
    "soft_overlong": heuristics.soft_overlong,
    "repetition": heuristics.repetition,
    "unfinished": heuristics.unfinished,
    "simple_alignment": heuristics.simple_alignment_reward,
    "alignment": heuristics.alignment_reward,
    # What the data say already.
    "given": Given,
}
"""The rewards that are called by name: functions (`feedback.function`), and classes whose instances are rewards."""

_SHARED = ("weight", "role", "name", "threshold")
_NEXT_OPTION = re.compile(r",(?=[a-z][a-z0-9_]*=)")
_OPTION = re.compile(r"[a-z][a-z0-9_]*=")
_MODELS = {
    "model": "accord.feedback.reward_model:model_reward",
    "permissible": "accord.feedback.permissibility:permissible",
    "values": "accord.feedback.values:value_reward",
}
_WHERE = {"values": "FILE"}
"""What a model is named by, where that is no directory."""


def parse(specs: Sequence[str]) -> list[Part]:
    """The rewards that a command line asks for.

    Raises:
        ConfigError: one of them cannot be read, found or used as it is written, or two have the same name.
    """
    return parts_of([parse_one(spec) for spec in specs])


def parse_one(spec: str) -> Part:
    """One reward and its part in the whole.

    Raises:
        ConfigError: it cannot be read, found or used as it is written.

    >>> parse_one("numeric:tolerance=0.01,weight=2").weight
    2.0
    """
    target, options = _split(spec)
    shared = {key: options.pop(key) for key in _SHARED if key in options}
    reward = _build(spec, target, options)
    weight = _number("weight", shared.get("weight", "1"), spec)
    if "threshold" in shared:
        threshold = _number("threshold", shared["threshold"], spec)
        reward = Constraint(reward, threshold=threshold, name=shared.get("name"))
    role = shared.get("role", "penalty" if "threshold" in shared else "reward")
    if role == "reject" and "threshold" not in shared:
        mend = "Say what an answer must reach, as in threshold=1."
        raise ConfigError("role=reject needs a threshold", where=f"--reward {spec}", mend=mend)
    roles: tuple[Role, ...] = get_args(Role)
    for known in roles:
        if role == known:
            return Part(reward, weight, known, shared.get("name", ""))
    raise ConfigError(f"role={role!r} is unknown", where=f"--reward {spec}", mend=f"Write one of {', '.join(roles)}.")


def _number(option: str, value: str, spec: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ConfigError(f"{option}={value!r} is no number", where=f"--reward {spec}") from error


def options_by_name() -> dict[str, tuple[str, list[Option]]]:
    """For each reward that is called by name: the first sentence of its help, and its options."""
    listed: dict[str, tuple[str, list[Option]]] = {}
    for name, build in {**REWARDS, "rlvr": RLVR}.items():
        said = docstring_parser.parse(inspect.getdoc(build) or "").short_description or ""
        listed[name] = (said, [option for option in options_of(build) if option.name != "name"])
    return listed


def _split(spec: str) -> tuple[str, dict[str, str]]:
    """The target with what belongs to it, and the options."""
    head, *pieces = _NEXT_OPTION.split(spec.strip())
    name, colon, first = head.partition(":")
    if colon and _OPTION.match(first) and not head.startswith(("http:", "https:")):
        head, pieces = name, [first, *pieces]
    options: dict[str, str] = {}
    for piece in pieces:
        key, _, value = piece.partition("=")
        if key in options:
            raise ConfigError(f"the option {key!r} is given twice", where=f"--reward {spec}")
        options[key] = value
    return head, options


def _build(spec: str, target: str, options: dict[str, str]) -> Reward:
    where = f"--reward {spec}"
    name, colon, rest = target.partition(":")
    if target.startswith(("http://", "https://")):
        return ServerReward(target, **checked_options(ServerReward, options, where=where))
    if name == "rlvr":
        return _rlvr(rest, options, where)
    if name in _MODELS:
        return _model(name, rest, options, where)
    if name in REWARDS:
        return _named(name, rest if colon else None, options, where)
    if not colon:
        close = difflib.get_close_matches(name, [*REWARDS, "rlvr", *_MODELS], n=1)
        mend = f"Did you mean {close[0]!r}? " if close else ""
        models = ", ".join(f"{one}:{_WHERE.get(one, 'DIR')}" for one in _MODELS)
        known = f"Known: {', '.join(REWARDS)}, rlvr, {models}, http://...; or your own as module:function."
        raise ConfigError(f"no reward is named {name!r}", where=where, mend=mend + known)
    return FunctionReward(_imported(name, rest, where), options=options)


def _named(name: str, first: str | None, options: dict[str, str], where: str) -> Reward:
    build = REWARDS[name]
    if first is not None:
        takes = options_of(build)
        if not takes:
            raise ConfigError(f"{name} takes no options", where=where, mend=f"Write {name} alone.")
        options = {takes[0].name: first, **options}
    if isinstance(build, type):
        reward: Reward = build(**checked_options(build, options, where=where))
        return reward
    return FunctionReward(build, options=options, name=name)


def _rlvr(inner: str, options: dict[str, str], where: str) -> Reward:
    if not inner:
        raise ConfigError("the verifier is missing", where=where, mend="Name it, as in rlvr:numeric or rlvr:math.")
    own: dict[str, Any] = {key: options.pop(key) for key in ("alpha", "missing_eos") if key in options}
    verifier = _build(inner, inner, options)
    return RLVR(verifier, **checked_options(RLVR, own, where=where))


def _model(name: str, directory: str, options: dict[str, str], where: str) -> Reward:
    if not directory:
        mend = f"Name it, as in {name}:{_WHERE.get(name, 'runs/reward/model')}."
        raise ConfigError(f"the {'file' if name in _WHERE else 'model'} is missing", where=where, mend=mend)
    module, _, function = _MODELS[name].partition(":")
    build = getattr(importlib.import_module(module), function)  # loads torch, which no other reward needs
    reward: Reward = build(directory, **checked_options(build, options, where=where))
    return reward


def _imported(module_name: str, function_name: str, where: str) -> Callable[..., Any]:
    """A user's function, from a module in the working directory or installed."""
    if "" not in sys.path:
        sys.path.append("")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        close = difflib.get_close_matches(module_name, REWARDS, n=1)
        mend = f"Did you mean the reward {close[0]!r}? " if close else ""
        mend += "Write module:function, with the module in the working directory or installed."
        raise ConfigError(f"cannot import {module_name!r} ({error})", where=where, mend=mend) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value)]
        close = difflib.get_close_matches(function_name, functions, n=1)
        mend = f"Did you mean {close[0]!r}?" if close else "The name after the colon must be a function of that module."
        raise ConfigError(f"{module_name} has no function {function_name!r}", where=where, mend=mend)
    checked: Callable[..., Any] = function
    return checked
