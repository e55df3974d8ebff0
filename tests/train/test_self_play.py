"""Self-play, replay and the stop rule of rounds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accord.errors import ConfigError, DataError
from accord.feedback.reward import Row
from accord.recipes.online import train_online
from accord.recipes.self_play import train_self_play
from accord.record import Group, Response, read_groups
from accord.train.config import TrainConfig

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
DEMONSTRATIONS = [Group(f"Say {word}.", (Response("Yes."),)) for word in WORDS]


class Same:
    """A reward that never changes its mind, so that no measurement is better than the first."""

    name = "same"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(float(len(response.text) % 2) for response in group.responses) for group in groups]


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "dpo", "lr": 3e-3, "steps": 6, "prompts": 6, "max_tokens": 4, "samples": 0}
    given |= {"schedule": "constant", "holdout": 0.0, "warmup": 0.0}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


def test_self_play_starts_each_round_from_log_two_and_learns_the_data(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", passes=3, hyper={"beta": 0.5})
    train_self_play(config, groups=DEMONSTRATIONS)
    found = lines(tmp_path / "run")
    assert [found[at]["loss"] for at in (0, 3)] == pytest.approx([math.log(2)] * 2, abs=1e-4)
    assert max(found[2]["loss"], found[5]["loss"]) < 0.6
    assert found[5]["chosen_logp"] > found[0]["chosen_logp"]


def test_self_play_needs_answers_to_prefer(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="answer to prefer"):
        train_self_play(settings(tiny, tmp_path / "run"), groups=[Group("Say alpha.")])


def test_earlier_rounds_are_trained_on_again(tiny: Path, tmp_path: Path) -> None:
    train_self_play(settings(tiny, tmp_path / "run", steps=3, replay=1), groups=DEMONSTRATIONS)
    assert [line["round/groups"] for line in lines(tmp_path / "run")] == [6, 12, 12]
    assert len(list(read_groups(tmp_path / "run" / "rounds" / "round-000002.jsonl"))) == 6


def test_what_is_on_policy_is_not_replayed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="newest policy"):
        train_online(settings(tmp_path / "nowhere", tmp_path / "run", objective="grpo", replay=1), [Same()])


def test_training_ends_when_the_held_out_reward_stands_still(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", lr=0.0, steps=8, n=4, eval_every=1, patience=2, objective="grpo")
    result = train_online(config, [Same()], groups=DEMONSTRATIONS, eval_groups=DEMONSTRATIONS)
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2]
    assert (result.path / "model").is_dir()
