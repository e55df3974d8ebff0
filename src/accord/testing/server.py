"""A server on loopback that talks as it is told, and fails as it is told: a stand-in for a remote model or judge."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, Literal
from urllib.parse import urlsplit

from accord.testing.loopback import JsonHandler, Loopback

Fault = Literal["slow", "malformed", "dropped"] | str
"""What happens to a request: it takes long, its answer breaks off, its connection does, or a status such as "500"."""


class StandInServer(Loopback):
    """A server of chat completions that fails as it is told. By default it says "A" with 0.6 and "B" with 0.3.

    Args:
        say: what it answers to the last message; without it, "A to" the message.
        likely: the most likely first tokens that it gives to who asks for log-probabilities, with their probabilities.
        behind: URL, up to `/v1`, of a real server whose answers it passes on in place of its own.
        slowness: seconds that a slow answer takes.

    Attributes:
        faults: what happens to the next requests.
        logprobs: whether it gives log-probabilities, says nothing of them, or refuses to be asked.
        answered: how often each question was answered.
        broken: questions that are always answered with status 500.
        bodies: what it was asked.
        most: largest number of requests under way at a time.
        url: where it is, up to `/v1`.
    """

    def __init__(
        self,
        say: Callable[[str], str] = lambda question: f"A to {question}",
        likely: Callable[[str], dict[str, float]] = lambda question: {"A": 0.5, " A": 0.1, "B": 0.3, "Both": 0.05},
        *,
        behind: str | None = None,
        slowness: float = 0.6,
    ) -> None:
        self._say, self._likely, self._behind = say, likely, behind
        self.faults: list[Fault] = []
        self.logprobs: Literal["given", "left out", "refused"] = "given"
        self.answered: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.most = self._under_way = 0
        self._lock = threading.Lock()
        stand_in = self

        class Handler(JsonHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name that the library calls
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][-1]["content"]
                with stand_in._lock:
                    stand_in.bodies.append(body)
                    fault = stand_in.faults.pop(0) if stand_in.faults else ""
                    stand_in._under_way += 1
                    stand_in.most = max(stand_in.most, stand_in._under_way)
                time.sleep(slowness if fault == "slow" else 0.01)
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
                    self.send(200, stand_in._answer(body))

        super().__init__(Handler)

    def _answer(self, body: dict[str, Any]) -> str:
        if self._behind is not None:
            where = urlsplit(self._behind)
            connection = HTTPConnection(where.netloc)
            with closing(connection):
                headers = {"Content-Type": "application/json"}
                connection.request("POST", f"{where.path}/chat/completions", json.dumps(body), headers)
                return connection.getresponse().read().decode()
        question = body["messages"][-1]["content"]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": self._say(question)}
        if body.get("logprobs") and self.logprobs == "given":
            top = [
                {"token": token, "logprob": math.log(p), "bytes": None} for token, p in self._likely(question).items()
            ]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        return json.dumps({"choices": [choice], "usage": usage})
