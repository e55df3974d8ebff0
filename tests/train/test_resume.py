"""Kill a run at any moment, repeat its command: the parameters are bit-identical to those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.errors import ConfigError, Interrupted
from accord.record import Feedback, Preference, write_groups
from accord.testing import labelled_groups, preference_groups
from accord.train.config import TrainConfig
from accord.train.run import run_training

STEPS = 12
CHILD = """
import sys, msgspec
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.errors import Interrupted
try:
    run_training(msgspec.json.decode(sys.argv[1], type=TrainConfig))
except Interrupted as stop:
    sys.exit(128 + stop.signal)
"""


def settings(model: Path, data: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {
        "objective": "dpo",
        "lr": 1e-3,
        "steps": STEPS,
        "batch_size": 4,
        "save_every": 2,
        "eval_every": 3,
        "holdout": 0.2,
        "samples": 2,
        "sample_tokens": 6,
    }
    return TrainConfig(model=str(model), data=(str(data),), out=str(out), **(given | more))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    write_groups(path, preference_groups(20))
    return path


def start(config: TrainConfig) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, msgspec.json.encode(config).decode()],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )


def wait_for_step(out: Path, step: int) -> None:
    """Until `metrics.jsonl` has reached a step; fails loudly when it never does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(line.get("step", 0) >= step for line in lines(out)):
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} never came")


def lines(out: Path) -> Iterator[dict[str, Any]]:
    path = out / "metrics.jsonl"
    if path.exists():
        for raw in path.read_bytes().splitlines():
            if raw.endswith(b"}"):
                yield json.loads(raw)


def outcome(out: Path) -> tuple[bytes, list[tuple[int, Any]]]:
    """The weights, and every line of the log without what depends on the clock."""
    logged = [(line["step"], line.get("loss"), line.get("eval/loss"), line.get("eval/kl")) for line in lines(out)]
    return (out / "model" / "model.safetensors").read_bytes(), logged  # type: ignore[return-value]


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert start(settings(tiny, data, out)).wait(120) == 0
    return outcome(out)


@pytest.mark.parametrize("step", [1, 7])
def test_killed_and_repeated(
    step: int, tiny: Path, data: Path, tmp_path: Path, uninterrupted: tuple[bytes, list[Any]]
) -> None:
    config = settings(tiny, data, tmp_path / "run")
    child = start(config)
    wait_for_step(tmp_path / "run", step)
    child.kill()
    child.wait()
    assert start(config).wait(120) == 0
    assert outcome(tmp_path / "run") == uninterrupted


def test_sigterm_checkpoints_and_the_same_command_goes_on(
    tiny: Path, data: Path, tmp_path: Path, uninterrupted: tuple[bytes, list[Any]]
) -> None:
    config = settings(tiny, data, tmp_path / "run", save_every=0)
    child = start(config)
    wait_for_step(tmp_path / "run", 2)
    child.send_signal(signal.SIGTERM)
    child.wait(60)
    assert child.returncode == 128 + signal.SIGTERM
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert start(config).wait(120) == 0
    assert outcome(tmp_path / "run") == uninterrupted


@pytest.mark.parametrize(
    "more",
    [
        {"lora_r": 4, "lora_dropout": 0.2},
        {"objective": "kto", "dtype": "bf16"},
        {"objective": "constrained_dpo", "hyper": {"dual_rate": 2.0, "kl_limit": 0.0}},
    ],
)
def test_ctrl_c_in_process_resumes_bit_for_bit(more: dict[str, Any], tiny: Path, data: Path, tmp_path: Path) -> None:
    groups = labelled_groups(20) if more.get("objective") == "kto" else preference_groups(20)
    whole = settings(tiny, data, tmp_path / "whole", **more)
    run_training(whole, groups=groups)
    config = settings(tiny, data, tmp_path / "cut", **more)

    def interrupt(policy: object, step: int) -> dict[str, float]:
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    with pytest.raises(Interrupted, match="stopped after step 6 of 12"):
        run_training(config, groups=groups, probe=interrupt)
    run_training(config, groups=groups)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_a_resume_with_other_data_feedback_or_settings_is_refused(tiny: Path, data: Path, tmp_path: Path) -> None:
    config = settings(tiny, data, tmp_path / "run")

    def interrupt(policy: object, step: int) -> dict[str, float]:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    groups = preference_groups(20)
    with pytest.raises(Interrupted):
        run_training(config, groups=groups, probe=interrupt)
    turned = [
        msgspec.structs.replace(group, feedback=(Feedback("dataset", preferences=(Preference(1, 0),)),))
        for group in groups
    ]
    for other in (preference_groups(20, seed=1), turned):
        with pytest.raises(ConfigError, match="not those this run began with"):
            run_training(config, groups=other)
    with pytest.raises(ConfigError, match=r"lr was 0\.001 and is now 1e-06"):
        run_training(msgspec.structs.replace(config, lr=None), groups=groups)
    with pytest.raises(ConfigError, match="batch_size was 4 and is now None"):
        run_training(msgspec.structs.replace(config, batch_size=None), groups=groups)
