r"""Find the answer in a response.

Nothing here raises on any text, and all of it takes time linear in the text's length. What it misses is stated beside
each
function: a false negative of the extractor is a wrong reward, and the usual cause of a reward that stays low.
"""

from __future__ import annotations

import math
import re
import unicodedata

LONGEST = 100_000
"""Characters of a response that are looked at, from its end: an answer stands there."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_SAYS = re.compile(r"\b(?:final )?answer\b\s{0,4}(?:is|:|=)\s{0,4}:?", re.IGNORECASE)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_DECIMAL = rf"[-+]?(?:{_DIGITS})(?:[eE][-+]?\d{{1,4}}(?![\w.]))?"
_FRACTION = r"[-+]?\\[dt]?frac\s?\{\s?[-+]?\d+(?:\.\d+)?\s?\}\s?\{\s?[-+]?\d+(?:\.\d+)?\s?\}"
_NUMBER = re.compile(rf"{_FRACTION}|{_DECIMAL}(?:\s?/\s?\d+(?:\.\d+)?)?")
_PART = re.compile(_DECIMAL)
_DECORATION = re.compile(r"\\(?:text|mathrm|mbox)\s?\{[^{}]*\}|\^\s?\{?\s?\\circ\s?\}?|\\[$%]|\\(?=\s|$)")
_EXPRESSION = re.compile(r"[\\^]|\bsqrt\b")
_SIGNS = str.maketrans({"−": "-", "–": "-", "⁄": "/", "\u00a0": " ", "\u202f": " "})


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, braces balanced; one that is not closed is none."""
    text = text[-LONGEST:]
    # From the last one backwards; only the last few are tried, so that thousands of unclosed ones cost nothing.
    for found in list(_BOX.finditer(text))[:-6:-1]:
        depth = 1
        for index in range(found.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if not depth:
                return text[found.end() : index].strip()
    return None


def marked(text: str) -> str | None:
    r"""The answer where the text marks it: the last box, else what follows the last `####`, else the last "answer is".

    Misses: an answer that is only the last sentence, a word for "answer" in another language.
    """
    text = text[-LONGEST:]
    box = boxed(text)
    if box is not None:
        return box
    _, hashes, after = text.rpartition("####")
    if hashes:
        return _first_line(after)
    said = None
    for said in _SAYS.finditer(text):  # noqa: B007 - the last one counts
        pass
    return _first_line(text[said.end() :]) if said else None


def last_number(text: str) -> float | None:
    r"""The last number in a text: `-1,234.5`, `6.02e23`, `3/4`, `\frac{3}{4}`; currency, units, percent are dropped.

    Misses: decimal commas (`3,14` reads as 14), numbers in words, `1 000` with a space (reads as 0), mixed numbers
    (`1 1/2` reads as 0.5), roots and powers (`math` reads those). A percentage is not divided: `50%` is 50.
    """
    text = _plain(text[-LONGEST:])
    for found in reversed(list(_NUMBER.finditer(text))):
        # A hyphen after a word or a digit joins or subtracts, it makes no negative number: "5-3", "GPT-4".
        start = found.start()
        joined = found[0][0] in "+-" and start > 0 and (text[start - 1].isalnum() or text[start - 1] == ")")
        value = _value(found[0][1:] if joined else found[0])
        if value is not None:
            return value
    return None


def stated_number(text: str) -> float | None:
    r"""The number that a short text states: the last one after its last `=`; `None` where it is part of an expression.

    `5`, `$5.00`, `x = 5`, `5 apples`, `5\%` and `90^\circ` state one; `2\sqrt{2}`, `10^3` and `3\pi` do not.
    """
    text = _DECORATION.sub(" ", _plain(text[:1000])).rpartition("=")[2]
    rest = _NUMBER.sub(" ", text)
    return None if _EXPRESSION.search(rest) else last_number(text)


def as_number(text: str) -> float | None:
    """The number that a short text states, where it is the only one in it."""
    return stated_number(text) if len(_NUMBER.findall(_plain(text[:1000]))) == 1 else None


def normalised(text: str) -> str:
    """Text in one form: compatibility characters, case, runs of spaces and outer punctuation do not count."""
    folded = unicodedata.normalize("NFKC", text[-LONGEST:]).casefold()
    words = " ".join(folded.split())
    return words.strip(" .,;:!?\"'`*_()[]{}“”‘’«»$") or words


def fenced(text: str, *languages: str) -> str | None:
    """What stands in the last closed Markdown fence, of one of these languages if any such fence is there."""
    parts = text[-LONGEST:].split("```")
    blocks = [part.split("\n", 1) for part in parts[1:-1:2]]
    closed = [(block[0].strip().lower(), block[1] if len(block) > 1 else block[0]) for block in blocks]
    named = [body for language, body in closed if language in languages] or [body for _, body in closed]
    return named[-1] if named else None


def _first_line(text: str) -> str | None:
    line = next((line.strip() for line in text[:4000].splitlines() if line.strip()), "")
    return line or None


def _plain(text: str) -> str:
    return text.translate(_SIGNS).replace("\\,", "").replace("\\!", "").replace("{,}", ",")


def _value(text: str) -> float | None:
    """The finite number that a match of `_NUMBER` stands for."""
    if len(text) > 400:
        return None
    parts = [float(part[0].replace(",", "")) for part in _PART.finditer(text)]
    sign = -1.0 if text.startswith("-\\") else 1.0
    value = parts[0] if len(parts) == 1 else _ratio(parts[0], parts[-1])
    return sign * value if math.isfinite(value) else None


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
