"""The server of transformers judges a suite behind a connection that fails: nothing is judged twice or lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.chat.cached import CachedChat
from accord.chat.server import ServerChat
from accord.chat.spec import ScriptChat
from accord.chat.types import Chat
from accord.evaluate import Subject, measure
from accord.evaluate.suites.alpaca_eval import alpaca_eval
from accord.record.measurement import Measurement
from accord.testing import StandInServer, byte_tokenizer, tiny_model

ITEMS = 8
STARTING = 120.0


def deciding_model(directory: Path) -> Path:
    """A model of random weights that says one letter, A or B, by what it reads, and no more."""
    tiny_model(directory, "llama", max_position_embeddings=4096, initializer_range=0.3)
    tokenizer = byte_tokenizer("chatml")
    letters = [tokenizer.get_vocab()[letter] for letter in ("A", "B")]
    settings = json.loads((directory / "generation_config.json").read_text())
    settings["suppress_tokens"] = [token for token in range(len(tokenizer)) if token not in letters]
    settings["eos_token_id"] = letters
    (directory / "generation_config.json").write_text(json.dumps(settings))
    return directory


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of the server and the name of its model."""
    model = deciding_model(tmp_path_factory.mktemp("served") / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--log-level", "warning"]
    log = tmp_path_factory.mktemp("log") / "serve.txt"
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        ended = time.monotonic() + STARTING
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ended, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measured(judge: Chat, data: Path) -> Measurement:
    """Answers of which some are better than the baseline's, by this judge."""
    subject = Subject(
        "mine", "mine", chat=ScriptChat(lambda request: f"My view of {request.messages[-1].content}", name="m")
    )
    return measure(alpaca_eval(str(data), judge, template="written"), subject)


@pytest.mark.slow
def test_a_real_server_judges_while_the_connection_fails(served: tuple[str, str], tmp_path: Path) -> None:
    url, model = served
    data = tmp_path / "baseline.json"
    rows = [{"instruction": f"Question {place}?", "output": f"The baseline says {place}."} for place in range(ITEMS)]
    data.write_text(json.dumps(rows))
    between = StandInServer(behind=url, slowness=9.0)
    try:
        between.faults = ["500", "429", "malformed", "dropped", "slow", "503"]
        judge = CachedChat(ServerChat(between.url, model, parallel=2, timeout=8.0), tmp_path / "chat.sqlite")
        found = measured(judge, data)
        assert not between.faults, "every fault has happened"
        # The model and three controls, each item in both orders.
        assert len(between.answered) == 4 * 2 * ITEMS
        assert set(between.answered.values()) == {1}
        assert found.estimates["unread"].mean == 0.0
        assert {item.values["win_rate"] for item in found.items} <= {0.0, 0.5, 1.0}
        assert 0 < found.estimates["first_shown"].mean < 1, "it says both letters"
        again = measured(CachedChat(ServerChat(between.url, model), tmp_path / "chat.sqlite"), data)
        assert again.items == found.items
        assert sum(between.answered.values()) == 4 * 2 * ITEMS, "what is known is not asked again"
    finally:
        between.close()
    undisturbed = measured(ServerChat(url, model, parallel=1), data)
    assert undisturbed.items == found.items
    assert undisturbed.controls == found.controls
