"""The starting weights of a run, made available again when something new must be scored under them.

The reference is a snapshot of the starting weights: the base under disabled adapters, or the same weights loaded again
and checked by content, never merely by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from accord.errors import ModelError
from accord.policy.policy import Policy


@contextmanager
def starting_weights(policy: Policy, reload: Callable[[], Policy]) -> Iterator[Policy]:
    """A policy that holds the weights `policy` started from, for the length of the block.

    Args:
        policy: what is trained.
        reload: loads the starting model again; called only when there are no adapters to disable.

    Raises:
        ModelError: what `reload` loads is not what the policy started from.
    """
    if policy.adapted:
        with policy.start():
            yield policy
        return
    start = reload()
    if start.fingerprint() != policy.fingerprint():
        raise ModelError(
            "its weights have changed since this run started, so they cannot serve as the reference",
            where=policy.source,
            mend="Restore the starting model, or start a new run with --fresh.",
        )
    yield start
