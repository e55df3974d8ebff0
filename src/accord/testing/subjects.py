"""A model for evaluations whose answers, likelihoods and rewards are functions of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accord.chat.types import Progress, Reply, Request
from accord.evaluate.subject import Likelihood, Subject
from accord.feedback.reward import Row
from accord.record import Group


def scripted_subject(
    *,
    say: Callable[[Request], Reply | str] | None = None,
    likelihood: Callable[[str, str], float] | None = None,
    reward: Callable[[str, str], float | None] | None = None,
    name: str = "scripted",
) -> Subject:
    """A subject with the abilities that it is given.

    Args:
        say: from a request to a reply or its text.
        likelihood: from prompt and response to a log-probability; a response has as many tokens as words.
        reward: from prompt and response to a reward.
        name: what it is called.
    """

    def likelihoods(items: Sequence[Group]) -> list[tuple[Likelihood, ...]]:
        assert likelihood is not None
        return [
            tuple(Likelihood(likelihood(item.prompt_text(), one.text), len(one.text.split())) for one in item.responses)
            for item in items
        ]

    def rewards(items: Sequence[Group]) -> list[Row]:
        assert reward is not None
        return [tuple(reward(item.prompt_text(), one.text) for one in item.responses) for item in items]

    return Subject(
        name,
        f"scripted {name}",
        chat=None if say is None else _Scripted(say),
        likelihoods=None if likelihood is None else likelihoods,
        rewards=None if reward is None else rewards,
    )


class _Scripted:
    """A chat that answers by a function, and remembers what it was asked."""

    identity = "scripted"

    def __init__(self, say: Callable[[Request], Reply | str]) -> None:
        self._say = say
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        self.asked += requests
        said = [self._say(request) for request in requests]
        return [one if isinstance(one, Reply) else Reply(one) for one in said]
