"""What goes to the terminal: untrusted text stays text."""

from __future__ import annotations

import unicodedata

from rich.console import Console
from rich.text import Text


def console() -> Console:
    """The console of a command's results. Markup is off: square brackets in a model's answer are square brackets."""
    return Console(markup=False, highlight=False, emoji=False)


def visible(text: str) -> str:
    r"""Text with its control characters spelled out (`\x1b`), so that it steers no terminal; newlines and tabs stay."""
    return "".join(character if _harmless(character) else _spelled(character) for character in text)


def one_line(text: str) -> str:
    """Visible text on a single line."""
    return visible(" ".join(text.split()))


def plain(text: str) -> Text:
    """Untrusted text as rich shows it: no markup, no control characters."""
    return Text(visible(text))


def _harmless(character: str) -> bool:
    # Cc: control characters, escape sequences start with one. Cf: invisible formatting, among it the signs that reverse
    # the direction of writing. The joiners U+200C and U+200D belong to scripts and emoji.
    return character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
