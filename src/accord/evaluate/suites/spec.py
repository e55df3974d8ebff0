"""Suites by the words of a command line.

NAME[:OPTION=VALUE[,OPTION=VALUE...]]      a suite of the registry, with options
module:function                            a task of yours, from a module
file.py:function                           a task of yours, from a file
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from accord.chat.types import Chat
from accord.errors import AccordError, ConfigError, DataError
from accord.evaluate.suites.registry import SUITES, Suite, suite_function
from accord.evaluate.suites.sources import HOME, located
from accord.evaluate.task import Task
from accord.feedback.function import converted_options, options_of

JUDGE = "judge"
"""The option of a suite that takes the judge, a `Chat`; nobody writes it into the suite's own words."""

_NEXT_OPTION = re.compile(r",(?=[a-z][a-z0-9_]*=)")
_SCRIPT = re.compile(r"(?P<module>[^:]+):(?P<function>[A-Za-z_]\w*)")


def build_task(spec: str, *, data: str | None = None, judge: Chat | None = None) -> Task:
    """The task that a command line names.

    Args:
        spec: as the module says.
        data: file or directory of its data; by default, what `located` finds.
        judge: who scores answers, for suites that need somebody.

    Raises:
        ConfigError: it cannot be read or found, an option is wrong, or the judge is missing.
        DataError: its data cannot be read; names file and line.
    """
    name, _, rest = spec.partition(":")
    if name in SUITES:
        return _of_registry(name, SUITES[name], rest, data, judge)
    script = _SCRIPT.fullmatch(spec)
    if script is None:
        close = difflib.get_close_matches(name, SUITES, n=1)
        mend = f"Did you mean {close[0]!r}? " if close else ""
        mend += f"Known: {', '.join(SUITES)}; or your own as module:function or file.py:function."
        raise ConfigError(f"no suite is named {name!r}", where="--suite", mend=mend)
    return _own(script["module"], script["function"], data)


def _of_registry(name: str, suite: Suite, rest: str, data: str | None, judge: Chat | None) -> Task:
    where, build = f"--suite {name}", suite_function(suite)
    options: dict[str, Any] = {}
    for piece in _NEXT_OPTION.split(rest) if rest else ():
        key, equals, value = piece.partition("=")
        if not equals:
            raise ConfigError(f"{piece!r} is no option", where=where, mend="Write NAME:OPTION=VALUE,OPTION=VALUE.")
        options[key] = value
    given = converted_options([one for one in options_of(build) if one.name != JUDGE], options, where=where)
    if suite.judged and judge is None:
        raise ConfigError(f"{name} needs somebody who scores answers", where="--judge", mend="Name a judge.")
    takes = inspect.signature(build).parameters
    if JUDGE in takes:
        given[JUDGE] = judge
    if "data" not in takes:
        return build(**given)
    if not suite.reads:
        return build(data, **given)
    source = located(name, data, hub=suite.hub, reads=suite.reads, files=suite.files, others=SUITES)
    try:
        return build(source, **given)
    except DataError as error:
        if source != suite.hub or error.line is not None:
            raise
        mend = f"Give --data PATH, or put it into ${HOME}/{name}. It reads: {suite.reads}."
        raise DataError(error.what, path=source, mend=mend) from error


def _own(module_name: str, function_name: str, data: str | None) -> Task:
    """A task of the user's: its function takes nothing, or the data's path."""
    where = f"--suite {module_name}:{function_name}"
    module = _module_of_file(module_name, where) if module_name.endswith(".py") else _module(module_name, where)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"{module_name} has no function {function_name!r}", where=where)
    parameters = inspect.signature(function).parameters.values()
    takes_data = any(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
    try:
        task = function(data) if takes_data else function()
    except AccordError:
        raise
    except Exception as error:
        raise ConfigError(f"raised {error!r}", where=where, mend="Call it alone to see where.") from error
    if not isinstance(task, Task):
        raise ConfigError(f"gave {type(task).__name__}, not a Task", where=where, mend="Return accord.evaluate.Task.")
    return task


def _module(name: str, where: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.append("")
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError, ValueError) as error:
        close = difflib.get_close_matches(name, SUITES, n=1)
        mend = f"Did you mean the suite {close[0]!r}? " if close else ""
        mend += "Write module:function, with the module in the working directory or installed."
        raise ConfigError(f"cannot import {name!r} ({error})", where=where, mend=mend) from error


def _module_of_file(name: str, where: str) -> ModuleType:
    path = Path(name)
    if not path.is_file():
        raise ConfigError("there is no such file", where=where, mend="Write file.py:function.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, ValueError) as error:
        raise ConfigError(f"cannot import it ({error})", where=where) from error
    return module
