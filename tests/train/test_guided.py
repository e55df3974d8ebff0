"""Guides and opponents in rounds: whose distributions are sampled from, and what the ratio corrects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.errors import ConfigError, ModelError
from accord.feedback.reward import Row
from accord.recipes.online import train_online
from accord.recipes.teach import train_taught
from accord.recipes.train import train
from accord.record import Group
from accord.testing import tiny_model
from accord.testing.tokenizers import byte_tokenizer
from accord.train.config import TrainConfig

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta")]


class Vowels:
    """Counts vowels."""

    name = "vowels"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(sum(c in "aeiou" for c in response.text) / 4 for response in g.responses) for g in groups]


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("guide"), "llama", seed=1)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with another tokenizer."""
    return tiny_model(tmp_path_factory.mktemp("stranger"), seed=2, tokenizer=byte_tokenizer("llama3"))


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "rloo", "lr": 1e-3, "steps": 2, "prompts": 4, "n": 2, "max_tokens": 4}
    given |= {"samples": 0, "holdout": 0.0, "save_every": 0, "schedule": "constant", "warmup": 0.0}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def steps(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


def test_a_guide_without_a_share_changes_nothing(tiny: Path, guide: Path, tmp_path: Path) -> None:
    train_online(settings(tiny, tmp_path / "plain"), [Vowels()], groups=PROMPTS)
    silent = settings(tiny, tmp_path / "guided", guide=str(guide), guide_share=0.0)
    train_online(silent, [Vowels()], groups=PROMPTS)
    plain, guided = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("plain", "guided"))
    assert all(torch.equal(plain[name], guided[name]) for name in plain)


def test_the_mixture_samples_and_the_ratio_corrects(tiny: Path, guide: Path, tmp_path: Path) -> None:
    config = settings(
        tiny, tmp_path / "run", guide=str(guide), guide_span=1.0, hyper={"kl_reward": 0.1, "guide_kl": 0.5}
    )
    train_online(config, [Vowels()], groups=PROMPTS)
    first, second = steps(tmp_path / "run")
    assert [first["round/guide_share"], second["round/guide_share"]] == [0.5, 0.25]
    # The policy has not moved yet, and yet it is not what sampled.
    assert first["policy_kl_k3"] > 0.01
    assert first["ratio_max"] > 1.05
    # The divergence that is priced is the policy's own, which is its reference still.
    assert abs(first["reward_kl"]) < 1e-4
    # Half of the guide's pull is left in the second round.
    assert 0 < second["loss/guide_kl"] < 0.7 * first["loss/guide_kl"]


def test_methods_without_a_ratio_get_one(tiny: Path, guide: Path, tmp_path: Path) -> None:
    train_online(
        settings(tiny, tmp_path / "run", objective="reinforce", guide=str(guide), steps=1), [Vowels()], groups=PROMPTS
    )
    assert steps(tmp_path / "run")[0]["ratio_max"] > 1.05


def test_what_cannot_be_guided(tiny: Path, stranger: Path, tmp_path: Path) -> None:
    def refused(message: str, kind: type[Exception] = ConfigError, **more: Any) -> None:
        with pytest.raises(kind, match=message):
            train_online(settings(tiny, tmp_path / "run", **more), [Vowels()], groups=PROMPTS)

    refused("region around the policy", objective="trpo", guide="nowhere")
    refused("no ratio", objective="dpo", guide="nowhere")
    refused("no guide and no other policy", hyper={"guide_kl": 0.1})
    refused("another id or none", ModelError, guide=str(stranger))
    with pytest.raises(ConfigError, match="no effect without rewards"):
        train(settings(tiny, tmp_path / "run", objective="dpo", guide="nowhere"))


@pytest.mark.parametrize(("objective", "share"), [("xpo", None), ("nash_md", 0.5)])
def test_answers_of_policy_and_opponent_are_compared(
    objective: str, share: float | None, tiny: Path, tmp_path: Path
) -> None:
    config = settings(tiny, tmp_path / "run", objective=objective, opponent_share=share)
    train_online(config, [Vowels()], groups=PROMPTS)
    shown = [json.loads(line)["group"] for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    samplers = [[response["meta"]["sampler"] for response in group["responses"]] for group in shown]
    assert samplers
    assert all(names == ["policy"] * 2 + ["opponent"] * 2 for names in samplers)
    first = steps(tmp_path / "run")[0]
    assert first["grad_norm"] > 0
    assert "reward/vowels" in first
    assert ("loss/exploration" in first) if objective == "xpo" else (0 <= first["win_rate"] <= 1)


def test_two_samplers_need_something_that_compares(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samples of two policies"):
        train(settings(tiny, tmp_path / "run", objective="xpo"))


def test_a_teacher_with_other_tokens_is_refused_and_told_how(tiny: Path, stranger: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", objective="distill", teacher=str(stranger), own_answers=1.0)
    with pytest.raises(ModelError, match="accord train sft --teacher"):
        train_taught(config, groups=PROMPTS)
    with pytest.raises(ConfigError, match="grpo cannot learn from it"):
        train_taught(settings(tiny, tmp_path / "run", objective="grpo", teacher=str(stranger)))


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_what_a_teacher_writes_is_learned_whatever_its_tokens(
    objective: str, tiny: Path, stranger: Path, tmp_path: Path
) -> None:
    # Long enough that some answers end by themselves.
    more: dict[str, Any] = {"teacher": str(stranger), "n": 8, "max_tokens": 64, "steps": 2, "lr": 3e-3}
    train_taught(settings(tiny, tmp_path / "run", objective=objective, **more), groups=PROMPTS)
    found = steps(tmp_path / "run")
    assert found[0]["round/teacher_finished"] > 0
    assert found[-1]["loss"] < found[0]["loss"]
