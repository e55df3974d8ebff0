"""Small changes of a prompt that change nothing of what it asks: typos, case, white space, paraphrase, wrappers.

Each is a function of the text and of a random stream that follows from the seed, the item and the perturbation, so that
every model is asked the same.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from accord.record import Group, Message

Perturbation = Callable[[str, random.Random], str]

_WORD = re.compile(r"[A-Za-z]{4,}")
_TYPO_SHARE = 0.15

_PARAPHRASES = (
    "I have a question for you. {text}",
    "{text} Please tell me.",
    "Could you answer the following? {text}",
    "Here is what I would like to know: {text}",
    "Let me ask you this. {text}",
)
_ROLES = (
    "You are a ship's cook who answers passengers between two meals. A passenger says: {text}",
    "We are rehearsing a play. You are the librarian, I am the visitor, and my line is: {text}",
    "Imagine that you are a guide on a long walk, and somebody in the group asks: {text}",
)
_DISTRACTORS = (
    "By the way, the bus was seven minutes late this morning.",
    "My neighbour has painted his fence green.",
    "There were eleven apples in the bowl yesterday.",
    "It has been raining here since Tuesday.",
)
_SUFFIX_SIGNS = "!~^*()[]{}#=+;:"


def typos(text: str, stream: random.Random) -> str:
    """Some longer words with two neighbouring letters exchanged, at least one word."""
    places = [match.span() for match in _WORD.finditer(text)]
    if not places:
        return text
    count = max(1, round(_TYPO_SHARE * len(places)))
    letters = list(text)
    for start, end in stream.sample(places, count):
        place = stream.randrange(start, end - 1)
        letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)


def case(text: str, stream: random.Random) -> str:
    """All in small or all in capital letters."""
    return text.upper() if stream.random() < 0.5 else text.lower()


def whitespace(text: str, stream: random.Random) -> str:
    """Some spaces doubled, and spaces around the whole."""
    doubled = "".join("  " if sign == " " and stream.random() < 0.3 else sign for sign in text)
    return f"  {doubled} "


def paraphrase(text: str, stream: random.Random) -> str:
    """The request in a frame that says the same."""
    return stream.choice(_PARAPHRASES).format(text=text)


def role_play(text: str, stream: random.Random) -> str:
    """The request as somebody's line in a scene."""
    return stream.choice(_ROLES).format(text=text)


def distractor(text: str, stream: random.Random) -> str:
    """A sentence in front that has nothing to do with the request."""
    return f"{stream.choice(_DISTRACTORS)} {text}"


def suffix(text: str, stream: random.Random) -> str:
    """Signs without meaning behind the request."""
    return f"{text} {''.join(stream.choices(_SUFFIX_SIGNS, k=12))}"


PERTURBATIONS: Mapping[str, Perturbation] = {
    "typos": typos,
    "case": case,
    "whitespace": whitespace,
    "paraphrase": paraphrase,
    "role_play": role_play,
    "distractor": distractor,
    "suffix": suffix,
}
"""The perturbations by name."""


QUESTION = "question"
"""Entry of an item's `meta`: the part of its prompt that may be changed, where the rest is a frame."""


def perturbed(item: Group, name: str, *, seed: int) -> Group:
    """An item with its last turn changed, or the question in it, and the perturbation's name in its id.

    Args:
        item: with an id.
        name: of the perturbation.
        seed: of its random choices.
    """
    stream = random.Random(f"{seed}:{name}:{item.id}:{item.prompt_text()}")

    def changed(text: str) -> str:
        question = str(item.meta.get(QUESTION, text))
        before, found, after = text.rpartition(question)
        return f"{before}{PERTURBATIONS[name](question, stream)}{after}" if found else text

    changed_id = f"{item.id}#{name}"
    if isinstance(item.prompt, str):
        return replace(item, prompt=changed(item.prompt), id=changed_id)
    *before, last = item.prompt
    return replace(item, prompt=(*before, Message(last.role, changed(last.content))), id=changed_id)
