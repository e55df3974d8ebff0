"""Two gloo processes learn what one process learns, with whole weights and with weights in shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from safetensors.numpy import load_file

from accord.errors import ConfigError, Interrupted
from accord.record import write_groups
from accord.testing import labelled_groups, preference_groups
from accord.testing.processes import run_in_two_processes
from accord.train import distributed
from accord.train.config import TrainConfig
from accord.train.run import run_training

STEPS, HALF = 4, 2
CASES: dict[str, dict[str, Any]] = {
    "dpo": {"objective": "dpo"},
    "kto": {"objective": "kto"},
    "beta_dpo": {"objective": "beta_dpo"},
    "reward": {"objective": "bradley_terry"},
    "lora": {"objective": "kto", "lora_r": 4, "gradient_checkpointing": True},
}
WHOLE = ("dpo", "kto", "beta_dpo")
"""Cases that are also trained with whole weights in both processes."""

CHILD = """
import os, signal, sys
import msgspec
import torch.distributed as dist
from accord.errors import Interrupted
from accord.train.config import TrainConfig
from accord.train.run import run_training

def stop(policy, step):
    if step == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGTERM)
    return {}

for config in msgspec.json.decode(sys.stdin.buffer.read(), type=list[TrainConfig]):
    try:
        run_training(config, probe=stop if config.out.endswith("cut") else None)
    except Interrupted:
        pass
dist.destroy_process_group()
"""
"""Two such processes train one setting after the other; starting them takes longer than what they learn."""


def train_in_two_processes(configs: list[TrainConfig]) -> None:
    run_in_two_processes(CHILD, str(HALF), msgspec.json.encode(configs))


@pytest.fixture(scope="module")
def runs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case in one process and in two, and runs that one half of the way was taken by either."""
    root = tmp_path_factory.mktemp("runs")
    for name, groups in (("pairs", preference_groups(16)), ("labels", labelled_groups(16))):
        write_groups(root / f"{name}.jsonl", groups)

    def config(case: str, out: str, shard: str) -> TrainConfig:
        labels = CASES[case]["objective"] == "kto"
        given: dict[str, Any] = {
            "model": str(tiny),
            "data": (str(root / f"{'labels' if labels else 'pairs'}.jsonl"),),
            "out": str(root / out),
            "shard": shard,
            "lr": 1e-3,
            "steps": STEPS,
            "batch_size": 5,
            "micro_batch_tokens": 200,
            "eval_every": HALF,
            "holdout": 0.2,
            "samples": 2,
            "sample_tokens": 4,
        }
        return TrainConfig(**(given | CASES[case]))

    for case in CASES:
        run_training(config(case, f"{case}-1", "none"))

    def stop(policy: object, step: int) -> dict[str, float]:
        if step == HALF:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(Interrupted):
        run_training(config("dpo", "dpo-one-then-two", "full"), probe=stop)
    together = [config(case, f"{case}-2-none", "none") for case in WHOLE]
    together += [config(case, f"{case}-2-full", "full") for case in CASES]
    together += [config("dpo", "dpo-one-then-two", "full")]
    together += [config(case, f"{case}-two-then-one-cut", "full") for case in ("dpo", "lora")]
    train_in_two_processes(together)
    for case in ("dpo", "lora"):
        run_training(config(case, f"{case}-two-then-one-cut", "full"))
    return root


def lines(run: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def require_equal(one: Path, other: Path) -> None:
    """The same weights, the same files beside them, and the same log, to rounding."""
    assert sorted(path.name for path in (one / "model").iterdir()) == sorted(
        path.name for path in (other / "model").iterdir()
    )
    for name in ("config.json", "generation_config.json"):
        if (one / "model" / name).exists():
            assert (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
    weights, others = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert set(weights) == set(others)
    for name, weight in weights.items():
        assert abs(weight - others[name]).max() < 2e-5, name
    for alone, together in zip(lines(one), lines(other), strict=True):
        assert alone["step"] == together["step"]
        measured = (
            "loss",
            "eval/loss",
            "eval/kl",
            "margin",
            "accuracy",
            "tokens",
            "mismatched_kl",
            "beta",
            "grad_norm",
        )
        for key in measured:
            if key in alone:
                assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE)
def test_two_processes_equal_one(case: str, runs: Path) -> None:
    require_equal(runs / f"{case}-1", runs / f"{case}-2-none")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_shares_equal_one(case: str, runs: Path) -> None:
    require_equal(runs / f"{case}-1", runs / f"{case}-2-full")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["dpo-one-then-two", "dpo-two-then-one-cut", "lora-two-then-one-cut"])
def test_a_run_goes_on_with_another_number_of_processes(run: str, runs: Path) -> None:
    require_equal(runs / f"{run.partition('-')[0]}-1", runs / run)


@pytest.mark.slow
def test_each_process_writes_its_shares_and_nothing_is_pickled(runs: Path) -> None:
    names = [path.name for path in (runs / "dpo-2-full" / "checkpoints" / f"step-{STEPS:06d}").iterdir()]
    assert len([name for name in names if name.endswith(".safetensors")]) == 2
    assert {Path(name).suffix for name in names} == {".safetensors", ".json"}


def test_every_rank_makes_as_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    for count in range(8):
        parts = list(range(count))
        passes = set()
        for rank in range(3):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            passes.add(len(distributed.share(parts) + distributed.idle(parts)))
        assert passes == {-(-count // 3)}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"objective": "ilql"}, "ilql"),
        ({"objective": "trpo", "reward": ("length",)}, "trust region"),
    ],
)
def test_what_needs_whole_weights_is_not_sharded(
    more: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"objective": "dpo", "model": "m", "data": ("d",), "out": "o"}
    assert not distributed.shards(TrainConfig(**settings, shard="full"))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert distributed.shards(TrainConfig(**settings, shard="full", reward=("length",), reference_every=4, teacher="t"))
    assert not distributed.shards(TrainConfig(**settings, shard="none"))
    with pytest.raises(ConfigError, match=named):
        distributed.shards(TrainConfig(**(settings | more), shard="full"))
    assert not distributed.shards(TrainConfig(**(settings | more), shard="auto"))
