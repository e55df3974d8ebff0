"""Online training whose answers come from a server, or from turns with an environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.errors import ConfigError
from accord.feedback.reward import Row
from accord.policy.load import load_policy
from accord.recipes.episodic import named_environment
from accord.recipes.online import train_online
from accord.recipes.train import train
from accord.record import Group, write_groups
from accord.rollout import ServerError
from accord.testing import tiny_model
from accord.testing.completions import StandIn
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]

ENVIRONMENT = """
from accord.rollout import Turn

class Letters:
    def __init__(self):
        self.turns = 0
    def reset(self, prompt):
        return prompt
    def step(self, response):
        self.turns += 1
        return Turn("Go on.", float(sum(map(ord, response)) % 7), self.turns == 3, {})

class Tuples(Letters):
    def step(self, response):
        return ("Go on.", 1.0, True, {})

class Angry(Letters):
    def step(self, response):
        raise ValueError("no")

def letters(group): return Letters()
def tuples(group): return Tuples()
def angry(group): return Angry()
def nothing(group): return 1
"""


class Spread:
    """A reward that is hardly ever the same for two texts."""

    name = "spread"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(sum(map(ord, response.text)) % 97 / 97 for response in group.responses) for group in groups]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("served"), "llama")


@pytest.fixture
def stand_in(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    # What it has before it is given the policy's weights.
    server = StandIn(load_policy(tiny_model(tmp_path / "other", "llama", seed=1)))
    yield server
    server.close()


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "grpo", "lr": 1e-2, "steps": 4, "prompts": 3, "n": 2, "max_tokens": 5}
    given |= {"samples": 0, "holdout": 0.25, "save_every": 1, "schedule": "constant", "data": ("prompts",)}
    return TrainConfig(model=str(model), out=str(out), **(given | more))


def of_steps(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def versions(out: Path) -> list[str]:
    shown = [json.loads(line) for line in (out / "rollouts.jsonl").read_text().splitlines()]
    found = {line["round"]: {one["version"] for one in line["group"]["responses"]} for line in shown}
    return ["/".join(sorted(found[number])) for number in sorted(found)]


def weights(out: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for _, value in sorted(load_file(out / "model" / "model.safetensors").items())])


def test_a_server_answers_with_the_weights_of_each_round(stand_in: StandIn, tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", rollouts=f"{stand_in.url}#tiny", sample_temperature=0.7)
    train_online(config, [Spread()], groups=PROMPTS)
    lines = of_steps(tmp_path / "run")
    assert versions(tmp_path / "run") == ["start", "step-1", "step-2", "step-3"]
    # The trainer finds the server's log-probabilities: it has these weights, and this temperature.
    assert all(abs(line["off_policy/kl"]) < 1e-8 for line in lines)
    assert all(line["off_policy/weight"] == pytest.approx(1.0, abs=1e-4) for line in lines)
    directory = RunDirectory(tmp_path / "run")
    assert (directory.served / "model.safetensors").is_file()
    directory.clear()
    assert not directory.served.exists()


def test_a_server_one_round_ahead(stand_in: StandIn, tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", rollouts=stand_in.url, ahead=1)
    train_online(config, [Spread()], groups=PROMPTS)
    assert versions(tmp_path / "run") == ["start", "start", "step-1", "step-2"]
    lines = of_steps(tmp_path / "run")
    assert [line["round/behind"] for line in lines] == [0.0, 1.0, 1.0, 1.0]
    assert all(line["off_policy/kl"] > 1e-7 for line in lines[1:])


def test_a_server_that_fails_stops_the_run_which_goes_on_exactly(stand_in: StandIn, tiny: Path, tmp_path: Path) -> None:
    whole = settings(tiny, tmp_path / "whole", rollouts=stand_in.url)
    train_online(whole, [Spread()], groups=PROMPTS)
    broken = settings(tiny, tmp_path / "broken", rollouts=stand_in.url)

    class Breaking(Spread):
        """Breaks the server while the second round is scored."""

        rounds = 0

        def __call__(self, groups: Sequence[Group]) -> list[Row]:
            self.rounds += 1
            if self.rounds == 3:
                stand_in.faults = ["403"] * 99
            return super().__call__(groups)

    with pytest.raises(ServerError, match="answered 403"):
        train_online(broken, [Breaking()], groups=PROMPTS)
    assert len(of_steps(tmp_path / "broken")) == 2
    stand_in.faults = []
    train_online(broken, [Spread()], groups=PROMPTS)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_a_server_that_cannot_be_trained_with_is_refused(stand_in: StandIn, tiny: Path, tmp_path: Path) -> None:
    stand_in.version = ""
    # Before any model loads: there is none.
    config = settings(tmp_path / "nowhere", tmp_path / "run", rollouts=stand_in.url)
    with pytest.raises(ServerError, match="returns no token ids"):
        train_online(config, [Spread()], groups=PROMPTS)
    stand_in.version, stand_in.loads = "0.11.0", False
    config = settings(tiny, tmp_path / "run", rollouts=stand_in.url)
    with pytest.raises(ServerError, match="VLLM_SERVER_DEV_MODE=1"):
        train_online(config, [Spread()], groups=PROMPTS)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rollouts": "localhost:8000"}, "--rollouts: 'localhost:8000' is no address"),
        ({"rollouts": "http://x", "guide": "y"}, "--rollouts: other policies"),
        ({"rollouts": "http://x", "environment": "online_worlds:letters"}, "--rollouts: cannot be combined"),
        ({"environment": "online_worlds"}, "names no function"),
        ({"environment": "online_worlds:absent"}, "has no function 'absent'"),
        ({"environment": "absent_module:f"}, "cannot import 'absent_module'"),
        ({"max_turns": 0}, "--max-turns"),
    ],
)
def test_settings_that_cannot_work(more: dict[str, Any], said: str, worlds: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        train_online(settings(tmp_path / "nowhere", tmp_path / "run", **more), [Spread()], groups=PROMPTS)


def test_nothing_is_sampled_for_nothing(tmp_path: Path) -> None:
    for more, flag in (({"rollouts": "http://x"}, "--rollouts"), ({"environment": "a:b", "judge": "c"}, "--judge")):
        with pytest.raises(ConfigError, match=flag):
            train(settings(tmp_path / "nowhere", tmp_path / "run", objective="dpo", **more))


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "online_worlds.py").write_text(ENVIRONMENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    yield
    sys.modules.pop("online_worlds", None)


@pytest.mark.parametrize("objective", ["grpo", "remax", "dpo"])
def test_the_return_of_an_episode_is_a_reward(objective: str, worlds: None, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    write_groups(path, PROMPTS)
    config = settings(
        tiny,
        tmp_path / "run",
        objective=objective,
        data=(str(path),),
        environment="online_worlds:letters",
        reward=("length_penalty,role=monitor",) if objective == "grpo" else (),
        steps=2,
    )
    result = train(config)
    lines = of_steps(result.path)
    assert all(0.0 <= line["reward/return"] <= 18.0 and line["grad_norm"] > 0 for line in lines)
    shown = [json.loads(line)["group"] for line in (result.path / "rollouts.jsonl").read_text().splitlines()]
    for group in shown:
        scores = {name: row for feedback in group["feedback"] for name, row in feedback["scores"].items()}
        assert scores["overall"] == scores["return"]
        assert all(one["meta"]["turns"] == 3 and len(one["context"]) == 4 for one in group["responses"])


@pytest.mark.parametrize(
    ("name", "said"), [("angry", "raised ValueError: no"), ("nothing", "gave int, which has no reset")]
)
def test_an_environment_that_fails_names_the_prompt(
    name: str, said: str, worlds: None, tiny: Path, tmp_path: Path
) -> None:
    config = settings(tiny, tmp_path / "run", environment=f"online_worlds:{name}")
    with pytest.raises(ConfigError, match=f"--environment online_worlds:{name}, prompt 'Say .*{said}"):
        train_online(config, [], groups=PROMPTS)


def test_a_turn_may_be_a_plain_tuple(worlds: None, tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", environment="online_worlds:tuples", steps=1)
    train_online(config, [], groups=PROMPTS)
    assert of_steps(tmp_path / "run")[0]["reward/return"] == 1.0


def test_the_environment_of_the_documentation() -> None:
    world = named_environment("accord.rollout.text_environment:text_generation")(Group("Keep it simple."))
    assert world.reset("Keep it simple.") == "Keep it simple."
    assert world.step("a simple one").reward == -0.5
