"""Exact resume: everything the next step depends on, written beside and renamed, without pickle.

A checkpoint is a directory `step-000120` of `parameters.safetensors` (what is trained), `optimizer.safetensors`
(moments and random states) and `state.json`. A run killed at any moment leaves either the whole directory or none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from accord.errors import AccordError

PARAMETERS, OPTIMIZER, STATE = "parameters.safetensors", "optimizer.safetensors", "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The small part of a checkpoint.

    Attributes:
        step: optimiser steps taken.
        tokens: tokens seen.
        seconds: training time so far, for the log.
        plan: fingerprint of data, order and settings; a resume with another plan is refused.
        memory: the numbers that the objective carries from step to step.
    """

    step: int
    tokens: int
    seconds: float
    plan: str
    memory: dict[str, float] = {}


def save(
    directory: Path,
    state: State,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint below `directory` and delete all but the newest `keep`."""
    target = directory / f"step-{state.step:06d}"
    beside = directory / f".{target.name}.partial"
    _remove(beside)
    beside.mkdir(parents=True)
    save_file({name: p.detach().cpu().contiguous().clone() for name, p in parameters.items()}, beside / PARAMETERS)
    save_file(_optimizer_tensors(parameters, optimizer), beside / OPTIMIZER)
    (beside / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    for file in beside.iterdir():
        _flush(file)
    _remove(target)
    os.replace(beside, target)
    for old in checkpoints(directory)[:-keep]:
        _remove(old)
    return target


def checkpoints(directory: Path) -> list[Path]:
    """The whole checkpoints below a directory, oldest first."""
    return sorted(path for path in directory.glob("step-*") if (path / STATE).is_file())


def load_state(checkpoint: Path) -> State:
    """The small part of a checkpoint."""
    try:
        return msgspec.json.decode((checkpoint / STATE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError) as error:
        raise AccordError(
            f"the checkpoint cannot be read ({error})", where=str(checkpoint), mend="Delete it, or start with --fresh."
        ) from error


def restore(checkpoint: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> State:
    """Put parameters, moments and random states back to where they were.

    Raises:
        AccordError: the checkpoint is damaged or belongs to another model.
    """
    state = load_state(checkpoint)
    saved = load_file(checkpoint / PARAMETERS)
    if set(saved) != set(parameters):
        raise AccordError(
            "the checkpoint holds other parameters than this run trains",
            where=str(checkpoint),
            mend="Use the settings it was written with, or --fresh.",
        )
    moments = load_file(checkpoint / OPTIMIZER)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
            if f"{name}:step" in moments:
                optimizer.state[parameter] = {
                    key: moments[f"{name}:{key}"].to(parameter.device) for key in _MOMENTS
                } | {"step": moments[f"{name}:step"]}
    torch.set_rng_state(moments["random:cpu"])
    if "random:cuda" in moments and torch.cuda.is_available():
        torch.cuda.set_rng_state(moments["random:cuda"])
    return state


def _optimizer_tensors(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"random:cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random:cuda"] = torch.cuda.get_rng_state()
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        if state:
            tensors |= {f"{name}:{key}": state[key].detach().cpu().contiguous().clone() for key in _MOMENTS}
            tensors[f"{name}:step"] = torch.as_tensor(state["step"]).detach().cpu().clone()
    return tensors


def _flush(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def _remove(directory: Path) -> None:
    """Delete a checkpoint's own files, and the directory if nothing else is in it."""
    for name in (PARAMETERS, OPTIMIZER, STATE):
        (directory / name).unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def remove_all(directory: Path) -> None:
    """Delete every checkpoint below a directory, and what an interrupted save left; nothing else."""
    for path in [*directory.glob("step-*"), *directory.glob(".step-*.partial")]:
        _remove(path)
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory)
