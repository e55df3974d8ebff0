"""A reference that follows the policy: how it moves, that it learns nothing, and that a resume takes it up exactly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.errors import ConfigError
from accord.policy.load import load_policy
from accord.policy.moving import MovingReference
from accord.record import write_groups
from accord.testing import preference_groups
from accord.train.config import TrainConfig
from accord.train.run import run_training

MakeTask = Callable[..., Any]
Golden = dict[str, dict[str, Any]]


@pytest.fixture
def golden() -> Golden:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    return {case["method"]: case for case in cases}


def test_it_moves_every_so_many_steps(tiny: Path, golden: Golden) -> None:
    case = golden["tr_dpo.soft_update"]
    policy = load_policy(tiny)
    moving = MovingReference(policy, every=3, mix=case["inputs"]["alpha"])
    name, parameter = next(iter(policy.trainable().items()))
    with torch.no_grad():
        parameter.fill_(case["inputs"]["policy"])
        moving.weights[name].fill_(case["inputs"]["ref"])
    for step, expected in ((2, case["inputs"]["ref"]), (3, case["expected"]["ref_new"])):
        moving.follow(step)
        torch.testing.assert_close(moving.weights[name].data, torch.full_like(parameter, expected))


@pytest.mark.parametrize("settings", [{}, {"lora_r": 2, "lora_dropout": 0.5}])
def test_it_scores_with_its_own_weights_and_leaves_the_policys_graph_alone(
    tiny: Path, settings: dict[str, Any]
) -> None:
    policy = load_policy(tiny, **settings)
    policy.model.eval()
    moving = MovingReference(policy, every=1, mix=1.0)
    batch = [policy.renderer.encode(group) for group in preference_groups(2)]
    rows = policy.rows(batch)
    before = policy.logprobs(rows).detach()
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    alone = torch.autograd.grad(policy.logprobs(rows).sum(), list(policy.trainable().values()))
    values = policy.logprobs(rows)
    theirs = moving.logprobs(batch, rows)
    assert not theirs.requires_grad
    torch.testing.assert_close(theirs, before)
    assert (values - theirs).abs().max() > 1e-3
    together = torch.autograd.grad(values.sum(), list(policy.trainable().values()))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    moving.follow(1)
    torch.testing.assert_close(moving.logprobs(batch, rows), values.detach())


def settings(model: Path, data: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "dpo", "lr": 1e-3, "steps": 8, "batch_size": 4, "save_every": 3, "samples": 0}
    return TrainConfig(model=str(model), data=(str(data),), out=str(out), **(given | more))


def test_a_resumed_run_takes_the_reference_up_where_it_was(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    write_groups(data, preference_groups(20))
    schedule = {"reference_every": 2, "reference_mix": 0.5}
    for name in ("whole", "resumed"):
        run_training(settings(tiny, data, tmp_path / name, **schedule))
    resumed = tmp_path / "resumed"
    shutil.rmtree(resumed / "checkpoints" / "step-000008")
    environment = json.loads((resumed / "environment.json").read_text())
    (resumed / "environment.json").write_text(json.dumps(environment | {"finished": None}))
    run_training(settings(tiny, data, resumed, **schedule))
    run_training(settings(tiny, data, tmp_path / "fixed"))
    weights = {
        name: load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "resumed", "fixed")
    }
    assert all(torch.equal(value, weights["resumed"][key]) for key, value in weights["whole"].items())
    assert any(not torch.equal(value, weights["fixed"][key]) for key, value in weights["whole"].items())


def test_it_is_refused_where_there_is_no_reference(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--reference-every: has no effect on simpo"):
        run_training(settings(tiny, tmp_path / "none.jsonl", tmp_path / "out", objective="simpo", reference_every=2))
