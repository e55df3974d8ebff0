"""A policy as a model that talks, and the memory of what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from msgspec import structs

from accord.chat import ChatError, Reply, Request
from accord.chat.cached import CachedChat
from accord.chat.in_process import PolicyChat
from accord.chat.types import Progress
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.record import Message
from accord.testing import tiny_model


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("tiny"), "llama"))


def question(text: str, **settings: object) -> Request:
    return Request((Message("user", text),), **settings)  # type: ignore[arg-type]


def test_choices_have_the_probabilities_of_their_tokens(policy: Policy) -> None:
    """By hand: the prompt's ids, then the choice's, through the model itself."""
    request = question("Which is better?", choices=("A", "B", "Neither one"))
    (reply,) = PolicyChat(policy)([request])
    prompt = list(policy.renderer.encode_prompt(request.messages))
    expected = []
    for choice in request.choices:
        ids = policy.tokenizer(choice, add_special_tokens=False)["input_ids"]
        logits = policy.model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        expected.append(float(logits.log_softmax(-1)[range(len(ids)), ids].sum().detach()))
    assert reply.probabilities is not None
    weights = torch.tensor(expected, dtype=torch.float64)
    assert reply.probabilities == pytest.approx(weights.softmax(0).tolist(), rel=1e-4)
    assert reply.mass == pytest.approx(float(weights.exp().sum()), rel=1e-4)
    assert reply.text == request.choices[int(weights.argmax())]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_what_else_is_asked(policy: Policy, temperature: float) -> None:
    chat = PolicyChat(policy)
    requests = [
        question(f"Say {word}.", max_tokens=5, temperature=temperature, seed=3) for word in ("one", "two", "three")
    ]
    mixed = [question("Which?", choices=("yes", "no")), *requests]
    assert [chat([request])[0].text for request in requests] == [reply.text for reply in chat(mixed)[1:]]


def test_an_answer_ends_before_its_stop_text(policy: Policy) -> None:
    chat = PolicyChat(policy)
    asked = [question("Say a word.", max_tokens=40, temperature=1.0, seed=seed) for seed in range(4)]
    for request, reply in zip(asked, chat(asked), strict=True):
        stop = next(sign for sign in reply.text[3:] if sign.isascii())
        (cut,) = chat([structs.replace(request, stop=(stop,))])
        assert cut.text == reply.text[: reply.text.index(stop)]
        assert cut.finished


@pytest.mark.parametrize("choices", [("", "no"), ("no", "no")])
def test_choices_that_are_no_choice_are_refused(choices: tuple[str, ...]) -> None:
    with pytest.raises(ChatError, match="differ"):
        question("Which?", choices=choices)


class Echo:
    """Repeats the question, counts, and fails when told to."""

    identity = "echo-1"

    def __init__(self, fails_at: str | None = None) -> None:
        self.calls: list[str] = []
        self.fails_at = fails_at

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        for request in requests:
            if request.messages[-1].content == self.fails_at:
                raise ChatError("the server is gone", where="echo")
            self.calls.append(request.messages[-1].content)
        return [Reply(request.messages[-1].content) for request in requests]


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    echo = Echo()
    chat = CachedChat(echo, tmp_path / "chat.sqlite", part=2)
    requests = [question(text) for text in ("a", "b", "a", "c")]
    told: list[tuple[int, int]] = []
    first = chat(requests, progress=lambda done, total: told.append((done, total)))
    assert [reply.text for reply in first] == ["a", "b", "a", "c"]
    assert echo.calls == ["a", "b", "c"]
    assert told[-1] == (4, 4)
    assert CachedChat(echo, tmp_path / "chat.sqlite")(requests) == first
    assert echo.calls == ["a", "b", "c"]


def test_another_model_or_setting_is_another_question(tmp_path: Path) -> None:
    echo = Echo()
    chat = CachedChat(echo, tmp_path / "chat.sqlite")
    chat([question("a"), question("a", temperature=1.0), question("a", seed=1)])
    assert echo.calls == ["a", "a", "a"]
    echo.identity = "echo-2"
    chat([question("a")])
    assert len(echo.calls) == 4


def test_a_job_that_died_goes_on_where_it_was(tmp_path: Path) -> None:
    requests = [question(text) for text in "abcdef"]
    dying = Echo(fails_at="e")
    with pytest.raises(ChatError, match="gone"):
        CachedChat(dying, tmp_path / "chat.sqlite", part=2)(requests)
    again = Echo()
    assert [reply.text for reply in CachedChat(again, tmp_path / "chat.sqlite", part=2)(requests)] == list("abcdef")
    assert again.calls == ["e", "f"]
