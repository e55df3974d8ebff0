"""Any OpenAI-compatible chat endpoint as a model that talks: many requests at a time, each tried again when it fails.

The probabilities of choices are read from the most likely first tokens, where the server gives them. Where it does not,
the reply is the text it said, without probabilities: whoever asked must read it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from accord.chat.choices import Likely, choice_probabilities
from accord.chat.client import openai_library, said_by
from accord.chat.types import ChatError, Progress, Reply, Request
from accord.errors import ConfigError

TOP = 20
"""Most likely tokens that are asked for, the most that the interface allows."""

_LONGEST_WAIT = 8.0
_SAYING_A_CHOICE = 16
"""Tokens that a server without probabilities has to say its choice in."""


class _Token(msgspec.Struct):
    token: str
    logprob: float


class _Position(msgspec.Struct):
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Position] | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class ServerChat:
    """A server of `/v1/chat/completions`.

    Args:
        url: up to and including `/v1`.
        model: the name it serves the model under.
        api_key: sent with every request.
        parallel: requests under way at a time.
        timeout: seconds without a byte of an answer.
        retries: attempts after one that failed: no connection, a late answer, 408, 409, 429, 5xx or an answer that
            cannot be read; each waits longer than the one before, or as long as the server asks.

    Raises:
        ConfigError: a setting is out of range, or the openai package is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str = "none",
        parallel: int = 16,
        timeout: float = 600.0,
        retries: int = 5,
    ) -> None:
        if not url.startswith(("http://", "https://")) or not model:
            mend = "Write http://host/v1#model."
            raise ConfigError("needs a URL of http or https and the name of a model", where=f"{url}#{model}", mend=mend)
        if parallel < 1 or timeout <= 0 or retries < 0:
            mend = "Give parallel of 1 or more, a timeout above 0 and retries of 0 or more."
            raise ConfigError("cannot be asked in this way", where=url, mend=mend)
        self._openai = openai_library("servers that talk")
        self.url, self.model = url.rstrip("/"), model
        self._api_key, self._parallel, self._timeout, self._retries = api_key, parallel, timeout, retries
        self._gives_logprobs = True

    @property
    def identity(self) -> str:
        """The server and the model's name there; it cannot be told when the server changes the model behind it."""
        return f"{self.url}#{self.model}"

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests.

        Raises:
            ChatError: a request was refused, or failed at every attempt.
        """
        replies: dict[int, Reply] = {}
        for place, reply in self.arriving(requests):
            replies[place] = reply
            if progress is not None:
                progress(len(replies), len(requests))
        return [replies[place] for place in range(len(requests))]

    def arriving(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The replies as they arrive. Once a request has failed for good no other is begun; those under way end.

        Raises:
            ChatError: after the last reply, what the first failure was.
        """
        arrived: queue.SimpleQueue[tuple[int, Reply] | BaseException | None] = queue.SimpleQueue()
        stopped = threading.Event()

        def work() -> None:
            try:
                asyncio.run(self._answer_all(requests, arrived.put, stopped))
                arrived.put(None)
            except BaseException as error:
                arrived.put(error)

        # A thread of its own, so that it works where a loop is running already, as in a notebook.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (item := arrived.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
        thread.join()

    async def _answer_all(
        self, requests: Sequence[Request], say: Callable[[tuple[int, Reply]], None], stopped: threading.Event
    ) -> None:
        waiting = iter(enumerate(requests))
        failures: list[ChatError] = []
        async with self._openai.AsyncOpenAI(
            base_url=self.url, api_key=self._api_key, timeout=self._timeout, max_retries=self._retries
        ) as client:

            async def work() -> None:
                for place, request in waiting:
                    try:
                        say((place, await self._answer(client, request)))
                    except ChatError as error:
                        failures.append(error)
                    if failures or stopped.is_set():
                        return

            await asyncio.gather(*(work() for _ in range(min(self._parallel, len(requests)))))
        if failures:
            raise failures[0]

    async def _answer(self, client: Any, request: Request) -> Reply:
        """One reply; a server that refuses to give log-probabilities is asked for the text alone."""
        if request.choices and self._gives_logprobs:
            try:
                answer = await self._ask(client, request, {"logprobs": True, "top_logprobs": TOP})
            except self._openai.BadRequestError as error:
                if "logprobs" not in error.response.text:
                    raise self._error(said_by(error)) from error
            else:
                likely = _likely(answer)
                if likely:
                    return self._chosen(request, answer, likely)
            if self._gives_logprobs:
                warnings.warn(f"{self.url} gives no log-probabilities: its words are read instead", stacklevel=2)
                self._gives_logprobs = False
        try:
            answer = await self._ask(client, request, {})
        except self._openai.BadRequestError as error:
            raise self._error(said_by(error)) from error
        return Reply(_text(answer), answer.choices[0].finish_reason != "length", tokens=_tokens(answer))

    async def _ask(self, client: Any, request: Request, more: dict[str, Any]) -> _Answer:
        choosing = _SAYING_A_CHOICE if request.choices else request.max_tokens
        settings: dict[str, Any] = {
            "model": self.model,
            "messages": msgspec.to_builtins(request.messages),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": 1 if more else choosing,
            "seed": request.seed,
        }
        stop = {"stop": list(request.stop)} if request.stop else {}
        fault = ""
        for attempt in range(self._retries + 1):
            try:
                received = await client.chat.completions.with_raw_response.create(**settings, **stop, **more)
                answer = msgspec.json.decode(received.content, type=_Answer)
                if len(answer.choices) == 1:
                    return answer
                fault = f"{len(answer.choices)} choices, not 1"
            except self._openai.BadRequestError:
                raise
            except (self._openai.APIStatusError, self._openai.APIConnectionError) as error:
                raise self._error(said_by(error, timeout=self._timeout)) from error
            except msgspec.DecodeError as error:
                fault = str(error)
            if attempt < self._retries:
                await asyncio.sleep(min(0.5 * 2**attempt, _LONGEST_WAIT))
        raise self._error(f"answered what cannot be read ({fault}), at the last of {self._retries + 1} attempts")

    def _chosen(self, request: Request, answer: _Answer, likely: Sequence[Likely]) -> Reply:
        probabilities, mass = choice_probabilities(request.choices, likely, where=self.identity)
        if probabilities is None:
            return Reply(_text(answer), mass=mass, tokens=_tokens(answer))
        likeliest = max(range(len(probabilities)), key=probabilities.__getitem__)
        return Reply(request.choices[likeliest], probabilities=probabilities, mass=mass, tokens=_tokens(answer))

    def _error(self, what: str) -> ChatError:
        return ChatError(what, where=self.identity, mend="See that it runs and serves this model, then start again.")


def _likely(answer: _Answer) -> list[Likely]:
    """The most likely first tokens, where the server gives them."""
    logprobs = answer.choices[0].logprobs
    positions = (logprobs.content if logprobs else None) or []
    return [(one.token, one.logprob) for one in positions[0].top_logprobs] if positions else []


def _text(answer: _Answer) -> str:
    return answer.choices[0].message.content or ""


def _tokens(answer: _Answer) -> tuple[int, int]:
    usage = answer.usage or _Usage()
    return usage.prompt_tokens, usage.completion_tokens
