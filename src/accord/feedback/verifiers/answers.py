"""Verifiers of short answers: text, numbers, multiple choice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from accord.feedback.verifiers.extract import (
    as_number,
    boxed,
    last_number,
    marked,
    normalised,
    stated_number,
)

Where = Literal["whole", "marked", "anywhere"]
Found = Literal["auto", "boxed", "last"]
Tolerance = Annotated[float, msgspec.Meta(ge=0, le=1)]
Letters = Annotated[str, msgspec.Meta(min_length=2, max_length=26, pattern="^[A-Z]+$")]

_SAYS_CHOICE = r"\b(?:answer|choice|option)\b(?:\s{{0,3}}(?:is|:|=))?\s{{0,3}}:?\s{{0,3}}[(\[*]{{0,3}}([{letters}])\b"
_ALONE = r"^[\s(\[*\"']{{0,6}}([{letters}])(?:[).:,\]*\"']|\s*$)"
_BRACKETED = r"[(\[]([{letters}])[)\]]"


def exact(response: str, answer: Any, *, where: Where = "whole") -> float | None:
    """Whether the response is the answer, but for case, spaces, compatibility characters and outer punctuation.

    Several right answers may be given as a list. Misses: other words for the same thing.

    Args:
        where: the whole response must be the answer, or what it marks as its answer (box, ####, "the answer is"), or
            the answer stands anywhere in it as whole words.
    """
    accepted = {normalised(text) for text in _texts(answer)} - {""}
    if not accepted:
        return None
    if where == "anywhere":
        text = normalised(response)
        return float(any(_holds(text, one) for one in accepted))
    given = response if where == "whole" else marked(response)
    return float(given is not None and normalised(given) in accepted)


def numeric(response: str, answer: Any, *, tolerance: Tolerance = 1e-12, found: Found = "auto") -> float | None:
    r"""Whether the number in the response is the answer's: |x - y| <= tolerance * max(1, |x|, |y|).

    A ground truth that is an expression (`\sqrt{8}`) is missing here; `math` reads it. Misses: what `last_number`
    misses, above all decimal commas. 0.333 is not 1/3 at the default tolerance.

    Args:
        tolerance: absolute for numbers below 1, relative above.
        found: where the number stands: in the marked answer and else the last one of the response (auto), only in the
            last box (boxed), or the last one of the response whatever is marked (last).
    """
    gold = _gold_number(answer)
    if gold is None:
        return None
    given = _given_number(response, found)
    return float(given is not None and math.isclose(given, gold, rel_tol=tolerance, abs_tol=tolerance))


def choice(response: str, answer: Any, *, letters: Letters = "ABCDE") -> float | None:
    """Whether the response chooses the answer's letter.

    The letter is read from the last box, else from the last "answer is X", else from a response that begins with it
    ("B", "(B)", "B. Paris"), else from the last one in brackets. Misses: an option repeated in words, a lone letter
    inside prose (in English "A" is also an article, so it is not guessed), and a small letter.

    Args:
        letters: of the options, in order; an answer that is a whole number counts them from 0.
    """
    gold = _gold_letter(answer, letters)
    if gold is None:
        return None
    return float(_given_letter(response, letters) == gold)


def _texts(answer: Any) -> Iterator[str]:
    for one in answer if isinstance(answer, list | tuple) else [answer]:
        if isinstance(one, str | int | float) and not isinstance(one, bool):
            yield str(one)


def _holds(text: str, part: str) -> bool:
    """Whether `part` stands in `text` with no letter or digit against its ends."""
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        before, after = text[max(start - 1, 0) : start], text[end : end + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (after.isalnum() and part[-1].isalnum()):
            return True
        start = text.find(part, start + 1)
    return False


def _gold_number(answer: Any) -> float | None:
    if isinstance(answer, bool) or answer is None:
        return None
    if isinstance(answer, int | float):
        try:
            return float(answer) if math.isfinite(answer) else None
        except OverflowError:
            return None
    if not isinstance(answer, str):
        return None
    # The ground truth of word problems often comes with its solution: "... #### 42".
    text = marked(answer) or answer
    return as_number(text)


def _given_number(response: str, found: Found) -> float | None:
    if found == "last":
        return last_number(response)
    box = boxed(response)
    if box is not None or found == "boxed":
        return None if box is None else stated_number(box)
    text = marked(response)
    # "The answer is below: ..." marks no answer; an expression that is no number is one, and a wrong one.
    return stated_number(text) if text is not None and any(map(str.isdigit, text)) else last_number(response)


def _gold_letter(answer: Any, letters: str) -> str | None:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return letters[answer] if 0 <= answer < len(letters) else None
    text = str(answer).strip().strip("()[]. ") if isinstance(answer, str) else ""
    return text.upper() if len(text) == 1 and text.upper() in letters else None


def _given_letter(response: str, letters: str) -> str | None:
    box = boxed(response)
    if box is not None:
        text = re.sub(r"\\text\s?\{([^{}]*)\}", r"\1", box[:200]).strip("()[]. ")
        return text[:1] if text[:1] in letters and not text[1:2].isalnum() else None
    said = _all(_SAYS_CHOICE, letters, response, re.IGNORECASE)
    if said:
        return said[-1]
    alone = _all(_ALONE, letters, response.strip()[:50])
    bracketed = _all(_BRACKETED, letters, response)
    return alone[0] if alone else bracketed[-1] if bracketed else None


def _all(pattern: str, letters: str, text: str, flags: int = 0) -> Sequence[str]:
    # Only the words around it may be in any case; the letter itself is a capital.
    found = re.findall(pattern.format(letters=letters), text, flags)
    return [letter for letter in found if letter in letters]
