"""Policies that learn at once: who samples, what holds them together or apart, and what is left of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.recipes.simultaneous import Standing, train_simultaneously
from accord.record import Group
from accord.train.config import TrainConfig

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta")]


def vowels(response: str) -> float:
    """Counts vowels."""
    return sum(letter in "aeiou" for letter in response) / 4


def run(model: Path, out: Path, *, acting: Any = "average", noise: float = 0.05, **more: Any) -> Standing:
    given: dict[str, Any] = {"objective": "rloo", "lr": 1e-3, "steps": 2, "prompts": 4, "n": 2, "max_tokens": 4}
    given |= {"samples": 0, "holdout": 0.0, "schedule": "constant", "hyper": {"kl_reward": 0.0}}
    config = TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))
    reward = FunctionReward(vowels)
    return train_simultaneously(
        config, [reward], policies=2, acting=acting, noise=noise, groups=PROMPTS, eval_groups=PROMPTS[:2]
    )


def steps(out: Path, index: int) -> list[dict[str, Any]]:
    text = (out / f"policy-{index}" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def weights(path: str) -> dict[str, torch.Tensor]:
    return load_file(Path(path) / "model.safetensors")


def test_both_learn_from_the_same_answers_with_their_own_ratios(tiny: Path, tmp_path: Path) -> None:
    standing = run(tiny, tmp_path / "run")
    first, second = (steps(tmp_path / "run", index) for index in (0, 1))
    assert [line["step"] for line in first] == [1, 2]
    assert [line["score"] for line in first] == [line["score"] for line in second]
    assert first[0]["ratio_max"] != second[0]["ratio_max"]
    assert first[0]["ratio_max"] > 1.0 + 1e-4
    assert set(standing.rewards) == {"policy-0", "policy-1", "ensemble", "soup"}
    assert standing.rewards[standing.best] == max(standing.rewards["policy-0"], standing.rewards["policy-1"])
    own, other, soup = (weights(standing.models[name]) for name in ("policy-0", "policy-1", "soup"))
    for name in soup:
        torch.testing.assert_close(soup[name], (own[name] + other[name]) / 2)
    assert any(not torch.equal(own[name], other[name]) for name in own)


def test_each_on_its_own_answers_with_mutual_learning(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "run", acting="own", hyper={"guide_kl": 0.5, "diversity_bonus": 0.1, "kl_reward": 0.0})
    first, second = (steps(tmp_path / "run", index)[0] for index in (0, 1))
    assert first["ratio_max"] == pytest.approx(1.0, abs=1e-3)
    # The second starts elsewhere, so each is away from the other.
    assert first["loss/guide_kl"] > 0
    assert second["loss/guide_kl"] > 0
    assert first["loss/diversity"] < 0


def test_what_cannot_go_together(tmp_path: Path) -> None:
    def refused(message: str, **more: Any) -> None:
        with pytest.raises(ConfigError, match=message):
            run(tmp_path / "nowhere", tmp_path / "run", **more)

    refused("stay alike", noise=0.0)
    refused("no ratio", objective="dpo", hyper={})
    refused("cannot be combined with several policies", target_kl=0.1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    refused("is in use")
