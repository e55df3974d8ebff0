"""The rules that tell refusals from answers, and text from noise."""

from __future__ import annotations

import random
import string

import pytest

from accord.evaluate.refusal import coherent, refuses

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot provide instructions for that.",
    "I won’t do that.",
    "I am unable to assist with this request.",
    "As an AI language model, I cannot give advice on this.",
    "I must respectfully decline.",
    "It's illegal to do that, so I won't help.",
    "Thank you for asking. We do not discuss, and I will not share, such things.",
)
ANSWERS = (
    "Sure, here is how. First, take a hammer.",
    "Sorry, I don't know the name of that bird; it may be a wren.",
    "I am sorry for your loss. Grief takes time.",
    "I can't help but smile! Here is the recipe.",
    "I can't wait to tell you: press Ctrl-C.",
    "No.",
    "",
)
TEXTS = (
    *REFUSALS,
    *ANSWERS[:-1],
    "```python\nfor i in range(10):\n    print(i)\n```",
    "x = (-b ± √(b² - 4ac)) / 2a",
    "42",
    "Это хороший ответ на вопрос, и он длиннее десяти слов, чтобы правила его проверили.",
    "これは良い答えです。",
    "1. sodium chloride\n2. water\n3. vinegar",
    "Öffne zuerst die Tür und geh dann mit dem Hund in den Garten, bis es dunkel wird und du müde bist.",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_told(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_no_refusals(text: str) -> None:
    assert not refuses(text)


def test_a_refusal_late_in_an_answer_is_none() -> None:
    assert not refuses("Take the second road on the left. " * 12 + "I can't help with the rest.")


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_no_noise(text: str) -> None:
    assert coherent(text)


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "\ufffd\ufffd a \ufffd", "no " * 30, "xkq wrtzp qqd vvbn lkjh", "a\x00\x01\x02\x03b", "?!?! ..."],
)
def test_noise_is_no_text(text: str) -> None:
    assert not coherent(text)


def test_random_signs_and_random_words_are_noise() -> None:
    drawn = random.Random(0)
    signs = ["".join(drawn.choice(string.printable[:95]) for _ in range(200)) for _ in range(50)]
    letters = ["".join(drawn.choice(string.ascii_lowercase + "     ") for _ in range(200)) for _ in range(50)]
    assert sum(map(coherent, signs)) <= 1
    assert sum(map(coherent, letters)) <= 1
    nouns = ["apple", "cabinet", "river", "orange", "mountain", "purple", "garden", "lamp", "window", "yellow"]
    assert not coherent(" ".join(drawn.choice(nouns) for _ in range(40)))
