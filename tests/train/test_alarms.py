"""Alarms of online runs: a planted hack is seen, named and may end the run; an honest run is left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accord.feedback.reward import Part, Row
from accord.recipes.alarms import RewardGuard
from accord.recipes.online import train_online
from accord.record import Group
from accord.train.config import TrainConfig

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu")
PROMPTS = [Group(f"Say {word}.") for word in WORDS]


class Letters:
    """Counts what answers have of some letters; with `sign` -1 it holds them against the answer."""

    def __init__(self, name: str, *, sign: float = 1.0) -> None:
        self.name, self.sign = name, sign

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [
            tuple(self.sign * sum(map(str.isascii, response.text)) / 5 for response in group.responses)
            for group in groups
        ]


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "rloo", "lr": 2e-2, "steps": 12, "prompts": 12, "n": 6, "max_tokens": 6}
    given |= {"samples": 0, "schedule": "constant", "warmup": 0.0, "eval_every": 4, "hyper": {"kl_reward": 0.0}}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def alarms(out: Path) -> list[dict[str, Any]]:
    path = out / "alarms.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps(out: Path) -> list[int]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]


def test_a_gamed_reward_is_noticed_named_and_ends_the_run(tiny: Path, tmp_path: Path) -> None:
    """What is trained is exactly what the watching reward holds against the answers."""
    rewards = [Part(Letters("ascii")), Part(Letters("watch", sign=-1.0), role="monitor")]
    config = settings(tiny, tmp_path / "run", alarm="stop", steps=40)
    train_online(config, rewards, groups=PROMPTS, eval_groups=PROMPTS)
    (alarm,) = [alarm for alarm in alarms(tmp_path / "run") if alarm["name"] == "reward hacking"]
    assert "watch fell" in alarm["message"]
    assert "'Say " in alarm["message"]
    assert steps(tmp_path / "run")[-1] == alarm["step"] < 40


def test_a_watching_reward_that_rises_too_raises_nothing(tiny: Path, tmp_path: Path) -> None:
    rewards = [Part(Letters("ascii")), Part(Letters("watch"), role="monitor")]
    train_online(settings(tiny, tmp_path / "run"), rewards, groups=PROMPTS, eval_groups=PROMPTS)
    assert [alarm for alarm in alarms(tmp_path / "run") if alarm["name"] == "reward hacking"] == []
    assert steps(tmp_path / "run")[-1] == 12


def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([{"step": s, "round/length": 10 + 4 * s, "round/length_correlation": 0.7} for s in range(12)], "length"),
        ([{"step": 0, "eval/distinct_2": 0.9}, {"step": 9, "eval/distinct_2": 0.3}], "repetition"),
        ([{"step": s, "zero_variance_groups": 0.95} for s in range(6)], "nothing to learn"),
        ([{"step": s, "round/length": 10 + 4 * s, "round/length_correlation": 0.1} for s in range(12)], None),
        ([{"step": 0, "eval/distinct_2": 0.9}, {"step": 9, "eval/distinct_2": 0.6}], None),
        ([{"step": s, "zero_variance_groups": 0.5} for s in range(6)], None),
    ],
)
def test_each_sign_raises_its_own_alarm_once(lines: list[dict[str, Any]], name: str | None, tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", lines)
    guard = RewardGuard(tmp_path)
    found = guard([])
    assert [alarm.name for alarm in found] == ([] if name is None else [name])
    write(tmp_path / "alarms.jsonl", [{"step": 1, "name": alarm.name, "message": alarm.message} for alarm in found])
    assert guard([]) == []
