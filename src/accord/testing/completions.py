"""A real server of completions on loopback, which answers from a tiny policy and fails as it is told."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling, sample
from accord.testing.loopback import JsonHandler, Loopback


class StandIn(Loopback):
    """A server of completions, with vLLM's requests beside them.

    Attributes:
        faults: what happens to the next requests for completions: `slow`, `429`, `500`, `malformed`, `dropped`.
        ids: whether it takes and returns token ids.
        version: what it says it is.
        loads: whether it takes weights; of a directory with a model it answers with them from then on.
        largest: choices it gives at a time.
        requests: bodies of the requests that came, by path.
        most: largest number of completions under way at a time.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.faults: list[str] = []
        self.ids, self.version, self.loads, self.largest = True, "0.11.0", True, 99
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.most = self._under_way = 0
        self._lock = threading.Lock()
        stand_in = self

        class Handler(JsonHandler):
            def do_GET(self) -> None:  # noqa: N802 - the name that the library calls
                answers = {"/v1/models": {"data": [{"id": "tiny"}]}, "/version": {"version": stand_in.version}}
                self.send(200, json.dumps(answers[self.path]))

            def do_POST(self) -> None:  # noqa: N802 - the name that the library calls
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(text) if text.strip() else {}
                with stand_in._lock:
                    stand_in.requests.append((self.path, body))
                    fault = stand_in.faults.pop(0) if stand_in.faults and "completions" in self.path else ""
                if self.path != "/v1/completions":
                    stand_in.take(body)
                    self.send(200 if stand_in.loads else 404, json.dumps({"results": [None]}))
                elif fault == "dropped":
                    self.close_connection = True
                elif fault.isdigit():
                    self.send(int(fault), '{"error": {"message": "try later"}}', {"Retry-After": "0.01"})
                elif fault == "malformed":
                    self.send(200, '{"choices": [{"text": ')
                elif not stand_in.ids and not isinstance(body["prompt"], str):
                    self.send(400, '{"error": {"message": "prompt must be a string"}}')
                else:
                    if fault == "slow":
                        time.sleep(0.6)
                    self.send(200, json.dumps(stand_in.complete(body)))

        super().__init__(Handler)

    def take(self, body: dict[str, Any]) -> None:
        """New weights, if that is what the request brings."""
        path = Path(body.get("kwargs", {}).get("weights_path", "nowhere"))
        if self.loads and (path / "config.json").is_file():
            policy = load_policy(path)
            with self._lock:
                self.policy = policy

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request for completions."""
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        time.sleep(0.02)
        renderer = self.policy.renderer
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else renderer.tokenizer.encode(prompt, add_special_tokens=False)
        sampling = Sampling(
            temperature=body["temperature"],
            max_tokens=body["max_tokens"],
            seed=body["seed"],
            stop=tuple(body.get("stop", ())),
        )
        with self._lock:
            (drawn,) = sample(
                self.policy.model,
                [ids],
                n=min(body["n"], self.largest),
                sampling=sampling,
                stop_ids=renderer.stop_ids,
                pad_id=0,
                decode=renderer.decode,
            )
            self._under_way -= 1
        choices = []
        for index, answer in enumerate(drawn):
            choice: dict[str, Any] = {
                "index": index,
                "text": renderer.text_of(answer.tokens),
                "finish_reason": "stop" if answer.finished else "length",
                "logprobs": {"token_logprobs": list(answer.logprobs), "tokens": []},
            }
            if body.get("return_token_ids"):
                choice["token_ids"] = list(answer.tokens)
            choices.append(choice)
        return {"id": "1", "object": "text_completion", "created": 0, "model": "tiny", "choices": choices[::-1]}
