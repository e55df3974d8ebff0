"""Stepwise training: parts from easy to hard, each with the policy of the part before as start and reference."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from accord.cli.app import main
from accord.data import Dataset, prepare
from accord.objectives import OBJECTIVES, signature_of
from accord.policy.load import load_policy
from accord.recipes.stepwise import preference_margins
from accord.record import read_groups, write_groups
from accord.testing import preference_groups

FLAGS = ["--lr", "1e-3", "--batch-size", "4", "--samples", "0", "--holdout", "0.2"]


def margins(model: Path, file: Path) -> list[float]:
    policy = load_policy(model)
    needs = signature_of(OBJECTIVES["dpo"]).needs
    data = prepare(Dataset.of(list(read_groups(file))), needs=needs, encoder=policy.renderer, max_length=None)
    return preference_margins(policy, data, micro_batch_tokens=100)


def test_each_part_starts_where_the_last_one_ended(tiny: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "pairs.jsonl", tmp_path / "run"
    write_groups(data, preference_groups(20))
    command = ["train", "dpo", "--model", str(tiny), "--data", str(data), "--out", str(out), "--stepwise", "2", *FLAGS]
    assert main(command) == 0
    ordered = [value for part in (1, 2) for value in margins(tiny, out / "data" / f"part-{part}.jsonl")]
    assert len(ordered) == 16
    assert ordered == sorted(ordered, reverse=True)
    held_out = {group.prompt for group in read_groups(out / "data" / "held-out.jsonl")}
    trained = {group.prompt for part in (1, 2) for group in read_groups(out / "data" / f"part-{part}.jsonl")}
    assert not held_out & trained
    starts = [json.loads((out / f"part-{part}" / "environment.json").read_text())["model"] for part in (1, 2)]
    assert starts == [str(tiny), str(out / "part-1" / "model")]
    lines = [
        [json.loads(line) for line in (out / f"part-{part}" / "metrics.jsonl").read_text().splitlines()]
        for part in (1, 2)
    ]
    first = [next(line for line in part if line["step"] == 1) for part in lines]
    assert [line["loss"] for line in first] == pytest.approx([0.6931, 0.6931], abs=1e-3)
    before, after = (load_file(out / f"part-{part}" / "model" / "model.safetensors") for part in (1, 2))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    stamp = (out / "part-2" / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(command) == 0
    assert (out / "part-2" / "model" / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("objective", "parts", "message"),
    [
        ("dpo", "1", "--stepwise: 1 is out of range. Give at least 2."),
        ("simpo", "2", "--stepwise: has no effect on simpo"),
        ("dpo", "50", "groups cannot be cut into 50 parts"),
    ],
)
def test_what_is_refused(
    objective: str, parts: str, message: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "pairs.jsonl"
    write_groups(data, preference_groups(20))
    words = ["--model", str(tiny), "--data", str(data), "--out", str(tmp_path / "run"), "--stepwise", parts]
    assert main(["train", objective, *words]) == 2
    assert message in capsys.readouterr().err
