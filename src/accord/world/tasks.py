"""Small exact tasks on numbers and words, each with one right answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from accord.world.phrases import TASK_QUESTIONS

LARGEST_NUMBER = 20
WORDS = ("apple", "boat", "cloud", "drum", "egg", "fish", "gate", "hat", "ink", "jar", "kite", "lamp")
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("old", "young"),
    ("fast", "slow"),
    ("wet", "parched"),
    ("loud", "quiet"),
    ("full", "empty"),
    ("rich", "poor"),
    ("dark", "bright"),
    ("happy", "sad"),
)


class Task(msgspec.Struct, frozen=True):
    """A task: its kind, its key (what makes it this task, whatever its wording), its wording and its answer."""

    kind: str
    key: str
    question: str
    answer: str


def _add(rng: random.Random) -> Task:
    a, b = rng.randint(0, 6), rng.randint(0, 6)
    return Task("add", f"add|{min(a, b)}|{max(a, b)}", _ask("add", rng, a=a, b=b), str(a + b))


def _next(rng: random.Random) -> Task:
    a = rng.randint(0, LARGEST_NUMBER - 1)
    return Task("next", f"next|{a}", _ask("next", rng, a=a), str(a + 1))


def _bigger(rng: random.Random) -> Task:
    a, b = rng.sample(range(13), 2)
    return Task("bigger", f"bigger|{min(a, b)}|{max(a, b)}", _ask("bigger", rng, a=a, b=b), str(max(a, b)))


def _repeat(rng: random.Random) -> Task:
    word, times = rng.choice(WORDS), rng.randint(2, 4)
    return Task(
        "repeat", f"repeat|{word}|{times}", _ask("repeat", rng, word=word, times=times), " ".join([word] * times)
    )


def _sort(rng: random.Random) -> Task:
    words = rng.sample(WORDS, 3)
    return Task("sort", _words_key(words), _ask("sort", rng, row=" ".join(words)), " ".join(sorted(words)))


def _reverse(rng: random.Random) -> Task:
    words = rng.sample(WORDS, 3)
    return Task("reverse", _words_key(words), _ask("reverse", rng, row=" ".join(words)), " ".join(reversed(words)))


def _opposite(rng: random.Random) -> Task:
    pair = rng.choice(OPPOSITES)
    word, answer = pair if rng.random() < 0.5 else pair[::-1]
    return Task("opposite", f"opposite|{pair[0]}", _ask("opposite", rng, word=word), answer)


def _ask(kind: str, rng: random.Random, **slots: object) -> str:
    return rng.choice(TASK_QUESTIONS[kind]).format(**slots)


def _words_key(words: list[str]) -> str:
    """One key for every order of the words, so that no split sees another's words in another order."""
    return f"words|{' '.join(sorted(words))}"


_MAKERS: Mapping[str, Callable[[random.Random], Task]] = MappingProxyType(
    {
        "add": _add,
        "next": _next,
        "bigger": _bigger,
        "repeat": _repeat,
        "sort": _sort,
        "reverse": _reverse,
        "opposite": _opposite,
    }
)


def draw_task(rng: random.Random) -> Task:
    """A task of a kind drawn evenly."""
    return _MAKERS[rng.choice(tuple(_MAKERS))](rng)


def wrong_answer(task: Task, rng: random.Random) -> str:
    """A plausible wrong answer: another number, other words, the same words in another order, the word itself."""
    while True:
        if task.kind in ("add", "next", "bigger"):
            answer = str(rng.randint(0, LARGEST_NUMBER))
        elif task.kind == "opposite":
            answer = rng.choice(rng.choice(OPPOSITES))
        else:
            right = task.answer.split()
            answer = " ".join(rng.sample(WORDS if rng.random() < 0.5 else right, len(right)))
        if answer != task.answer:
            return answer
