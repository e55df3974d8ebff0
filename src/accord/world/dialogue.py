"""Prompts in the middle of a conversation: earlier turns, then the question to be answered."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from accord.record import Message
from accord.world.cases import Case, Split, cases
from accord.world.grammar import render_all
from accord.world.personas import answer_as, draw_persona
from accord.world.town import Town


def dialogues(town: Town, split: Split, *, seed: int, turns: int = 2) -> Iterator[Case]:
    """An endless stream of prompts of one split behind `turns - 1` earlier turns of that split, all with one persona.

    The oracle judges the answer to the last question alone.
    """
    rng = random.Random(f"dialogues:{split}:{turns}:{seed}")
    stream = cases(town, split, seed=seed)
    while True:
        persona = draw_persona(rng)
        history: list[Message] = []
        for _ in range(turns - 1):
            earlier = next(stream)
            history.append(Message("user", earlier.text))
            history.append(Message("assistant", render_all(answer_as(persona, earlier, rng), rng)))
        yield msgspec.structs.replace(next(stream), history=tuple(history))
