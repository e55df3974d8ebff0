"""Transitions of offline reinforcement learning: a response that is not the end, and the state it leads to."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from accord.record.types import Message, Prompt, Response

NEXT_STATE = "next_state"
"""Where a response's `meta` has the state that follows it: text, or messages as objects with role and content."""


def with_next_state(response: Response, state: Prompt) -> Response:
    """The response with the state that follows it, from which the episode goes on."""
    return replace(response, meta={**response.meta, NEXT_STATE: msgspec.to_builtins(state)})


def next_state(response: Response) -> Prompt | None:
    """The state that follows a response; `None` where the response ends the episode.

    >>> next_state(with_next_state(Response("north"), "You are at the gate."))
    'You are at the gate.'
    """
    state = response.meta.get(NEXT_STATE)
    return None if state is None else msgspec.convert(state, str | tuple[Message, ...])
