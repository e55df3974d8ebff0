"""Rewards without a ground truth: lengths, repetition, and the word lists of a worked example.

They are heuristics, and a policy will find what they overlook; their names in every table say so by being theirs.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from accord.record import Response

Unit = Literal["words", "characters", "tokens"]
Count = Annotated[int, msgspec.Meta(ge=1)]

HARMFUL = ("kill", "hate", "attack", "violent")
"""Words for which `simple_alignment_reward` takes two points."""


def simple_alignment_reward(prompt: str, response: str) -> float:
    """+1 for 20 to 100 words, -2 for a harmful word, +0.5 for one of the prompt's last three words; all as substrings.

    Kept to the letter of its source: "skill" is harmful in it, and "blue?" is not the word "blue". `alignment_reward`
    is the repaired one.
    """
    text = response.lower()
    return _alignment(
        words=len(response.split()),
        harmful=any(word in text for word in HARMFUL),
        on_topic=any(word in text for word in prompt.lower().split()[-3:]),
    )


def alignment_reward(prompt: str, response: str) -> float:
    """`simple_alignment_reward` on whole words: "skill" is not "kill", and punctuation does not hide a word."""
    words = _words(response)
    return _alignment(
        words=len(response.split()),
        harmful=any(word in words for word in HARMFUL),
        on_topic=any(word in words for word in re.findall(r"\w+", prompt.lower())[-3:]),
    )


def length_penalty(record: Response, *, alpha: float = 0.005, unit: Unit = "words") -> float | None:
    """A penalty for every unit of length: -alpha * length.

    Args:
        alpha: of one unit.
        unit: what is counted; tokens are known of sampled responses only, others are missing.
    """
    length = _length(record, unit)
    return None if length is None else -alpha * length


def excess_length_penalty(
    record: Response, *, target: Count = 100, alpha: float = 0.005, unit: Unit = "words"
) -> float | None:
    """A penalty for what exceeds a length: -alpha * max(0, length - target).

    Args:
        target: length that is free.
        alpha: of one unit above it.
        unit: what is counted; tokens are known of sampled responses only, others are missing.
    """
    length = _length(record, unit)
    return None if length is None else -alpha * max(0, length - target)


def soft_overlong(record: Response, *, max_length: Count, cache: Count) -> float | None:
    r"""DAPO's soft overlong punishment: 0 up to max_length - cache tokens, then linear, -1 from max_length on.

    .. math:: \frac{(L_{max} - L_c) - |y|}{L_c} \quad \text{for} \quad L_{max} - L_c < |y| \le L_{max}

    Source: Yu et al. 2025 (arXiv 2503.14476), eq. 13. Missing for a response without sampled tokens.

    Args:
        max_length: tokens from which on the penalty is -1.
        cache: tokens over which it grows; at most max_length.
    """
    length = _length(record, "tokens")
    return None if length is None else max(-1.0, min(0.0, (max_length - cache - length) / cache))


def repetition(response: str, *, n: Count = 3) -> float:
    """A penalty for repeating oneself: minus the share of the response's n-grams of words that occurred before.

    Args:
        n: words of an n-gram. A response shorter than that repeats nothing.
    """
    words = response.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return -(1 - len(set(grams)) / len(grams)) if grams else 0.0


def unfinished(record: Response) -> float:
    """1 for a response that hit the length limit, else 0; give it a negative weight."""
    return float(not record.finished)


def _alignment(*, words: int, harmful: bool, on_topic: bool) -> float:
    return float(20 <= words <= 100) - 2.0 * harmful + 0.5 * on_topic


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _length(record: Response, unit: Unit) -> int | None:
    if unit == "tokens":
        return None if record.tokens is None else len(record.tokens)
    return len(record.text.split()) if unit == "words" else len(record.text)
