"""Verifiers of form: a regular expression, a JSON schema."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.feedback.verifiers.extract import LONGEST, fenced
from accord.feedback.worker import Workers

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Pattern(FunctionReward):
    """Whether the response matches a regular expression of Python's `re`.

    Without `pattern`, the ground truth of each prompt is its expression. A match that takes longer than the timeout is
    none.

    Args:
        pattern: the expression; default each prompt's answer.
        where: it must match the whole response but for outer spaces, or somewhere in it.
        timeout: seconds for one response.

    Raises:
        ConfigError: the pattern is no regular expression.
    """

    def __init__(
        self,
        *,
        pattern: str | None = None,
        where: Literal["whole", "anywhere"] = "anywhere",
        timeout: Seconds = 1.0,
    ) -> None:
        if pattern is not None and not _is_pattern(pattern):
            mend = "Write an expression of Python's re."
            raise ConfigError(f"{pattern!r} is no regular expression", where="reward regex", mend=mend)
        workers = Workers(f"{__name__}:matches", warm=["", "whole", ""])

        def regex(responses: list[str], answers: list[Any]) -> list[float | None]:
            patterns = [answer if pattern is None else pattern for answer in answers]
            requests = [
                [one, where, response[-LONGEST:]] if isinstance(one, str) and _is_pattern(one) else None
                for one, response in zip(patterns, responses, strict=True)
            ]
            return workers.verdicts(requests, timeout=timeout)

        super().__init__(regex)


class JsonSchema(FunctionReward):
    """Whether the response is JSON that satisfies a JSON schema; what stands in a fence (```json) is taken out of it.

    Without `schema`, the ground truth of each prompt is its schema, as an object or as text. References to other
    documents are not fetched.

    Args:
        schema: a file with the schema; default each prompt's answer.
        timeout: seconds for one response.

    Raises:
        ConfigError: the file cannot be read or is no schema, or the package jsonschema is not installed.
    """

    def __init__(self, *, schema: str | None = None, timeout: Seconds = 2.0) -> None:
        where = "reward json_schema"
        try:
            import jsonschema  # noqa: F401
        except ImportError as error:
            mend = "Install it: pip install 'accord[verify]'."
            raise ConfigError("the package jsonschema is not installed", where=where, mend=mend) from error
        one = None if schema is None else _read_schema(schema, where)
        workers = Workers(f"{__name__}:satisfies", warm=["{}", "0"])

        def json_schema(responses: list[str], answers: list[Any]) -> list[float | None]:
            schemas = [_as_schema(answer) if one is None else one for answer in answers]
            requests = [
                None if text is None else [text, fenced(response, "json") or response]
                for text, response in zip(schemas, responses, strict=True)
            ]
            return workers.verdicts(requests, timeout=timeout)

        super().__init__(json_schema)


def matches(request: list[str]) -> bool:
    """In the child: whether a pattern matches a text."""
    pattern, where, text = request
    return bool(re.fullmatch(pattern, text.strip()) if where == "whole" else re.search(pattern, text))


def satisfies(request: list[str]) -> bool | None:
    """In the child: whether a text is JSON that satisfies a schema; `None` for a schema that refers to another one."""
    from referencing.exceptions import Unresolvable

    schema, text = request
    try:
        value = json.loads(text, parse_constant=_no_constant)
        return bool(_validator(schema).is_valid(value))
    except Unresolvable:
        return None
    except (ValueError, RecursionError, MemoryError):
        return False


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = json.loads(schema)
    return validator_for(parsed)(parsed, registry=Registry())


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=1024)
def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


@lru_cache(maxsize=1024)
def _is_schema(text: str) -> bool:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        schema = json.loads(text)
        if not isinstance(schema, dict):
            return False
        validator_for(schema).check_schema(schema)
    except (ValueError, SchemaError, RecursionError):
        return False
    return True


def _as_schema(answer: Any) -> str | None:
    text = json.dumps(answer) if isinstance(answer, dict) else answer
    return text if isinstance(text, str) and _is_schema(text) else None


def _read_schema(path: str, where: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        mend = "Name a file with a JSON schema."
        raise ConfigError(f"{path} cannot be read ({error})", where=where, mend=mend) from error
    if not _is_schema(text):
        raise ConfigError(f"{path} is no JSON schema", where=where, mend="See json-schema.org for the form.")
    return text
