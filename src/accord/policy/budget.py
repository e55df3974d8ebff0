"""Groups cut into batches by the tokens that really go through the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from accord.policy.rows import longest_row, shared_tokens
from accord.record import Encoded

Cost = Callable[[int, int, int], int]
"""Tokens that a batch costs: of its number of responses, its longest sequence, and its prompts once with its responses.

`Policy.cost` is one.
"""

Item = TypeVar("Item")


def within_budget(
    items: Sequence[Item], tokens: int, cost: Cost, *, encoded: Callable[[Item], Encoded]
) -> list[list[Item]]:
    """Items of similar length together, each batch within a budget of tokens; an item beyond it goes alone.

    Args:
        items: what is to be cut, usually Groups.
        tokens: the budget.
        cost: of a batch.
        encoded: an item's token ids.
    """
    batches: list[list[Item]] = []
    responses = shared = 0
    for longest, item in sorted(((longest_row(encoded(item)), item) for item in items), key=lambda pair: pair[0]):
        own_responses, own_shared = len(encoded(item).responses), shared_tokens(encoded(item))
        responses, shared = responses + own_responses, shared + own_shared
        if not batches or cost(responses, longest, shared) > tokens:
            batches.append([])
            responses, shared = own_responses, own_shared
        batches[-1].append(item)
    return batches
