"""Small data sets of every kind of feedback, made from a seed."""

from __future__ import annotations

from random import Random

from accord.record import Feedback, Group, Message, Preference, Response

_THINGS = ("harbour", "lamp", "river", "clock", "bridge", "garden", "letter", "market")
_QUALITIES = ("old", "bright", "quiet", "green", "narrow", "famous", "small", "cold")


def demonstrations(n: int, seed: int = 0) -> list[Group]:
    """`n` Groups of one response without feedback, with different prompts and different lengths."""
    random = Random(seed)
    return [
        Group(_prompt(random, index), (Response(_good(random)),), id=f"demonstration-{index}") for index in range(n)
    ]


def preference_groups(n: int, seed: int = 0) -> list[Group]:
    """`n` pairs: response 0 is preferred, and says "please"; response 1 says "no". Learnable from a few dozen steps."""
    random = Random(seed)
    feedback = (Feedback("dataset", preferences=(Preference(better=0, worse=1),)),)
    return [
        Group(
            _prompt(random, index),
            (Response(_good(random)), Response(_bad(random))),
            feedback,
            id=f"preference-{index}",
        )
        for index in range(n)
    ]


def labelled_groups(n: int, seed: int = 0) -> list[Group]:
    """`n` Groups of one response with a binary label, alternately desirable and undesirable."""
    random = Random(seed)
    groups = []
    for index in range(n):
        desirable = index % 2 == 0
        response = Response(_good(random) if desirable else _bad(random))
        feedback = (Feedback("human", labels=(desirable,)),)
        groups.append(Group(_prompt(random, index), (response,), feedback, id=f"label-{index}"))
    return groups


def scored_groups(n: int, seed: int = 0, *, responses: int = 4) -> list[Group]:
    """`n` Groups of `responses` answers, each with an `overall` score: the share of polite words in it."""
    random = Random(seed)
    groups = []
    for index in range(n):
        answers = tuple(Response(_good(random) if random.random() < 0.5 else _bad(random)) for _ in range(responses))
        scores = tuple(answer.text.count("please") / len(answer.text.split()) for answer in answers)
        feedback = (Feedback("reward_model", scores={"overall": scores}),)
        groups.append(Group(_prompt(random, index), answers, feedback, id=f"score-{index}"))
    return groups


def conversations(n: int, seed: int = 0) -> list[Group]:
    """`n` Groups whose prompt has three turns and whose response spans two assistant turns."""
    random = Random(seed)
    groups = []
    for index in range(n):
        prompt = (
            Message("user", _prompt(random, index)),
            Message("assistant", _good(random)),
            Message("user", "And then?"),
        )
        context = (Message("assistant", _good(random)), Message("user", "Go on."))
        groups.append(Group(prompt, (Response(_good(random), context=context),), id=f"conversation-{index}"))
    return groups


def _prompt(random: Random, index: int) -> str:
    return f"Tell me about the {random.choice(_QUALITIES)} {random.choice(_THINGS)} number {index}."


def _good(random: Random) -> str:
    return " ".join(["please", *random.choices(_QUALITIES, k=random.randint(1, 4)), random.choice(_THINGS)])


def _bad(random: Random) -> str:
    return " ".join(["no", *random.choices(_QUALITIES, k=random.randint(1, 4)), random.choice(_THINGS)])
