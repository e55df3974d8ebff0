"""Distillation in rounds: whose answers are learned on, and that the policy comes closer to its teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accord.errors import ConfigError
from accord.recipes.align import align
from accord.recipes.teach import train_taught
from accord.record import Group, Response
from accord.testing import tiny_model
from accord.train.config import TrainConfig

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("teacher"), "llama", seed=1)


def settings(model: Path, teacher: Path | None, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "distill", "lr": 3e-3, "steps": 8, "prompts": 4, "n": 2, "max_tokens": 6}
    given |= {"samples": 1, "sample_tokens": 4, "schedule": "constant", "holdout": 0.0}
    given |= {"teacher": None if teacher is None else str(teacher)}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_policy_comes_closer_to_its_teacher(share: float, tiny: Path, teacher: Path, tmp_path: Path) -> None:
    train_taught(settings(tiny, teacher, tmp_path / "run", own_answers=share), groups=PROMPTS)
    found = lines(tmp_path / "run")
    assert found[-1]["loss"] < 0.8 * found[0]["loss"]
    own = [line["round/own_answers"] for line in found]
    assert (set(own) == {1.0}) if share == 1.0 else (set(own) == {0.0, 1.0})


def test_given_answers_are_learned_on_without_rounds(tiny: Path, teacher: Path, tmp_path: Path) -> None:
    demonstrations = [Group(group.prompt, (Response("Yes, gladly."),)) for group in PROMPTS]
    config = settings(tiny, teacher, tmp_path / "run", batch_size=6)
    align(config, groups=demonstrations)
    found = lines(tmp_path / "run")
    assert found[-1]["loss"] < 0.8 * found[0]["loss"]


def test_a_teacher_is_asked_for_and_refused_where_nothing_is_taught(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--teacher"):
        align(settings(tiny, None, tmp_path / "run"), groups=PROMPTS)
    with pytest.raises(ConfigError, match="no effect on sft"):
        align(settings(tiny, tiny, tmp_path / "run", objective="sft"), groups=PROMPTS)
