"""Servers that talk: a real server on loopback that fails as it is told, and the command line's names for them."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from accord.chat import ChatError, Opening, Reply, Request, open_chat
from accord.chat.cached import CachedChat
from accord.chat.choices import choice_probabilities
from accord.chat.in_process import PolicyChat
from accord.chat.server import ServerChat
from accord.errors import ConfigError
from accord.record import Message
from accord.testing import tiny_model


class StandIn:
    """A server of chat completions that says "A" with probability 0.6 and "B" with 0.3, and fails as it is told.

    Attributes:
        faults: what happens to the next requests: `slow`, a status, `malformed`, `dropped`.
        logprobs: whether it gives log-probabilities, says nothing of them, or refuses to be asked.
        answered: how often each question was answered.
        broken: questions that are always answered with status 500.
        most: largest number of requests under way at a time.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.logprobs = "given"
        self.answered: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.most = self._under_way = 0
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][-1]["content"]
                with stand_in._lock:
                    stand_in.bodies.append(body)
                    fault = stand_in.faults.pop(0) if stand_in.faults else ""
                    stand_in._under_way += 1
                    stand_in.most = max(stand_in.most, stand_in._under_way)
                time.sleep(0.6 if fault == "slow" else 0.01)
                with stand_in._lock:
                    stand_in._under_way -= 1
                if fault == "dropped":
                    self.close_connection = True
                elif question in stand_in.broken or fault.isdigit():
                    self.send(int(fault or 500), '{"error": {"message": "try later"}}', {"Retry-After": "0.01"})
                elif fault == "malformed":
                    self.send(200, '{"choices": [{"message": ')
                elif body.get("logprobs") and stand_in.logprobs == "refused":
                    self.send(400, '{"error": {"message": "logprobs are not supported"}}')
                else:
                    with stand_in._lock:
                        stand_in.answered[question] += fault != "slow"
                    self.send(200, json.dumps(stand_in.answer(body)))

            def send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                with suppress(OSError):  # who waits no longer has hung up
                    self.end_headers()
                    self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": f"A to {body['messages'][-1]['content']}"}
        if body.get("logprobs") and self.logprobs == "given":
            likely = [("A", 0.5), (" A", 0.1), ("B", 0.3), ("Both", 0.05)]
            top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in likely]
            choice["logprobs"] = {"content": [{"token": "A", "logprob": math.log(0.5), "top_logprobs": top}]}
        return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


def question(text: str, **settings: Any) -> Request:
    return Request((Message("system", "Be brief."), Message("user", text)), **settings)


def test_what_is_asked_and_what_comes_back(stand_in: StandIn) -> None:
    chat = open_chat(f"{stand_in.url}#tiny")
    (reply,) = chat([question("hello", temperature=0.5, max_tokens=7, seed=3, stop=("END",))])
    assert reply == Reply("A to hello", tokens=(10, 3))
    (body,) = stand_in.bodies
    sent = {"model": "tiny", "temperature": 0.5, "max_tokens": 7, "seed": 3, "stop": ["END"], "top_p": 1.0}
    assert {name: body[name] for name in sent} == sent
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_choices_have_the_probabilities_of_first_tokens(stand_in: StandIn) -> None:
    (reply,) = ServerChat(stand_in.url, "tiny")([question("which?", choices=("A", "B"))])
    assert reply.text == "A"
    assert reply.probabilities == pytest.approx((0.6 / 0.9, 0.3 / 0.9))
    assert reply.mass == pytest.approx(0.9)


@pytest.mark.parametrize("logprobs", ["left out", "refused"])
def test_a_server_without_probabilities_says_its_choice(stand_in: StandIn, logprobs: str) -> None:
    stand_in.logprobs = logprobs
    chat = ServerChat(stand_in.url, "tiny", parallel=1)
    with pytest.warns(UserWarning, match="no log-probabilities"):
        replies = chat([question("one", choices=("A", "B")), question("two", choices=("A", "B"))])
    assert [(reply.text, reply.probabilities) for reply in replies] == [("A to one", None), ("A to two", None)]
    assert len(stand_in.bodies) == 3, "asked once for probabilities, then never again"


def test_every_fault_is_tried_again_and_nothing_is_asked_twice_or_lost(stand_in: StandIn, tmp_path: Path) -> None:
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


def test_what_was_answered_before_a_failure_is_kept(stand_in: StandIn, tmp_path: Path) -> None:
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
