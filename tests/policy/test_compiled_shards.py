"""Layers whose weights are in shares compile as well: two gloo processes give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from accord.policy.load import load_policy
from accord.record import Encoded, EncodedResponse
from accord.testing import tiny_model

CHILD = """
import sys
import msgspec, torch
import torch.distributed as dist
from accord.policy.engine import compiled
from accord.policy.load import load_policy
from accord.policy.sharding import whole
from accord.record import Encoded

model, meeting, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
compiled.BACKEND = "eager"
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
policy = load_policy(model, device="cpu", shard=True, compile=True, gradient_checkpointing=True)
assert compiled.is_compiled(policy.model)
values = policy.logprobs(msgspec.json.decode(sys.stdin.buffer.read(), type=list[Encoded]))
(values.sum() / 2).backward()
with torch.no_grad():
    gradients = {name: float(whole(p.grad).norm()) for name, p in policy.trainable().items()}
if rank == 0:
    sys.stdout.buffer.write(msgspec.json.encode([values.detach().flatten().tolist(), gradients]))
dist.destroy_process_group()
"""
"""One of two processes that each compute the same log-probs; prints them, and the norm of each weight's gradient."""


def in_two_processes(model: Path, batch: list[Encoded], meeting: Path) -> tuple[list[float], dict[str, float]]:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(model), str(meeting), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        for child in children:
            assert child.stdin is not None
            child.stdin.write(msgspec.json.encode(batch))
            child.stdin.close()
            child.stdin = None
        answers = [child.communicate(timeout=300) for child in children]
        assert not any(child.returncode for child in children), answers[0][1].decode()[-2000:]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return msgspec.json.decode(answers[0][0], type=tuple[list[float], dict[str, float]])


@pytest.mark.slow
def test_two_processes_with_compiled_layers_give_what_one_gives(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    responses = tuple(EncodedResponse(tuple(range(3, 3 + size)), (True,) * size) for size in (7, 4))
    batch = [Encoded((9, 8, 7, 6, 5), responses)]
    policy = load_policy(model)
    expected = policy.logprobs(batch)
    torch.autograd.backward(expected.sum())
    values, gradients = in_two_processes(model, batch, tmp_path / "meeting")
    assert values == pytest.approx(expected.flatten().tolist(), abs=1e-5)
    of_one = {name: float(p.grad.norm()) for name, p in policy.trainable().items() if p.grad is not None}
    assert gradients == pytest.approx(of_one, rel=1e-4, abs=1e-5)
