"""The kit itself: what it makes loads with plain transformers and is the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from accord.record import Message
from accord.testing import (
    ARCHITECTURES,
    STYLES,
    ChatStyle,
    ScriptedChat,
    byte_tokenizer,
    conversations,
    demonstrations,
    labelled_groups,
    preference_groups,
    scored_groups,
    tiny_model,
)
from accord.testing.models import Architecture

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "So"}]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiny_model_loads_with_transformers(tmp_path: Path, architecture: Architecture) -> None:
    directory = tiny_model(tmp_path / "model", architecture)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = torch.tensor([tokenizer.encode("Good morning")])
    logits = model.eval()(ids).logits
    assert logits.shape == (1, ids.shape[1], len(tokenizer))
    assert logits.std() > 0.05
    assert sum(parameter.numel() for parameter in model.parameters()) < 200_000


def test_tiny_model_depends_on_its_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = (tiny_model(tmp_path / str(index), seed=seed) for index, seed in enumerate((1, 1, 2)))
    assert torch.equal(torch.rand(1), expected), "the global random state must not move"
    weights = [(directory / "model.safetensors").read_bytes() for directory in (first, same, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_tiny_model_can_have_more_rows_than_the_tokenizer(tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path, vocab=300))
    assert model.get_input_embeddings().weight.shape[0] == 300


@given(st.text())
def test_ids_are_the_bytes_of_the_text(text: str) -> None:
    tokenizer = _TOKENIZER
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert bytes(ids) == text.encode()
    assert tokenizer.decode(ids) == text


_TOKENIZER = byte_tokenizer()


@pytest.mark.parametrize("style", [style for style in STYLES if style])
def test_templates_write_conversations_with_their_own_tokens(style: ChatStyle, tmp_path: Path) -> None:
    byte_tokenizer(style).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert sum(index >= 256 for index in ids) >= 3
    if tokenizer.bos_token_id is not None:
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.encode("x")[0] == tokenizer.bos_token_id


def test_tokenizer_options() -> None:
    tokenizer = byte_tokenizer(None, add_bos=False, add_eos=True, pad_is_eos=True)
    assert tokenizer.encode("A") == [65, tokenizer.eos_token_id]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.chat_template is None
    with pytest.raises(ValueError, match="no beginning-of-sequence"):
        byte_tokenizer("chatml", add_bos=True)


def test_scripted_chat_answers_and_remembers() -> None:
    chat = ScriptedChat(["one", "two"])
    question = [Message("user", "?")]
    assert [chat(question), chat(question)] == ["one", "two"]
    assert chat.calls == [tuple(question)] * 2
    with pytest.raises(AssertionError, match="2 replies"):
        chat(question)
    assert ScriptedChat(lambda messages: messages[-1].content.upper())([Message("user", "a")]) == "A"


@pytest.mark.parametrize("make", [demonstrations, preference_groups, labelled_groups, scored_groups, conversations])
def test_groups_are_seeded_and_whole(make: Any) -> None:
    groups = make(6, seed=3)
    assert len({group.id for group in groups}) == len({group.prompt for group in groups}) == 6
    assert groups == make(6, seed=3)
    assert groups != make(6, seed=4)
    assert all(group.responses for group in groups)
