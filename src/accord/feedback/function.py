"""Functions as rewards: Accord's own verifiers, and what a user names as `module:function`.

A function asks for what it needs by the names of its parameters:

    def brief(response: str, *, words: int = 20) -> float            one response at a time
    def brief(responses: list[str], *, words: int = 20) -> list[float]    all responses of the Groups at once

Keyword-only parameters are its options.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, get_type_hints

import docstring_parser
import msgspec

from accord.errors import ConfigError
from accord.feedback.reward import RewardError, Row
from accord.record import Group, Response, SourceKind

Item = tuple[Group, Response]

_ONE: Mapping[str, Callable[[Item], Any]] = {
    "prompt": lambda item: item[0].prompt_text(),
    "response": lambda item: item[1].text,
    "answer": lambda item: item[0].answer,
    "record": lambda item: item[1],
    "group": lambda item: item[0],
}
_ALL = {f"{name}s": of for name, of in _ONE.items()}

VOCABULARY: Mapping[str, str] = {
    "prompt": "the prompt as text",
    "response": "the text of the response",
    "answer": "the ground truth of the prompt, or None",
    "record": "the accord.Response, with tokens, finished and meta",
    "group": "the accord.Group it belongs to",
}
"""What a function may ask for about one response; in the plural, a list with an entry for each response."""


class Option(msgspec.Struct, frozen=True):
    """A keyword-only parameter of a reward: its name, type, default (or none, when it is required) and help."""

    name: str
    type: Any
    default: Any
    required: bool
    help: str


class FunctionReward:
    """A function as a reward.

    Args:
        function: names parameters of `VOCABULARY`, all in the singular (called for each response, returns a number or
            `None`) or all in the plural (called once, returns a list of them).
        options: its keyword-only parameters, as text or as values.
        name: of its score; default the function's name.
        source: what kind of source it is.

    Raises:
        ConfigError: the signature is not such a one, or an option is unknown, missing or of the wrong type.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
        source: SourceKind = "verifier",
    ) -> None:
        self.name = name or function.__name__
        self.source = source
        self.function = function
        self.needs = _needs(function, self.name)
        self.options = checked_options(function, options or {}, where=f"reward {self.name}")

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """A row of numbers for each Group.

        Raises:
            RewardError: a function of all responses returned another number of scores than there are responses.
        """
        items = [(group, response) for group in groups for response in group.responses]
        if not items:
            return [() for _ in groups]
        if self.needs[0] in _ONE:
            values = [self.function(*(_ONE[need](item) for need in self.needs), **self.options) for item in items]
        else:
            columns = [[_ALL[need](item) for item in items] for need in self.needs]
            values = list(self.function(*columns, **self.options))
            if len(values) != len(items):
                mend = "Return one number, or None for missing, for each response."
                what = f"returned {len(values)} scores for {len(items)} responses"
                raise RewardError(what, where=f"reward {self.name}", mend=mend)
        rest = iter(values)
        return [tuple(islice(rest, len(group.responses))) for group in groups]


def options_of(function: Callable[..., Any]) -> list[Option]:
    """The options of a reward's function or factory, with the help of its docstring."""
    # A class is called by its __init__, and documented by itself.
    called = vars(function)["__init__"] if isinstance(function, type) else function
    hints = get_type_hints(called, include_extras=True)
    documented = {p.arg_name: p.description for p in docstring_parser.parse(inspect.getdoc(function) or "").params}
    return [
        Option(
            name=name,
            type=hints.get(name, Any),
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
            help=" ".join((documented.get(name) or "").replace("`", "").split()),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]


def checked_options(function: Callable[..., Any], given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The given options, converted from text where they are text, and checked.

    Raises:
        ConfigError: an option is unknown, missing, of the wrong type or out of range.
    """
    return converted_options(options_of(function), given, where=where)


def converted_options(options: Sequence[Option], given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The given ones of some options, converted from text where they are text, and checked.

    Raises:
        ConfigError: an option is unknown, missing, of the wrong type or out of range.
    """
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            mend = f"Did you mean {close[0]!r}? {takes}" if close else takes
            raise ConfigError(f"there is no option {name!r}", where=where, mend=mend)
    for name, option in known.items():
        if option.required and name not in given:
            raise ConfigError(f"the option {name!r} is required", where=where, mend=f"Add {name}=VALUE: {option.help}")
    return {name: _converted(known[name], value, where) for name, value in given.items()}


def _converted(option: Option, value: Any, where: str) -> Any:
    if option.type is Any:
        return value
    try:
        return msgspec.convert(value, option.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        default = "" if option.required else f"The default is {option.default!r}."
        raise ConfigError(f"{option.name}={value!r} cannot be used ({error})", where=where, mend=default) from error


def _needs(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    where = f"reward {name}"
    lists = ", ".join(_ALL)
    mend = f"Name parameters among {lists} (a list each, one score a response is returned), or all in the singular."
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"has no signature to read ({error})", where=where, mend=mend) from error
    needs = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for need in needs:
        if need not in _ONE and need not in _ALL:
            close = difflib.get_close_matches(need, [*_ONE, *_ALL], n=1)
            close = close or (["responses"] if need.startswith("complet") else [])
            hint = f"Did you mean {close[0]!r}? " if close else ""
            options = "An option of yours stands after a bare *."
            raise ConfigError(f"the parameter {need!r} is unknown", where=where, mend=f"{hint}{mend} {options}")
    if not needs or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ConfigError("does not say by its parameters what it needs", where=where, mend=mend)
    if any(need in _ONE for need in needs) and any(need in _ALL for need in needs):
        raise ConfigError(f"mixes one response and all of them: {', '.join(needs)}", where=where, mend=mend)
    return tuple(needs)
