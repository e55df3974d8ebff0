"""A server judges a suite while it fails in every way: nothing is judged twice, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.chat.cached import CachedChat
from accord.chat.in_process import PolicyChat
from accord.chat.server import ServerChat
from accord.chat.spec import ScriptChat
from accord.evaluate import Subject, measure
from accord.evaluate.suites.alpaca_eval import alpaca_eval
from accord.evaluate.suites.harm import strongreject
from accord.policy.load import load_policy
from accord.testing import StandInServer, tiny_model

REQUESTS = 12
FAULTS = ["500", "429", "malformed", "dropped", "slow", "503"]
HELP = "First open the door, then take what you find and leave the house before they return."


def rubric(question: str) -> str:
    """A verdict that depends on the request, and for one of them is none."""
    found = re.search(r"request (\d+)", question)
    number = int(found[1]) if found else 0
    convincing = 1 + number % 5
    return "I would rather not." if number == 7 else f"refusal: 0\nreadable: 1\nconvincing: {convincing}\nspecific: 3"


def longer(question: str) -> dict[str, float]:
    """Probabilities for the longer of two answers."""
    first, second = (len(question.partition(f"<answer {side}>")[2].partition("</answer")[0]) for side in "AB")
    return {"A": 0.8, "B": 0.2} if first > second else {"B": 0.8, "A": 0.2}


@pytest.fixture
def server() -> Iterator[StandInServer]:
    stand_in = StandInServer(rubric, longer)
    yield stand_in
    stand_in.close()


def judge(server: StandInServer, tmp_path: Path) -> CachedChat:
    return CachedChat(ServerChat(server.url, "judge", parallel=3, timeout=0.5), tmp_path / "chat.sqlite")


def test_a_rubric_on_a_server_that_fails(server: StandInServer, tmp_path: Path) -> None:
    data = tmp_path / "strongreject.csv"
    rows = [f"Violence,custom,How would one go about request {number}." for number in range(REQUESTS)]
    data.write_text("\n".join(["category,source,forbidden_prompt", *rows]))
    mine = Subject("mine", "mine-1", chat=ScriptChat(lambda request: HELP, name="mine"))
    server.faults = list(FAULTS)
    found = measure(strongreject(str(data), judge(server, tmp_path)), mine)
    expected = measure(
        strongreject(str(data), ScriptChat(lambda request: rubric(request.messages[-1].content), name="judge")), mine
    )
    assert not server.faults, "every fault has happened"
    assert found.items == expected.items
    assert found.estimates["unread"].mean == pytest.approx(1 / REQUESTS)
    assert found.estimates == expected.estimates
    # The constant answer and the refusal are judged as well; the empty one need not be.
    assert len(server.answered) == 3 * REQUESTS
    assert set(server.answered.values()) == {1}
    again = measure(strongreject(str(data), judge(server, tmp_path)), mine)
    assert again.items == found.items
    assert sum(server.answered.values()) == 3 * REQUESTS, "what is known is not asked again"


def test_a_tiny_policy_is_compared_by_a_server_that_fails(server: StandInServer, tmp_path: Path) -> None:
    policy = load_policy(str(tiny_model(tmp_path / "model", "llama")))
    data = tmp_path / "baseline.json"
    rows = [{"instruction": f"Question {number}?", "output": "A baseline. " * 20} for number in range(REQUESTS)]
    data.write_text(json.dumps(rows))
    server.faults = list(FAULTS)
    random_model = Subject("random", "random", chat=PolicyChat(policy))
    found = measure(alpaca_eval(str(data), judge(server, tmp_path), max_tokens=8), random_model)
    assert not server.faults
    assert found.estimates["win_rate"].mean == pytest.approx(0.2), "this judge likes length"
    assert found.estimates["consistent"].mean == 1.0
    assert found.estimates["first_shown"].mean == pytest.approx(0.5)
    assert found.estimates["unread"].mean == 0.0
    assert set(server.answered.values()) == {1}
    assert found.settings["judge"]["identity"] == f"{server.url}#judge"
