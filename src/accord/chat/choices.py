"""The probabilities of choices, from the most likely first tokens of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.chat.types import ChatError

Likely = tuple[str, float]
"""A token's text and its log-probability."""


def choice_probabilities(
    choices: Sequence[str], likely: Sequence[Likely], *, where: str
) -> tuple[tuple[float, ...] | None, float]:
    r"""How probable each choice is as the beginning of the answer, from the answer's first token.

    .. math:: p_i = \frac{\sum_{t \to i} \pi(t)}{\sum_j \sum_{t \to j} \pi(t)}

    A token stands for a choice if, without the white space before it, it is the whole choice, begins it, or is the
    choice and a sign after it ("A)", "A."). What is not among the most likely tokens counts as 0.

    Args:
        choices: what the answer may begin with.
        likely: the most likely first tokens.
        where: who answered, for messages.

    Returns:
        The probabilities, in the order of the choices and summing to 1, or `None` if no likely token stands for any;
        and the probability that the answer begins with one of them.

    Raises:
        ChatError: a likely token begins several choices.
    """
    masses = [0.0] * len(choices)
    for token, logprob in likely:
        text = token.lstrip()
        meant = [index for index, choice in enumerate(choices) if _stands_for(text, choice)]
        whole = [index for index in meant if choices[index] == text]
        if len(whole or meant) > 1:
            several = " and ".join(repr(choices[index]) for index in meant)
            mend = "Choose answers that differ in their first token, or have the verdict written and read."
            raise ChatError(f"the token {token!r} begins {several}", where=where, mend=mend)
        for index in whole or meant:
            masses[index] += math.exp(logprob)
    total = sum(masses)
    if total <= 0:
        return None, 0.0
    return tuple(mass / total for mass in masses), min(1.0, total)


def _stands_for(text: str, choice: str) -> bool:
    if not text.strip():
        return False
    if text.startswith(choice):
        return not text[len(choice) : len(choice) + 1].isalnum()
    return choice.startswith(text)
