"""Transitions, as reinforcement learning logs them: state, action, reward, next state, and whether that is the end."""

from __future__ import annotations

from accord.data.formats.demonstrations import prompt_of
from accord.data.rows import Row
from accord.record import Feedback, Group, Response
from accord.record.transitions import with_next_state


def read(row: Row) -> Group:
    """One transition: `state` is the prompt, `action` the response, `reward` its score.

    `next_state` is what the actor sees next, in the form of `state`; `done` says that the episode ends instead. Without
    `done`, a transition without `next_state` is the last.
    """
    response = Response(row.text("action"))
    given = row.values.get("next_state") is not None
    if "done" in row.values and row.values["done"] is not None:
        done = row.truth("done")
        if not done and not given:
            raise row.error(
                "the episode goes on (`done` is false), but `next_state` is missing",
                "Add the state that follows, or say done.",
            )
    else:
        done = not given
    if not done:
        response = with_next_state(response, prompt_of(row, "next_state"))
    reward = row.number("reward")
    feedback = () if reward is None else (Feedback("dataset", scores={"overall": (reward,)}),)
    return Group(prompt_of(row, "state"), (response,), feedback, origin=row.origin)
