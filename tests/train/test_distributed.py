"""Two gloo processes learn what one process learns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from safetensors.numpy import load_file

from accord.record import write_groups
from accord.testing import labelled_groups, preference_groups
from accord.train.config import TrainConfig

CHILD = """
import sys, msgspec
from accord.train.config import TrainConfig
from accord.train.run import run_training
run_training(msgspec.json.decode(sys.argv[1], type=TrainConfig))
import torch.distributed as dist
if dist.is_initialized():
    dist.destroy_process_group()
"""


def run(config: TrainConfig, world: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, msgspec.json.encode(config).decode()],
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors.decode()[-2000:]


@pytest.mark.parametrize("objective", ["dpo", "kto", "beta_dpo"])
def test_two_processes_equal_one(objective: str, tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    write_groups(data, (labelled_groups if objective == "kto" else preference_groups)(20))
    weights, logs = [], []
    for world in (1, 2):
        config = TrainConfig(
            objective=objective,
            model=str(tiny),
            data=(str(data),),
            out=str(tmp_path / f"run{world}"),
            lr=1e-3,
            steps=6,
            batch_size=5,
            micro_batch_tokens=200,
            holdout=0.2,
            samples=2,
            sample_tokens=6,
        )
        run(config, world)
        weights.append(load_file(tmp_path / f"run{world}" / "model" / "model.safetensors"))
        lines = (tmp_path / f"run{world}" / "metrics.jsonl").read_bytes().splitlines()
        logs.append([msgspec.json.decode(line) for line in lines])
    for name, one in weights[0].items():
        assert abs(one - weights[1][name]).max() < 2e-5, name
    for alone, together in zip(*logs, strict=True):
        assert alone["step"] == together["step"]
        for key in ("loss", "eval/loss", "margin", "accuracy", "tokens", "mismatched_kl", "beta"):
            if key in alone:
                assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-5), key
