"""A reward server that fails in the middle of an online run: what it costs, and what becomes of the run."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.feedback.reward import RewardError
from accord.feedback.server_reward import ServerReward
from accord.recipes.online import train_online
from accord.record import Group
from accord.train.config import TrainConfig

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]


class Scorer:
    """A reward server on loopback.

    Attributes:
        failing: how the n-th request (from 1) fails: a status, or `late`.
        asked: requests that came.
    """

    def __init__(self) -> None:
        self.failing: dict[int, str] = {}
        self.asked = 0
        scorer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def do_POST(self) -> None:
                responses = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["responses"]
                scorer.asked += 1
                fault = scorer.failing.get(scorer.asked, "")
                if fault == "late":
                    time.sleep(1.3)
                scores = [sum(map(ord, text)) % 97 / 97 for text in responses]
                self.send_response(int(fault) if fault.isdigit() else 200)
                self.end_headers()
                try:
                    self.wfile.write(json.dumps({"scores": scores}).encode())
                except OSError:
                    return  # who waits no longer has hung up

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/score"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def reward(self) -> ServerReward:
        return ServerReward(self.url, retries=1, backoff=0.01, timeout=1.0, parallel=1)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scorer() -> Iterator[Scorer]:
    server = Scorer()
    yield server
    server.close()


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "grpo", "lr": 1e-3, "steps": 4, "prompts": 4, "n": 3, "max_tokens": 5}
    given |= {"samples": 0, "holdout": 0.25, "save_every": 1, "schedule": "constant"}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def of_steps(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def weights(config: TrainConfig, scorer: Scorer) -> torch.Tensor:
    """Of the policy that this run ends with."""
    policy = train_online(config, [scorer.reward()], groups=PROMPTS).policy
    assert policy is not None
    return torch.cat([parameter.detach().flatten() for parameter in policy.model.parameters()])


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize(("fault", "said"), [("500", "answered 500"), ("late", "took longer|timed out")])
def test_it_stops_the_run_which_goes_on_exactly(
    fault: str, said: str, ahead: int, scorer: Scorer, tiny: Path, tmp_path: Path
) -> None:
    whole = weights(settings(tiny, tmp_path / "whole", ahead=ahead), scorer)
    scorer.asked, scorer.failing = 0, dict.fromkeys((4, 5), fault)
    config = settings(tiny, tmp_path / "run", ahead=ahead)
    with (
        pytest.warns(UserWarning, match="attempt 2 of 2"),
        pytest.raises(RewardError, match=f"{said}.* at the last of 2 attempts.*start the same command again"),
    ):
        train_online(config, [scorer.reward()], groups=PROMPTS)
    assert 0 < len(of_steps(tmp_path / "run")) < 4
    assert torch.equal(weights(config, scorer), whole)
    assert [line["step"] for line in of_steps(tmp_path / "run")] == [1, 2, 3, 4]


def test_an_attempt_that_fails_changes_nothing(scorer: Scorer, tiny: Path, tmp_path: Path) -> None:
    whole = weights(settings(tiny, tmp_path / "whole"), scorer)
    scorer.asked, scorer.failing = 0, {3: "503", 5: "late"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert torch.equal(weights(settings(tiny, tmp_path / "run"), scorer), whole)


def test_what_it_does_not_score_is_missing_where_that_is_asked_for(scorer: Scorer, tiny: Path, tmp_path: Path) -> None:
    scorer.failing = dict.fromkeys((3, 4), "500")
    config = settings(tiny, tmp_path / "run", missing_reward="record")
    with pytest.warns(UserWarning, match="attempt 2 of 2"):
        train_online(config, [scorer.reward()], groups=PROMPTS)
    lines = of_steps(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line.get("reward/server/missing", 0.0) for line in lines] == [0.0, 1.0, 0.0, 0.0]
    assert [line["unscored"] for line in lines] == [0.0, 1.0, 0.0, 0.0]
