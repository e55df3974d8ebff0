"""Features of an answer's style, which sway judges beside what it says."""

from __future__ import annotations

import re

FEATURES = ("words", "headings", "list items", "bold")
"""What `features` counts, in this order (Chiang et al. 2024, style control; words in place of a model's tokens)."""

_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def features(text: str) -> tuple[int, int, int, int]:
    """How many words, headings, list items and bold passages an answer has.

    >>> features("# Pots\\n- **Wash** them\\n- dry them")
    (8, 1, 2, 1)
    """
    return len(text.split()), len(_HEADING.findall(text)), len(_LIST_ITEM.findall(text)), len(_BOLD.findall(text))


def more_style(first: str, second: str) -> tuple[float, ...]:
    """How far one answer has more of each feature than another: (a - b) / (a + b + 1), between -1 and 1."""
    both = zip(features(first), features(second), strict=True)
    return tuple((one - other) / (one + other + 1) for one, other in both)
