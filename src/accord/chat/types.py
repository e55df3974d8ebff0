"""What is asked of a model that talks, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from accord.errors import AccordError
from accord.record import Message

Progress = Callable[[int, int], None]
"""Called with the number of answered requests and their total."""


class ChatError(AccordError):
    """A model that talks cannot be reached, refused, or answered what cannot be used."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question to a model that talks, with everything that determines the answer.

    Attributes:
        messages: the conversation so far; the last is not from the assistant.
        choices: ask for the probability of each of these as the beginning of the answer, in place of an answer.
        temperature: of the sampling; 0 takes the most likely token.
        top_p: draw among the most likely tokens that together have this probability.
        max_tokens: longest answer.
        seed: tells apart requests that are otherwise the same; where the model takes a seed, the answer's as well.
        stop: an answer ends before the first of these.
    """

    messages: tuple[Message, ...]
    choices: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(self.choices) or len(set(self.choices)) < len(self.choices):
            raise ChatError(f"the choices {self.choices!r} are not texts that differ")

    def key(self, identity: str) -> str:
        """What a cached answer is found by: the model's identity and the whole request."""
        content = msgspec.json.encode([identity, self])
        return hashlib.blake2b(content, digest_size=20).hexdigest()


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer.

    Attributes:
        text: what was said; the likeliest choice where choices were asked for.
        finished: whether it ended by itself.
        probabilities: of each of the request's choices, in their order and summing to 1; `None` where none were asked
            for, or the model cannot say.
        mass: the probability that the answer begins with any of the choices at all; small where the model did not
            understand what was asked.
        tokens: read and written, for the cost; 0 where unknown.
    """

    text: str
    finished: bool = True
    probabilities: tuple[float, ...] | None = None
    mass: float | None = None
    tokens: tuple[int, int] = (0, 0)


class Chat(Protocol):
    """A model that talks: requests in, replies out, in their order.

    Bounded parallelism, retries and batching are its own affair. It raises `ChatError` when it cannot answer; what is
    cached by then is not lost.
    """

    @property
    def identity(self) -> str:
        """What tells this model and its version from every other; part of the cache's key."""
        ...

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A model that talks whose replies can be had one by one, so that none is lost when a later one fails."""

    def arriving(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The replies as they arrive, each with the place of its request; what fails is raised at the end."""
        ...
