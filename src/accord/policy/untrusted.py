"""Tokenise text so that content stays content: a message that spells out a special token never becomes one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

# Private-use characters that stand in for content while a template renders it. Content that brings them itself has them
# hidden as well, so they cannot be forged.
_OPEN, _CLOSE, _SLOT = "\ue000", "\ue001", "\ue002"
_HIDDEN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


def slot(index: int) -> str:
    """A stand-in for the content of an assistant turn, to find it again in the rendered conversation."""
    return f"{_SLOT}{index}{_SLOT}"


class TextEncoder:
    """Text to ids, with the markers of a conversation told apart by who wrote them.

    `hide` replaces every marker in untrusted text by a stand-in, the template renders the text with its stand-ins, and
    `encode` reads the template's own markers as special tokens and the hidden ones as ordinary characters. Text
    without markers passes through unchanged: its ids are those of the plain route, the whole text tokenised at once.

    Args:
        tokenizer: a transformers tokenizer.
        markers: what may not come from content besides the tokenizer's special tokens.
    """

    def __init__(self, tokenizer: Any, markers: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        names = {name for name in (*special, *tokenizer.all_special_tokens, *markers) if name}
        # A marker may contain another; the longer one comes first.
        self._markers = sorted(names, key=lambda name: (-len(name), name))
        self._marker = re.compile("|".join(map(re.escape, self._markers)) or "(?!)")
        self._secrets = [*self._markers, _OPEN, _CLOSE, _SLOT]
        self._indices = {secret: index for index, secret in enumerate(self._secrets)}
        self._secret = re.compile("|".join(map(re.escape, self._secrets)))
        self._known: dict[str, list[int]] = {"": []}

    def hide(self, text: str) -> str:
        """The text with every marker replaced by a stand-in."""
        return self._secret.sub(lambda match: f"{_OPEN}{self._indices[match[0]]}{_CLOSE}", text)

    def reveal(self, text: str) -> str:
        """Undo `hide`."""
        return _HIDDEN.sub(lambda match: self._secrets[int(match[1])], text)

    def through_marker(self, text: str) -> str | None:
        """The text up to and including its first marker, or `None` if it has none."""
        match = self._marker.search(text)
        return text[: match.end()] if match else None

    def from_last_marker(self, text: str) -> str:
        """The text from its last marker on, or all of it if it has none."""
        starts = [match.start() for match in self._marker.finditer(text)]
        return text[starts[-1] :] if starts else text

    def encode(self, text: str, *, after: str = "") -> list[int]:
        """Ids of a text that `hide` went over where it is untrusted.

        Args:
            text: what to tokenise; no token is added to it.
            after: text that stands before it and is tokenised already. It decides whether tokenizers that mark word
                beginnings put a space in front. Where a token would reach across the boundary, the boundary wins.
        """
        ids: list[int] = []
        for position, piece in enumerate(_HIDDEN.split(text)):
            if position % 2:
                ids += self._plain(self._secrets[int(piece)])
            elif piece:
                ids += self._continued(piece, after if position == 0 else "\n")
        return ids

    def _continued(self, text: str, after: str) -> list[int]:
        if after not in self._known:
            self._known[after] = self._ids(after)
        before, both = self._known[after], self._ids(after + text)
        return both[len(before) :] if both[: len(before)] == before else self._ids(text)

    def _plain(self, marker: str) -> list[int]:
        """A marker as ordinary characters."""
        ids: list[int] = self._tokenizer.encode(marker, add_special_tokens=False, split_special_tokens=True)
        if self._tokenizer.convert_tokens_to_ids(marker) in ids:  # an added token that is not registered as special
            ids = [index for character in marker for index in self._ids(character)]
        return ids

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def added_prefix(tokenizer: Any) -> tuple[int, ...]:
    """The ids that a tokenizer itself puts in front of plain text: its beginning-of-sequence token, or nothing."""
    plain: Sequence[int] = tokenizer.encode("x", add_special_tokens=False)
    whole: Sequence[int] = tokenizer.encode("x", add_special_tokens=True)
    for start in range(len(whole) - len(plain) + 1):
        if list(whole[start : start + len(plain)]) == list(plain):
            return tuple(whole[:start])
    return ()
