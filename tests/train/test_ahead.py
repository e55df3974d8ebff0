"""Rounds drawn with the weights of the round before: which weights, what corrects for them, and that a run goes on."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from accord.errors import ConfigError, DataError, NumericsError
from accord.feedback.reward import Part, Row
from accord.policy.policy import Policy
from accord.recipes.online import RewardedActor, train_online
from accord.record import Group
from accord.train.actor import PromptOrder, Round
from accord.train.ahead import Ahead
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.prepare_rounds import with_rollout
from accord.train.run import run_training

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]

FORKS = """
import os, signal, sys, time
import msgspec
from accord.recipes.online import train_online
from accord.train.config import TrainConfig
from test_ahead import PROMPTS, Spread, steps_so_far

def begun(config):
    child = os.fork()
    if child == 0:
        train_online(config, [Spread()], groups=PROMPTS)
        os._exit(0)
    return child

whole, killed = msgspec.json.decode(sys.argv[1], type=tuple[TrainConfig, TrainConfig])
child, deadline = begun(killed), time.monotonic() + 60
while time.monotonic() < deadline and steps_so_far(killed.out) < 5:
    time.sleep(0.005)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
assert 5 <= steps_so_far(killed.out) < 10
for config in (killed, whole):
    assert os.waitpid(begun(config), 0)[1] == 0
"""
"""One interpreter that trains in children, since loading the libraries takes longer than the training."""


class Spread:
    """A reward that is hardly ever the same for two texts."""

    name = "spread"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(sum(map(ord, response.text)) % 97 / 97 for response in group.responses) for group in groups]


class Low:
    """The share of characters in the lower half of a byte's values."""

    name = "low"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(sum(ord(c) < 64 for c in r.text) / (len(r.text) or 1) for r in g.responses) for g in groups]


class Watched(RewardedActor):
    """Notes which version of the policy each round was drawn with, and in which thread."""

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        SEEN.append((number, policy.version, threading.current_thread().name))
        return super().collect(policy, prompts, number)


class Away:
    """Samples with a copy of the weights, as a server does."""

    def __init__(self, config: TrainConfig) -> None:
        self.inner = Watched([Spread()], config)
        self.copy: Policy | None = None

    def hand_over(self, policy: Policy) -> None:
        self.copy = copy.deepcopy(policy)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        if self.copy is None:
            self.hand_over(policy)
        assert self.copy is not None
        assert self.copy.version == policy.version
        return self.inner.collect(self.copy, prompts, number)

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        return self.inner.examine(policy, prompts)


SEEN: list[tuple[int, str, str]] = []


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "grpo", "lr": 1e-3, "steps": 6, "prompts": 4, "n": 3, "max_tokens": 5}
    given |= {"samples": 0, "holdout": 0.25, "save_every": 1, "schedule": "constant", "ahead": 1}
    return with_rollout(TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more)))


