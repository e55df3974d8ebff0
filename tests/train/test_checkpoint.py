"""A checkpoint is whole or absent, and restores every bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from accord.errors import AccordError
from accord.train import checkpoint
from accord.train.loop import make_optimizer


def trained(steps: int) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    torch.manual_seed(0)
    parameters = {"weight": nn.Parameter(torch.randn(3, 2)), "bias": nn.Parameter(torch.randn(2))}
    optimizer = make_optimizer(parameters, weight_decay=0.1, betas=(0.9, 0.99))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for _ in range(steps):
        advance(parameters, optimizer)
    return parameters, optimizer


def advance(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss = torch.stack([(p * torch.randn_like(p)).pow(2).sum() for p in parameters.values()]).sum()
    torch.autograd.backward(loss)
    optimizer.step()


def state(step: int) -> checkpoint.State:
    return checkpoint.State(step=step, tokens=10 * step, seconds=1.5, plan="abc", memory={"beta": 0.1})


@pytest.mark.parametrize(("most", "files"), [(checkpoint.FILE_BYTES, 1), (40, 4), (1, 8)])
def test_restored_training_continues_bit_for_bit(
    most: int, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FILE_BYTES", most)
    parameters, optimizer = trained(3)
    path = checkpoint.save(tmp_path, state(3), parameters, optimizer, keep=2)
    assert len(list(path.glob("*.safetensors"))) == files
    advance(parameters, optimizer)
    expected = {name: p.detach().clone() for name, p in parameters.items()}

    again, fresh = trained(0)
    torch.manual_seed(99)
    assert checkpoint.restore(path, again, fresh) == state(3)
    for group in fresh.param_groups:
        group["lr"] = 0.1
    advance(again, fresh)
    for name, p in again.items():
        assert torch.equal(p, expected[name])


def test_only_the_newest_are_kept_and_foreign_files_stay(tmp_path: Path) -> None:
    parameters, optimizer = trained(1)
    checkpoint.save(tmp_path, state(1), parameters, optimizer, keep=2)
    (tmp_path / "step-000001" / "notes.txt").write_text("mine")
    for step in (2, 3):
        checkpoint.save(tmp_path, state(step), parameters, optimizer, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000002", "step-000003"]
    assert (tmp_path / "step-000001" / "notes.txt").read_text() == "mine"
    checkpoint.remove_all(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


def test_a_save_that_was_cut_off_is_not_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, optimizer = trained(1)
    checkpoint.save(tmp_path, state(1), parameters, optimizer, keep=2)

    def cut_off(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("accord.train.checkpoint.os.replace", cut_off)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(tmp_path, state(2), parameters, optimizer, keep=2)
    monkeypatch.undo()
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000001"]
    checkpoint.save(tmp_path, state(2), parameters, optimizer, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000001", "step-000002"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    parameters, optimizer = trained(1)
    path = checkpoint.save(tmp_path, state(1), parameters, optimizer, keep=1)
    with pytest.raises(AccordError, match="other parameters"):
        checkpoint.restore(path, {"weight": parameters["weight"]}, optimizer)
