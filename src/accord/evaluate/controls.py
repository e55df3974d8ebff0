"""Degenerate models: what a task's number is worth beside one that understands nothing.

A number that a constant answer also reaches measures nothing. Each control is a Subject with every ability that it can
have without looking at what is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from accord.chat.types import Progress, Reply, Request
from accord.evaluate.subject import Likelihood, Subject
from accord.feedback.reward import Row
from accord.record import Group, Response

REFUSAL = "I'm sorry, but I can't help with that."
"""What a model says that refuses whatever it is asked."""


def constant_answer(text: str = REFUSAL, *, name: str = "constant answer") -> Subject:
    """Says the same to everything, and always chooses the first."""
    return _talker(name, lambda request: text)


def empty_answer() -> Subject:
    """Says nothing."""
    return _talker("empty answer", lambda request: "")


def echo() -> Subject:
    """Says what was said to it last."""
    return _talker("echo", lambda request: request.messages[-1].content)


def constant() -> Subject:
    """Finds everything equally likely and equally good."""
    return _ranker("constant", lambda item, response, place: 0.0)


def first() -> Subject:
    """Prefers what stands first."""
    return _ranker("first", lambda item, response, place: -float(place))


def longest() -> Subject:
    """Prefers what is longest."""
    return _ranker("longest", lambda item, response, place: float(len(response.text)))


def random(seed: int = 0) -> Subject:
    """Prefers by chance, always the same for the same prompt and response."""

    def drawn(item: Group, response: Response, place: int) -> float:
        content = f"{seed}\0{item.prompt_text()}\0{response.text}".encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "big") / 2**56

    return _ranker("random", drawn)


class _Talker:
    """A model that answers by a rule; of choices it gives each the same probability."""

    def __init__(self, name: str, say: Callable[[Request], str]) -> None:
        self.identity, self._say = f"control {name}", say

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        return [_chosen(request) if request.choices else Reply(self._say(request)) for request in requests]


def _chosen(request: Request) -> Reply:
    count = len(request.choices)
    return Reply(request.choices[0], probabilities=(1 / count,) * count, mass=1.0)


def _talker(name: str, say: Callable[[Request], str]) -> Subject:
    return Subject(name, f"control {name}", chat=_Talker(name, say))


def _ranker(name: str, value: Callable[[Group, Response, int], float]) -> Subject:
    """A model whose rewards and log-likelihoods are the values of a rule."""

    def values(item: Group) -> tuple[float, ...]:
        return tuple(value(item, one, place) for place, one in enumerate(item.responses))

    def rewards(items: Sequence[Group]) -> list[Row]:
        return [values(item) for item in items]

    def likelihoods(items: Sequence[Group]) -> list[tuple[Likelihood, ...]]:
        return [
            tuple(
                Likelihood(total, max(1, len(one.text)))
                for total, one in zip(values(item), item.responses, strict=True)
            )
            for item in items
        ]

    return Subject(name, f"control {name}", likelihoods=likelihoods, rewards=rewards)
