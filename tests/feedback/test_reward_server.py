"""A reward server that answers, dies, hangs, returns garbage or refuses."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from accord.errors import ConfigError
from accord.feedback.reward import RewardError
from accord.feedback.score import score
from accord.feedback.server_reward import ServerReward
from accord.record import Group, Response

GROUPS = [Group("p", (Response("a"), Response("bb")), answer=1), Group("q", (Response("ccc", finished=False),))]

Answer = Callable[[dict[str, Any], int], tuple[int, bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The URL of a server that answers the n-th request with the status and body that the function returns."""
    count = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            count[0] += 1
            status, body = answer(asked, count[0])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the class above
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/score"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lengths(asked: dict[str, Any], count: int) -> tuple[int, bytes]:
    return 200, json.dumps({"scores": [len(text) for text in asked["responses"]]}).encode()


def reward(url: str, **options: Any) -> ServerReward:
    return ServerReward(url, **{"backoff": 0.01, "timeout": 5.0, "retries": 1, **options})


def test_it_sends_what_is_known_and_reads_the_scores() -> None:
    seen: list[dict[str, Any]] = []

    def answer(asked: dict[str, Any], count: int) -> tuple[int, bytes]:
        seen.append(asked)
        return 200, b'{"scores": [1, null, 0.5]}'

    with serving(answer) as url:
        assert reward(url)(GROUPS) == [(1, None), (0.5,)]
    assert seen == [
        {
            "prompts": ["p", "p", "q"],
            "messages": [[{"role": "user", "content": text}] for text in ("p", "p", "q")],
            "responses": ["a", "bb", "ccc"],
            "answers": [1, 1, None],
            "finished": [True, True, False],
        }
    ]


def test_batches_come_back_in_order() -> None:
    with serving(lengths) as url:
        assert reward(url, batch=1)(GROUPS * 5) == [(1, 2), (3,)] * 5


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b"out of memory", "answered 500 Internal Server Error: 'out of memory'"),
        (429, b"", "answered 429"),
        (200, b"<html>", "no JSON: '<html>'"),
        (200, b"[" * 100_000, "no JSON"),
        (200, b"{}", "no list of scores for 3 responses"),
        (200, b'{"scores": [1]}', "1 scores for 3 responses"),
        (200, b'{"scores": [1, NaN, 2]}', "'nan' among the scores"),
        (200, b'{"scores": [1, "2", 3]}', "no finite number"),
        (200, b'{"scores": [1, true, 3]}', "no finite number"),
    ],
)
def test_garbage_costs_retries_and_then_a_clear_message(status: int, body: bytes, message: str) -> None:
    with (
        serving(lambda asked, count: (status, body)) as url,
        pytest.warns(UserWarning, match="attempt 2 of 2") as warned,
        pytest.raises(RewardError, match="at the last of 2 attempts") as raised,
    ):
        reward(url)(GROUPS)
    assert message in str(raised.value)
    assert message in str(warned[0].message)


def test_a_server_that_recovers_costs_a_retry_only() -> None:
    with (
        serving(lambda asked, count: lengths(asked, count) if count > 1 else (503, b"starting")) as url,
        pytest.warns(UserWarning, match="answered 503"),
    ):
        assert reward(url)(GROUPS) == [(1, 2), (3,)]


def test_a_server_that_hangs_is_left() -> None:
    ended = threading.Event()

    def hang(asked: dict[str, Any], count: int) -> tuple[int, bytes]:
        ended.wait(20)
        return lengths(asked, count)

    begun = time.monotonic()
    with serving(hang) as url:
        with pytest.raises(RewardError, match=r"took longer than 0\.2 s"):
            reward(url, timeout=0.2, retries=0)(GROUPS)
        ended.set()
    assert time.monotonic() - begun < 10


def test_a_server_that_drips_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(RewardError, match="took longer"):
                reward(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.3, retries=0)(GROUPS)
        finally:
            ended.set()
            thread.join()


def test_a_server_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/score"
    with pytest.warns(UserWarning, match="attempt 2 of 2"), pytest.raises(RewardError, match="cannot be reached"):
        reward(url)(GROUPS)
    with pytest.warns(UserWarning, match="attempt 2 of 2"):
        scored = score(GROUPS, [reward(url)], missing="record")
    assert [group.scores() for group in scored] == [(None, None), (None,)]


def test_a_refusal_is_not_tried_again() -> None:
    counted = []

    def refuse(asked: dict[str, Any], count: int) -> tuple[int, bytes]:
        counted.append(count)
        return 422, b"no field named prompts"

    with serving(refuse) as url, pytest.raises(RewardError, match=r"422.*no field named prompts"):
        reward(url)(GROUPS)
    assert counted == [1]


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ConfigError, match="no URL of http"):
        ServerReward("file:///etc/passwd")
