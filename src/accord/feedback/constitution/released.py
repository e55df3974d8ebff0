"""Pairs of critique and revision requests in JSON, as they were published with papers on constitutional AI.

{"name": {"prompt": ["... CritiqueRequest: ... Critique:"], "edit_request": "... RevisionRequest: ... Revision:"}, ...}
{"constitutions": [{"critic": "...", "revision": "..."}, ...]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from accord.errors import ConfigError
from accord.feedback.judge.principles import Principle

_BEFORE = re.compile(r"^\s*(?:critique|revision)\s*request\s*:\s*", re.IGNORECASE)
_AFTER = re.compile(r"\s*(?:critique|revision)\s*:\s*$", re.IGNORECASE)

_MEND = 'Give {"NAME": {"prompt": ["..."], "edit_request": "..."}} or {"constitutions": [{"critic", "revision"}]}.'


def read_released(text: str, where: str) -> tuple[Principle, ...]:
    """The principles of a released file; the labels around each request are taken off, nothing else is changed.

    Such a file has no standards of its own: what a critic is asked stands for the text, and a judge is asked which
    answer gives the least cause for it.

    Raises:
        ConfigError: it is not JSON, or not of either shape; the message names the entry.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is not JSON: {error.msg}", where=f"{where}:{error.lineno}", mend=_MEND) from error
    return tuple(
        _principle(name, entry, keys, f"{where}, entry {name!r}") for name, entry, keys in _entries(content, where)
    )


def _entries(content: Any, where: str) -> Iterator[tuple[str, Any, tuple[str, str]]]:
    if isinstance(content, dict) and isinstance(content.get("constitutions"), list):
        for place, entry in enumerate(content["constitutions"], 1):
            yield f"principle {place}", entry, ("critic", "revision")
    elif isinstance(content, dict):
        for name, entry in content.items():
            yield name, entry, ("prompt", "edit_request")
    else:
        raise ConfigError("holds no pairs of requests", where=where, mend=_MEND)


def _principle(name: str, entry: Any, keys: tuple[str, str], where: str) -> Principle:
    if not isinstance(entry, dict):
        raise ConfigError("is no pair of requests", where=where, mend=_MEND)
    critique, revision = (_request(entry.get(key), key, where) for key in keys)
    choice = f"It gives the least cause for this request to a critic: {critique}"
    return Principle(name, critique, critique=critique, revision=revision, choice=choice)


def _request(value: Any, key: str, where: str) -> str:
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(text, str):
        raise ConfigError(f"has no text under {key!r}", where=where, mend=_MEND)
    bare = _AFTER.sub("", _BEFORE.sub("", text)).strip()
    if not bare:
        raise ConfigError(f"is empty under {key!r}", where=where, mend=_MEND)
    return bare