def of_steps(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_a_round_is_drawn_with_the_weights_of_the_round_before(tiny: Path, tmp_path: Path) -> None:
    SEEN.clear()
    config = settings(tiny, tmp_path / "run", passes=2, steps=8)
    run_training(config, groups=PROMPTS, actor=Watched([Spread()], config))
    assert [(number, version) for number, version, _ in SEEN] == [
        (0, "start"),
        (1, "start"),
        (2, "step-2"),
        (3, "step-4"),
    ]
    lines = of_steps(tmp_path / "run")
    assert [line["round/behind"] for line in lines[::2]] == [0.0, 1.0, 1.0, 1.0]
    assert lines[0]["off_policy/kl"] == pytest.approx(0.0, abs=1e-9)
    assert all(line["off_policy/kl"] > 1e-7 and 0.0 <= line["off_policy/truncated"] < 1.0 for line in lines[2::2])
    # Ratios are taken to the policy where the round's updates begin.
    assert all(line["ratio_max"] == pytest.approx(1.0, abs=1e-4) for line in lines[::2])


def test_while_nothing_is_learned_it_is_the_same_as_on_policy(tiny: Path, tmp_path: Path) -> None:
    for name, ahead in (("off", 1), ("on", 0)):
        train_online(settings(tiny, tmp_path / name, ahead=ahead, lr=0.0), [Spread()], groups=PROMPTS)
    off, on = (of_steps(tmp_path / name) for name in ("off", "on"))
    assert texts(tmp_path / "off") == texts(tmp_path / "on")
    for one, other in zip(off, on, strict=True):
        assert one["off_policy/weight"] == pytest.approx(1.0, abs=1e-5)
        assert one["off_policy/truncated"] == 0.0
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def texts(out: Path) -> list[list[str]]:
    lines = (out / "rollouts.jsonl").read_text().splitlines()
    return [[one["text"] for one in json.loads(line)["group"]["responses"]] for line in lines]


@pytest.mark.parametrize("of", ["token", "response"])
def test_it_learns_one_step_off(of: str, tiny: Path, tmp_path: Path) -> None:
    config = settings(
        tiny, tmp_path / "run", objective="rloo", hyper={"kl_reward": 0.0}, lr=1e-2, steps=30, n=8, off_policy=of
    )
    train_online(config, [Low()], groups=PROMPTS)
    found = [line["reward/low"] for line in of_steps(tmp_path / "run")]
    assert sum(found[-3:]) / 3 > sum(found[:3]) / 3 + 0.2


@pytest.mark.parametrize(
    "method", ["reinforce", "remax", "ppo", "ppo_lagrangian", "gspo", "trpo", "constrained_trpo", "dpo", "kto"]
)
def test_any_method_takes_them(method: str, tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", objective=method, steps=3, n=2, passes=1)
    train_online(config, [Spread(), Part(Low(), role="cost")], groups=PROMPTS)
    lines = of_steps(tmp_path / "run")
    assert all(math.isfinite(line["loss"]) for line in lines)
    # What learns from comparisons needs no correction.
    assert all(("off_policy/weight" in line) is (method not in ("dpo", "kto")) for line in lines)


def test_a_run_killed_at_any_moment_goes_on_exactly(tiny: Path, tmp_path: Path) -> None:
    whole = settings(tiny, tmp_path / "whole", objective="ppo", passes=2, steps=10, save_every=4)
    killed = replace(whole, out=str(tmp_path / "killed"))
    modules = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
    subprocess.run(
        [sys.executable, "-c", FORKS, msgspec.json.encode((whole, killed)).decode()],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": modules},
        check=True,
    )
    expected, found = (load_file(Path(config.out) / "model" / "model.safetensors") for config in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (tmp_path / "whole" / "rollouts.jsonl").read_text() == (tmp_path / "killed" / "rollouts.jsonl").read_text()


def steps_so_far(out: str) -> int:
    path = Path(out) / "metrics.jsonl"
    return sum(b'"loss"' in line for line in path.read_bytes().splitlines()) if path.exists() else 0


def test_only_rounds_that_a_checkpoint_goes_on_from_are_kept(tiny: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    train_online(settings(tiny, directory.path, save_every=2, keep_checkpoints=2), [Spread()], groups=PROMPTS)
    assert sorted(directory.ahead_files()) == [2, 4, 5]
    assert [path.name for path in sorted(directory.checkpoints.iterdir())] == ["step-000004", "step-000006"]
    directory.clear()
    assert directory.ahead_files() == {}


def test_what_samples_elsewhere_does_so_beside_the_updates(tiny: Path, tmp_path: Path) -> None:
    SEEN.clear()
    config = settings(tiny, tmp_path / "run", steps=4, save_every=2)
    run_training(config, groups=PROMPTS, actor=Away(config))
    assert [(number, version) for number, version, _ in SEEN] == list(enumerate(("start", "start", "step-1", "step-2")))
    assert [thread.startswith("ahead") for _, _, thread in SEEN] == [False, True, True, True]
    here = settings(tiny, tmp_path / "here", steps=4, save_every=2)
    run_training(here, groups=PROMPTS, actor=Watched([Spread()], here))
    assert (tmp_path / "run" / "rollouts.jsonl").read_text() == (tmp_path / "here" / "rollouts.jsonl").read_text()


def test_what_fails_elsewhere_stops_the_run_which_goes_on_from_there(tiny: Path, tmp_path: Path) -> None:
    class Failing(Away):
        def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
            if number == 3:
                raise DataError("gone")
            return super().collect(policy, prompts, number)

    config = settings(tiny, tmp_path / "run")
    with pytest.raises(DataError, match="gone"):
        run_training(config, groups=PROMPTS, actor=Failing(config))
    run_training(config, groups=PROMPTS, actor=Away(config))
    assert [line["step"] for line in of_steps(tmp_path / "run")] == list(range(1, 7))
    whole = settings(tiny, tmp_path / "whole")
    run_training(whole, groups=PROMPTS, actor=Away(whole))
    assert (tmp_path / "run" / "rollouts.jsonl").read_text() == (tmp_path / "whole" / "rollouts.jsonl").read_text()


def test_answers_that_are_not_of_the_weights_they_name_are_refused(tiny: Path, tmp_path: Path) -> None:
    class Sharp(Away):
        """Writes down the log-probabilities of another distribution, as a server does that leaves out temperature."""

        def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
            collected = super().collect(policy, prompts, number)
            return Round([other_distribution(group) for group in collected.groups], collected.notes)

    config = settings(tiny, tmp_path / "run", ahead=0)
    with pytest.raises(NumericsError, match="processed_logprobs"):
        run_training(config, groups=PROMPTS, actor=Sharp(config))


def other_distribution(group: Group) -> Group:
    responses = (replace(one, logprobs=tuple(2.0 * value for value in one.logprobs or ())) for one in group.responses)
    return replace(group, responses=tuple(responses))


def test_a_damaged_round_is_named(tiny: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    ahead = Ahead(Watched([Spread()], settings(tiny, tmp_path)), directory, rounds=3, steps_a_round=1)
    directory.ahead_file(1).parent.mkdir()
    directory.ahead_file(1).write_bytes(b"\xc1")
    with pytest.raises(DataError, match="--fresh"):
        ahead.collect(None, PromptOrder(PROMPTS, 4, 0), 1)  # type: ignore[arg-type]


def test_no_other_policies_take_part(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--ahead"):
        train_online(settings(tiny, tmp_path / "run", guide=str(tiny)), [Spread()], groups=PROMPTS)
    with pytest.raises(ConfigError, match="--ahead"):
        settings(tiny, tmp_path / "run", ahead=2)
