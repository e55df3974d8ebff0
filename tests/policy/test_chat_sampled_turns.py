"""Responses that took turns with an environment keep their tokens, and train their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from accord.errors import DataError
from accord.policy.chat import Renderer
from accord.record import Group, Message, Origin, Response, read_groups, write_groups
from accord.testing import byte_tokenizer


def conversation(renderer: Renderer) -> tuple[Group, Response]:
    """Two answers with an observation between them, in the ids of sampling."""
    (end,) = renderer.stop_ids[:1]
    first, observation, last = (tuple(text.encode()) for text in ("what colour?", "<user>blue<assistant>", "bluish"))
    response = Response(
        "bluish",
        context=(Message("assistant", "what colour?"), Message("user", "blue")),
        tokens=(*first, end, *observation, *last, end),
        trained=(True,) * (len(first) + 1) + (False,) * len(observation) + (True,) * (len(last) + 1),
    )
    return Group("What is it?", (response,), origin=Origin("turns.jsonl", 3)), response


def test_the_tokens_and_their_mask_are_kept(tmp_path: Path) -> None:
    renderer = Renderer(byte_tokenizer())
    group, response = conversation(renderer)
    write_groups(tmp_path / "groups.jsonl", [group])
    (read,) = read_groups(tmp_path / "groups.jsonl")
    (encoded,) = renderer.encode(read).responses
    assert (encoded.tokens, encoded.trained) == (response.tokens, response.trained)


def test_plain_text_takes_turns_as_well() -> None:
    renderer = Renderer(byte_tokenizer(None))
    tokens = tuple(b"one two three")
    trained = (True,) * 3 + (False,) * 5 + (True,) * 5
    (encoded,) = renderer.encode(Group("x", (Response("three", tokens=tokens, trained=trained),))).responses
    assert (encoded.tokens, encoded.trained) == (tokens, trained)


def test_tokens_of_another_tokenizer_are_read_anew_from_the_text() -> None:
    renderer = Renderer(byte_tokenizer())
    group, response = conversation(renderer)
    assert response.tokens is not None
    foreign = replace(response, tokens=tuple((token + 1) % 250 for token in response.tokens))
    (encoded,) = renderer.encode(replace(group, responses=(foreign,))).responses
    own = tuple(token for token, trained in zip(encoded.tokens, encoded.trained, strict=True) if trained)
    assert renderer.decode(own) == "what colour?<|im_end|>bluish<|im_end|>"
    assert "blue" in renderer.decode(encoded.tokens)


def test_steps_are_found_in_the_last_turn() -> None:
    renderer = Renderer(byte_tokenizer())
    group, response = conversation(renderer)
    assert response.tokens is not None
    (encoded,) = renderer.encode(replace(group, responses=(replace(response, steps=(2, 6)),))).responses
    before = len(response.tokens) - len("bluish") - 1
    assert encoded.steps == (before + 1, before + 5)


def test_a_mask_of_another_length_names_its_row() -> None:
    renderer = Renderer(byte_tokenizer())
    group, response = conversation(renderer)
    with pytest.raises(DataError, match=r"^turns\.jsonl:3: .* says of 1 whether"):
        renderer.encode(replace(group, responses=(replace(response, trained=(True,)),)))


def test_nothing_trained_stays_untrained() -> None:
    renderer = Renderer(byte_tokenizer())
    (encoded,) = renderer.encode(Group("x", (Response("", tokens=(65,), trained=(False,)),))).responses
    assert encoded.trained == (False,)
