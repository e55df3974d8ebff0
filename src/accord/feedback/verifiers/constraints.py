"""Constraints on the form of a response that a program can check: counts, words, beginnings and ends, case, layout.

They know no language but what Unicode says of letters. A constraint is written as an object with its kind:

    {"kind": "words", "least": 50, "most": 100}
    {"kind": "keyword", "word": "harbour", "least": 2}
"""

from __future__ import annotations

import json
import re
from typing import Literal

import msgspec

_SENTENCE = re.compile(r"[.!?。！？…]+(?=\s|$|[\"'”’)\]])|[。！？]")
_BULLET = re.compile(r"^[ \t]{0,8}(?:[*•+-]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*{1,2}[^\s*\n][^*\n]{0,1000}\*{1,2}")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]{1,200}\]")
_TITLE = re.compile(r"<<[^<>\n]{1,500}>>")


class Constraint(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """Something that a response satisfies or does not."""


class Counted(Constraint, frozen=True, kw_only=True):
    """At least and at most so many of something."""

    least: int = 0
    most: int | None = None

    def allows(self, count: int) -> bool:
        """Whether a count is within the limits."""
        return self.least <= count and (self.most is None or count <= self.most)


class Words(Counted, frozen=True, kw_only=True, tag="words"):
    """Words, parted by spaces."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(text.split()))


class Characters(Counted, frozen=True, kw_only=True, tag="characters"):
    """Characters, outer spaces aside."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(text.strip()))


class Sentences(Counted, frozen=True, kw_only=True, tag="sentences"):
    """Sentences, by their final signs; an abbreviation's full stop counts as one."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        text = text.strip()
        ends = list(_SENTENCE.finditer(text))
        unended = bool(text) and (not ends or any(one.isalnum() for one in text[ends[-1].end() :]))
        return self.allows(len(ends) + unended)


class Paragraphs(Counted, frozen=True, kw_only=True, tag="paragraphs"):
    """Paragraphs, parted by a separator."""

    separator: str = "\n\n"

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(_parts(text, self.separator)))


class Bullets(Counted, frozen=True, kw_only=True, tag="bullets"):
    """Items of Markdown lists, numbered ones too."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(_BULLET.findall(text)))


class Highlights(Counted, frozen=True, kw_only=True, tag="highlights"):
    """Passages in Markdown emphasis."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(_HIGHLIGHT.findall(text)))


class Placeholders(Counted, frozen=True, kw_only=True, tag="placeholders"):
    """Placeholders in square brackets."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(_PLACEHOLDER.findall(text)))


class CapitalWords(Counted, frozen=True, kw_only=True, tag="capital_words"):
    """Words in capitals throughout."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(sum(word.isupper() for word in re.findall(r"\w+", text)))


class Keyword(Counted, frozen=True, kw_only=True, tag="keyword"):
    """Occurrences of a word or phrase, as whole words in any case; once at least, unless limits are given."""

    word: str
    least: int = 1

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(re.findall(rf"(?<!\w){re.escape(self.word)}(?!\w)", text, re.IGNORECASE)))


class Letter(Counted, frozen=True, kw_only=True, tag="letter"):
    """Occurrences of a letter in any case."""

    letter: str

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(text.casefold().count(self.letter.casefold()) if self.letter else 0)


class Sections(Counted, frozen=True, kw_only=True, tag="sections"):
    """Sections headed by a marker and a number, such as "SECTION 1"."""

    marker: str

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.allows(len(re.findall(rf"{re.escape(self.marker)}\s?\d+", text)))


class Forbidden(Constraint, frozen=True, tag="forbidden"):
    """None of these words occurs, as whole words in any case."""

    words: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return not any(Keyword(word=word).holds(text) for word in self.words)


class Without(Constraint, frozen=True, tag="without"):
    """A string, such as a comma, does not occur."""

    text: str

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return self.text not in text


class Case(Constraint, frozen=True, tag="case"):
    """All letters that have a case are upper or lower; there is one at least."""

    case: Literal["upper", "lower"]

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return text.isupper() if self.case == "upper" else text.islower()


class StartsWith(Constraint, frozen=True, tag="starts_with"):
    """It begins with a phrase, outer spaces and case aside."""

    phrase: str

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return text.strip().casefold().startswith(self.phrase.strip().casefold())


class EndsWith(Constraint, frozen=True, tag="ends_with"):
    """It ends with a phrase, outer spaces, quotation marks and case aside."""

    phrase: str

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return text.strip().strip('"').casefold().endswith(self.phrase.strip().casefold())


class ParagraphStart(Constraint, frozen=True, tag="paragraph_start"):
    """The n-th paragraph, counted from 1, begins with a word."""

    nth: int
    word: str
    separator: str = "\n\n"

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        parts = _parts(text, self.separator)
        if not 1 <= self.nth <= len(parts):
            return False
        first = re.match(r"\W*(\w+)", parts[self.nth - 1])
        return first is not None and first[1].casefold() == self.word.casefold()


class Quoted(Constraint, frozen=True, tag="quoted"):
    """The whole response stands in double quotation marks."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        text = text.strip()
        return len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("“", "”"))


class Title(Constraint, frozen=True, tag="title"):
    """It has a title in double angular brackets."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return any(match[0].strip("<> ") for match in _TITLE.finditer(text))


class Json(Constraint, frozen=True, tag="json"):
    """All of it is JSON; a Markdown fence around it does not count."""

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        body = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip()[:100_000], flags=re.IGNORECASE)
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return False
        return True


class OneOf(Constraint, frozen=True, tag="one_of"):
    """One of these texts occurs to the letter."""

    texts: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        return any(one in text for one in self.texts)


class DifferentParts(Constraint, frozen=True, tag="different_parts"):
    """So many different parts, none of them empty, between separators."""

    count: int = 2
    separator: str = "******"

    def holds(self, text: str) -> bool:
        """Whether the text satisfies it."""
        parts = [part.strip() for part in text.split(self.separator)]
        return all(parts) and len(parts) == len(set(parts)) == self.count


AnyConstraint = (
    Words
    | Characters
    | Sentences
    | Paragraphs
    | Bullets
    | Highlights
    | Placeholders
    | CapitalWords
    | Keyword
    | Letter
    | Sections
    | Forbidden
    | Without
    | Case
    | StartsWith
    | EndsWith
    | ParagraphStart
    | Quoted
    | Title
    | Json
    | OneOf
    | DifferentParts
)


def _parts(text: str, separator: str) -> list[str]:
    """What stands between separators, empty parts aside."""
    return [part.strip() for part in text.split(separator or "\n\n") if part.strip()]
