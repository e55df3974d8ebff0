"""Weight soups: the mean of weights, and models between which there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.cli.app import build_app
from accord.errors import ConfigError, ModelError
from accord.policy.load import load_policy
from accord.policy.soup import cook, interpolate, likeness
from accord.testing import tiny_model


@pytest.fixture
def tuned(tmp_path: Path) -> list[Path]:
    """Two models that are a little away from one start."""
    found = []
    for seed in (1, 2):
        policy = load_policy(tiny_model(tmp_path / "start"))
        generator = torch.Generator().manual_seed(seed)
        for parameter in policy.trainable().values():
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
        policy.save(tmp_path / str(seed))
        found.append(tmp_path / str(seed))
    return found


def test_the_worked_number() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    case: dict[str, Any] = next(case for case in cases if case["method"] == "rewarded_soup")
    weights = [{"theta": torch.tensor(theta)} for theta in case["inputs"]["theta"]]
    found = interpolate(weights, case["inputs"]["weights"])
    assert found["theta"].tolist() == case["expected"]["theta_soup"]


def test_the_command_writes_the_mean(tuned: list[Path], tmp_path: Path) -> None:
    build_app()(["soup", *map(str, tuned), "--weights", "0.25", "0.75", "--out", str(tmp_path / "soup")])
    first, second, mean = (load_file(path / "model.safetensors") for path in (*tuned, tmp_path / "soup"))
    for name in mean:
        torch.testing.assert_close(mean[name], 0.25 * first[name] + 0.75 * second[name])


def test_models_without_a_common_start_are_refused(tuned: list[Path], tmp_path: Path) -> None:
    policies = [load_policy(path) for path in tuned]
    assert likeness(policies[0].trainable(), policies[1].trainable()) > 0.9
    stranger = load_policy(tiny_model(tmp_path / "stranger", seed=5))
    with pytest.raises(ModelError, match="nothing in common"):
        cook([policies[0], stranger], (0.5, 0.5))
    wider = load_policy(tiny_model(tmp_path / "wider", intermediate_size=96))
    with pytest.raises(ModelError, match="other shapes"):
        cook([policies[0], wider], (0.5, 0.5))


def test_what_the_command_refuses(tuned: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two models or more"):
        build_app()(["soup", str(tuned[0]), "--out", str(tmp_path / "soup")])
    with pytest.raises(ConfigError, match="1 weights for 2 models"):
        build_app()(["soup", *map(str, tuned), "--weights", "1", "--out", str(tmp_path / "soup")])
