"""Steps within a trust region, taken by the loop on a tiny policy with a critic."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.feedback.reward import Row
from accord.recipes.online import RewardedActor, train_online
from accord.record import Group
from accord.train.config import TrainConfig
from accord.train.natural import natural_step, trust_region_of
from accord.train.prepare_rounds import prepare_rounds
from accord.train.progress import Display
from accord.train.step import run_step

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]


class Height:
    """A reward that tells any two answers apart: the mean place of their characters in the alphabet."""

    name = "height"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(_height(response.text) for response in group.responses) for group in groups]


def _height(text: str) -> float:
    return sum(min(ord(letter), 200) for letter in text) / (100.0 * max(1, len(text)))


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "trpo", "steps": 3, "prompts": 4, "n": 2, "max_tokens": 5, "samples": 1}
    given |= {"lr": 1e-3, "sample_tokens": 4, "holdout": 0.25, "hyper": {"kl_limit": 0.003, "kl_reward": 0.0}}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def test_a_run_keeps_its_steps_within_the_region(tiny: Path, tmp_path: Path) -> None:
    result = train_online(settings(tiny, tmp_path / "run"), [Height()], groups=PROMPTS)
    lines = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step_kl" in line]
    assert len(steps) == 3
    for line in steps:
        assert 0.0 <= line["step_kl"] <= 0.003
        assert 0.0 <= line["step_share"] <= 1.0
    assert any(line["step_share"] > 0.0 for line in steps)


@pytest.mark.parametrize("micro_batch_tokens", [4096, 32])
def test_a_step_improves_what_it_promised(tiny: Path, tmp_path: Path, micro_batch_tokens: int) -> None:
    config = settings(tiny, tmp_path / "run", micro_batch_tokens=micro_batch_tokens)
    (tmp_path / "run").mkdir()
    run = prepare_rounds(
        config, RewardedActor([Height()], config), groups=PROMPTS, eval_groups=None, display=Display(None)
    )
    _, examples = next(iter(run.source.steps(0)))
    run_step(run.task, examples, micro_batch_tokens=micro_batch_tokens, backward=True)
    region = trust_region_of(config)
    assert region is not None
    assert run.task.critic is not None
    before = [parameter.detach().clone() for parameter in run.task.policy.trainable().values()]
    moved = natural_step(run.task, examples, region, micro_batch_tokens=micro_batch_tokens)
    # The region is small enough for the quadratic to hold: the first length tried fills it.
    assert moved["step_share"] == (1.0, 1.0)
    assert 0.9 * 0.003 < moved["step_kl"][0] <= 0.003
    after = run.task.policy.trainable().values()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in after)
    assert any(parameter.grad is not None for parameter in run.task.critic.trainable().values())


def test_other_methods_take_the_optimisers_step(tiny: Path, tmp_path: Path) -> None:
    assert trust_region_of(settings(tiny, tmp_path, objective="ppo", hyper={})) is None
    assert trust_region_of(settings(tiny, tmp_path, objective="dpo", hyper={})) is None
