"""Steps through the renderer: each ends with a token of its own, in every chat style."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.policy.chat import Renderer
from accord.record import Group, Message, Response
from accord.record.steps import response_of_steps, step_texts
from accord.testing import ChatStyle, byte_tokenizer

STYLES: tuple[ChatStyle | None, ...] = (None, "chatml", "llama3", "gemma", "mistral", "qwen3")
RENDERERS = {style: Renderer(byte_tokenizer(style)) for style in STYLES}

every_style = pytest.mark.parametrize("style", STYLES)
texts = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=6)


def pieces(renderer: Renderer, group: Group) -> list[str]:
    """What the tokens of each step read."""
    (encoded,) = renderer.encode(group).responses
    starts = (0, *(end + 1 for end in encoded.steps))
    spans = zip(starts, encoded.steps, strict=False)
    return [renderer.decode(encoded.tokens[start : end + 1]) for start, end in spans]


@every_style
@given(steps=st.lists(texts, min_size=1, max_size=4))
def test_steps_end_where_their_text_ends(style: ChatStyle | None, steps: list[str]) -> None:
    response = response_of_steps(steps)
    found = pieces(RENDERERS[style], Group("What is it?", (response,)))
    assert "".join(found).endswith("".join(step_texts(response)))  # a template may write an opening before the first
    assert found[1:] == step_texts(response)[1:]


@every_style
def test_steps_do_not_change_the_tokens_of_bytes(style: ChatStyle | None) -> None:
    renderer, response = RENDERERS[style], response_of_steps(["2 + 3 = 5", "5 + 1 = 6"])
    plain = renderer.encode(Group("?", (Response(response.text),))).responses[0]
    stepped = renderer.encode(Group("?", (response,))).responses[0]
    assert (stepped.tokens, stepped.trained) == (plain.tokens, plain.trained)
    assert plain.steps == ()


def test_a_template_that_strips_moves_the_ends() -> None:
    response = Response("  one\ntwo\n ", steps=(6, 11))
    assert pieces(RENDERERS["gemma"], Group("?", (response,))) == ["one\n", "two"]


@every_style
def test_sampled_tokens_keep_their_steps(style: ChatStyle | None) -> None:
    renderer, response = RENDERERS[style], response_of_steps(["2 + 3 = 5", "5 + 1 = 6"])
    written = renderer.encode(Group("?", (response,))).responses[0]
    sampled = Response(response.text, tokens=written.tokens, steps=response.steps)
    assert renderer.encode(Group("?", (sampled,))).responses[0] == written


def test_steps_of_the_last_answer_of_several_turns() -> None:
    response = response_of_steps(["a", "b"])
    context = (Message("assistant", "first"), Message("user", "go on"))
    (encoded,) = (
        RENDERERS["chatml"]
        .encode(Group((Message("user", "?"),), (Response(response.text, context=context, steps=response.steps),)))
        .responses
    )
    first, second = encoded.steps
    assert RENDERERS["chatml"].decode(encoded.tokens[first : second + 1]) == "\nb"


def test_a_cut_response_keeps_the_steps_before_the_cut() -> None:
    (encoded,) = RENDERERS[None].encode(Group("?", (response_of_steps(["2 + 3 = 5", "5 + 1 = 6"]),))).responses
    assert encoded.first(12).steps == encoded.steps[:1]
    assert encoded.first(12).tokens == encoded.tokens[:12]
