"""Promises that hold by construction: the reference, its cache, the order of checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from accord.errors import ConfigError, ModelError, NumericsError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.reference import LogprobCache, Reference
from accord.policy.start import starting_weights
from accord.testing import preference_groups, tiny_model
from accord.train.config import TrainConfig
from accord.train.run import run_training

GROUPS = preference_groups(12)


def config(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "dpo", "lr": 1e-3, "steps": 2, "batch_size": 4, "holdout": 0.0, "samples": 0}
    return TrainConfig(model=str(model), data=("in memory",), out=str(out), **(given | more))


class Spy:
    """Counts the Groups whose reference is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed = 0
        original = Reference.compute

        def compute(reference: Reference, starting: Policy, batch: Any, **settings: Any) -> None:
            self.computed += len(batch)
            original(reference, starting, batch, **settings)

        monkeypatch.setattr(Reference, "compute", compute)


def test_the_reference_is_computed_once_for_every_beta_rate_seed_and_objective(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    run_training(config(tiny, tmp_path / "first"), groups=GROUPS)
    assert spy.computed == len(GROUPS)
    changes: dict[str, dict[str, Any]] = {
        "beta": {"hyper": {"beta": 0.5}},
        "rate": {"lr": 1e-4, "seed": 5},
        "objective": {"objective": "ipo"},
        "adapters": {"lora_r": 4},
    }
    for name, change in changes.items():
        run_training(config(tiny, tmp_path / name, **change), groups=GROUPS)
    assert spy.computed == len(GROUPS)
    run_training(config(tiny, tmp_path / "bf16", dtype="bf16"), groups=GROUPS)
    assert spy.computed == 2 * len(GROUPS), "another compute precision has other values"


def test_other_weights_have_another_reference(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    run_training(config(tiny, tmp_path / "first"), groups=GROUPS)
    run_training(config(tiny_model(tmp_path / "other", seed=9), tmp_path / "second"), groups=GROUPS)
    assert spy.computed == 2 * len(GROUPS)


def test_a_reference_that_is_not_the_start_stops_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = LogprobCache.__getitem__
    monkeypatch.setattr(LogprobCache, "__getitem__", lambda cache, key: values(cache, key) - 0.1)
    with pytest.raises(NumericsError, match=r"differ by 0\.1 nats on a token before the first step"):
        run_training(config(tiny, tmp_path / "run"), groups=GROUPS)
    assert not (tmp_path / "run").exists()


def test_the_start_is_known_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    directory = tiny_model(tmp_path / "model")
    policy = load_policy(directory)
    with torch.no_grad():
        next(iter(policy.trainable().values())).add_(1.0)
    with starting_weights(policy, lambda: load_policy(directory)) as start:
        assert start.fingerprint() == policy.fingerprint()
    tiny_model(directory, seed=3)
    with (
        pytest.raises(ModelError, match="weights have changed since this run started"),
        starting_weights(policy, lambda: load_policy(directory)),
    ):
        pass


def test_dropout_is_off_in_policy_and_reference(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path / "gpt2", "gpt2"))
    assert policy.model.config.resid_pdrop > 0
    encoded = [policy.renderer.encode(group) for group in GROUPS]
    assert torch.equal(policy.logprobs(encoded), policy.logprobs(encoded))


def test_hyperparameters_are_checked_before_the_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--beta: -1.0 is out of range"):
        run_training(config(tmp_path / "absent", tmp_path / "run", hyper={"beta": -1.0}), groups=GROUPS)


def test_no_gradient_reaches_frozen_weights_under_adapters(tiny: Path) -> None:
    policy = load_policy(tiny, lora_r=4)
    torch.autograd.backward(policy.logprobs([policy.renderer.encode(GROUPS[0])]).sum())
    trained = set(map(id, policy.trainable().values()))
    for parameter in policy.model.parameters():
        assert (id(parameter) in trained) == parameter.requires_grad
        assert parameter.requires_grad or parameter.grad is None
