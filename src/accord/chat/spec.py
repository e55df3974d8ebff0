"""Models that talk, by the words of a command line: a model, a server, a script.

DIRECTORY or OWNER/NAME         a model in this process
http://HOST/v1#MODEL            a server with the OpenAI interface
module:function                 a function of yours, from a Request to a Reply or to its text
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from accord.chat.types import Chat, ChatError, Progress, Reply, Request
from accord.errors import ConfigError

Script = Callable[[Request], Reply | str]

_SCRIPT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Opening:
    """How models that talk are loaded or reached.

    Attributes:
        dtype, device, chat, trust_remote_code: of a model in this process, as for `load_policy`.
        parallel: requests to a server under way at a time.
        timeout: seconds without a byte of a server's answer.
        retries: attempts after one that failed.
        key_env: environment variable with the key that a server wants.
    """

    dtype: Literal["fp32", "bf16"] = "fp32"
    device: str | None = None
    chat: Literal["auto", "on", "off"] = "auto"
    trust_remote_code: bool = False
    parallel: int = 16
    timeout: float = 600.0
    retries: int = 5
    key_env: str | None = None


class ScriptChat:
    """A function that answers one request at a time.

    Args:
        function: from a Request to a Reply or to its text.
        name: what it is called; part of its identity, as is the source of its module.
    """

    def __init__(self, function: Script, *, name: str) -> None:
        self._function, self._name = function, name

    @property
    def identity(self) -> str:
        """Its name and the source of its module: an edited script is another one."""
        try:
            source = inspect.getsource(sys.modules[self._function.__module__])
        except (OSError, TypeError, KeyError):
            source = ""
        return f"{self._name}-{hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}"

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests.

        Raises:
            ChatError: the function raised, or gave what is no reply.
        """
        replies = []
        for request in requests:
            try:
                said = self._function(request)
            except Exception as error:
                asked = request.messages[-1].content[:80]
                raise ChatError(f"raised {error!r} when asked {asked!r}", where=self._name) from error
            if not isinstance(said, Reply | str):
                raise ChatError(f"gave {type(said).__name__}, not a Reply or a text", where=self._name)
            replies.append(said if isinstance(said, Reply) else Reply(said))
            if progress is not None:
                progress(len(replies), len(requests))
        return replies


def open_chat(spec: str, opening: Opening | None = None, *, flag: str = "--model") -> Chat:
    """The model that talks that a command line names.

    Args:
        spec: as the module says.
        opening: how it is loaded or reached.
        flag: who names it, for messages.

    Raises:
        ConfigError: it cannot be read or found.
        ModelError: a model cannot be loaded.
    """
    how = opening or Opening()
    if spec.startswith(("http://", "https://")):
        return _server(spec, how, flag)
    if _SCRIPT.fullmatch(spec) and not Path(spec).exists():
        module, _, function = spec.partition(":")
        return ScriptChat(_imported(module, function, f"{flag} {spec}"), name=spec)
    from accord.chat.in_process import PolicyChat
    from accord.policy.load import load_policy

    policy = load_policy(
        spec, dtype=how.dtype, device=how.device, chat=how.chat, trust_remote_code=how.trust_remote_code
    )
    return PolicyChat(policy, name=spec)


def _server(spec: str, how: Opening, flag: str) -> Chat:
    from accord.chat.server import ServerChat

    url, _, model = spec.partition("#")
    if not model:
        mend = "Name the model after a #, as in http://localhost:8000/v1#llama."
        raise ConfigError("names no model of the server", where=f"{flag} {spec}", mend=mend)
    key = "none"
    if how.key_env is not None:
        key = os.environ.get(how.key_env, "")
        if not key:
            raise ConfigError(f"the variable {how.key_env} is not set", where="--key-env", mend="Export it first.")
    return ServerChat(url, model, api_key=key, parallel=how.parallel, timeout=how.timeout, retries=how.retries)


def _imported(module_name: str, function_name: str, where: str) -> Script:
    """A user's function, from a module in the working directory or installed."""
    if "" not in sys.path:
        sys.path.append("")
    try:
        module: ModuleType = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        mend = "Write module:function, with the module in the working directory or installed."
        raise ConfigError(f"cannot import {module_name!r} ({error})", where=where, mend=mend) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        mend = "The name after the colon must be a function of that module."
        raise ConfigError(f"{module_name} has no function {function_name!r}", where=where, mend=mend)
    script: Script = function
    return script
