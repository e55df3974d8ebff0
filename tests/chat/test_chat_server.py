"""Servers that talk: a real server on loopback that fails as it is told, and the command line's names for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from accord.chat import ChatError, Opening, Reply, Request, open_chat
from accord.chat.cached import CachedChat
from accord.chat.choices import choice_probabilities
from accord.chat.in_process import PolicyChat
from accord.chat.server import ServerChat
from accord.errors import ConfigError
from accord.record import Message
from accord.testing import StandInServer, tiny_model


@pytest.fixture
def stand_in() -> Iterator[StandInServer]:
    server = StandInServer()
    yield server
    server.close()


def question(text: str, **settings: Any) -> Request:
    return Request((Message("system", "Be brief."), Message("user", text)), **settings)


def test_what_is_asked_and_what_comes_back(stand_in: StandInServer) -> None:
    chat = open_chat(f"{stand_in.url}#tiny")
    (reply,) = chat([question("hello", temperature=0.5, max_tokens=7, seed=3, stop=("END",))])
    assert reply == Reply("A to hello", tokens=(10, 3))
    (body,) = stand_in.bodies
    sent = {"model": "tiny", "temperature": 0.5, "max_tokens": 7, "seed": 3, "stop": ["END"], "top_p": 1.0}
    assert {name: body[name] for name in sent} == sent
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_choices_have_the_probabilities_of_first_tokens(stand_in: StandInServer) -> None:
    (reply,) = ServerChat(stand_in.url, "tiny")([question("which?", choices=("A", "B"))])
    assert reply.text == "A"
    assert reply.probabilities == pytest.approx((0.6 / 0.9, 0.3 / 0.9))
    assert reply.mass == pytest.approx(0.9)


@pytest.mark.parametrize("logprobs", ["left out", "refused"])
def test_a_server_without_probabilities_says_its_choice(
    stand_in: StandInServer, logprobs: Literal["left out", "refused"]
) -> None:
    stand_in.logprobs = logprobs
    chat = ServerChat(stand_in.url, "tiny", parallel=1)
    with pytest.warns(UserWarning, match="no log-probabilities"):
        replies = chat([question("one", choices=("A", "B")), question("two", choices=("A", "B"))])
    assert [(reply.text, reply.probabilities) for reply in replies] == [("A to one", None), ("A to two", None)]
    assert len(stand_in.bodies) == 3, "asked once for probabilities, then never again"


def test_every_fault_is_tried_again_and_nothing_is_asked_twice_or_lost(stand_in: StandInServer, tmp_path: Path) -> None:
    stand_in.faults = ["500", "429", "malformed", "dropped", "slow", "503"]
    chat = CachedChat(ServerChat(stand_in.url, "tiny", parallel=3, timeout=0.4), tmp_path / "chat.sqlite")
    requests = [question(str(number)) for number in range(12)]
    told: list[int] = []
    replies = chat(requests, progress=lambda done, total: told.append(done))
    assert [reply.text for reply in replies] == [f"A to {number}" for number in range(12)]
    assert set(stand_in.answered.values()) == {1}
    assert told == list(range(1, 13))
    assert stand_in.most <= 3
    assert chat.tokens == (120, 36)
    assert CachedChat(ServerChat(stand_in.url, "tiny"), tmp_path / "chat.sqlite")(requests) == replies
    assert sum(stand_in.answered.values()) == 12


def test_what_was_answered_before_a_failure_is_kept(stand_in: StandInServer, tmp_path: Path) -> None:
    stand_in.broken = {"5"}
    requests = [question(str(number)) for number in range(10)]
    with pytest.raises(ChatError, match=r"127.0.0.1.*answered 500.*try later"):
        CachedChat(ServerChat(stand_in.url, "tiny", parallel=2, retries=1), tmp_path / "chat.sqlite")(requests)
    assert sum(stand_in.answered.values()) < 9, "none is begun after a failure"
    stand_in.broken = set()
    CachedChat(ServerChat(stand_in.url, "tiny"), tmp_path / "chat.sqlite")(requests)
    assert set(stand_in.answered.values()) == {1}
    assert len(stand_in.answered) == 10


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ChatError, match=r"http://127.0.0.1:9/v1#m: cannot be reached"):
        open_chat("http://127.0.0.1:9/v1#m", Opening(retries=0))([question("hello")])


def test_first_tokens_that_mean_several_choices_are_refused() -> None:
    assert choice_probabilities(("1", "10"), [("1", math.log(0.5)), ("10", math.log(0.25))], where="x")[0] == (
        pytest.approx((2 / 3, 1 / 3))
    )
    worded = choice_probabilities(("A is better.", "B is better."), [("A", -0.5), ("Well", -1.0)], where="x")
    assert worded[0] == (1.0, 0.0)
    assert worded[1] == pytest.approx(math.exp(-0.5))
    assert choice_probabilities(("A", "B"), [("Apple", -0.1), ("\n", -3.0)], where="x") == (None, 0.0)
    with pytest.raises(ChatError, match="begins 'yes, all' and 'yes, some'"):
        choice_probabilities(("yes, all", "yes, some"), [("yes", -0.1)], where="x")


def test_a_script_answers_and_is_another_when_it_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    script = tmp_path / "wise.py"
    script.write_text("def say(request):\n    return request.messages[-1].content.upper()\n")
    chat = open_chat("wise:say")
    assert chat([question("hello")]) == [Reply("HELLO")]
    assert chat.identity.startswith("wise:say-")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("http://host/v1", "names no model of the server"),
        ("no_such_module:say", "cannot import 'no_such_module'"),
        ("json:no_such_function", "no function 'no_such_function'"),
    ],
)
def test_what_cannot_be_opened_is_explained(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_chat(spec, flag="--judge")
    assert f"--judge {spec}" in str(caught.value)


def test_a_key_that_is_not_set_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        open_chat("http://host/v1#m", Opening(key_env="NO_SUCH_KEY"))


def test_a_directory_is_a_model_in_this_process(tmp_path: Path) -> None:
    assert isinstance(open_chat(str(tiny_model(tmp_path, "llama"))), PolicyChat)
