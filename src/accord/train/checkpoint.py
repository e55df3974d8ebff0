"""Exact resume: everything the next step depends on, written beside and renamed, without pickle.

A checkpoint is a directory `step-000120` of `state.json` and, from each process, safetensors files with its shares of
what is trained, of the moments, and its random states. Any number of processes can take it up: the shares are put
together as they need them. A run killed at any moment leaves either the whole directory or none.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from accord.errors import AccordError
from accord.train import distributed

STATE = "state.json"
_SHARES = "*.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")

FILE_BYTES = 256 * 2**20
"""Tensors that go into one file, unless one alone is larger: a file is put together in memory before it is written."""


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
    """Write a checkpoint below `directory` and delete all but the newest `keep`; every process must call."""
    target = directory / f"step-{state.step:06d}"
    beside = directory / f".{target.name}.partial"
    first = distributed.rank() == 0
    if first:
        _remove(beside)
        beside.mkdir(parents=True)
    distributed.barrier()
    with _quiet():
        tensors = _tensors(parameters, optimizer)
        writer = HuggingFaceStorageWriter(str(beside), fqn_to_index_mapping=_files(tensors), save_distributed=True)
        state_dict_saver.save(tensors, storage_writer=writer, no_dist=distributed.world_size() == 1)
    if first:
        (beside / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        for file in beside.iterdir():
            _flush(file)
        _remove(target)
        os.replace(beside, target)
        for old in checkpoints(directory)[:-keep]:
            _remove(old)
    distributed.barrier()
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
    """Put parameters, moments and random states back to where they were; every process must call.

    Raises:
        AccordError: the checkpoint is damaged or belongs to another model.
    """
    state = load_state(checkpoint)
    reader = HuggingFaceStorageReader(str(checkpoint))
    saved = set(reader.read_metadata().state_dict_metadata)
    if {name.partition(":")[2] for name in saved if name.startswith("parameter:")} != set(parameters):
        raise AccordError(
            "the checkpoint holds other parameters than this run trains",
            where=str(checkpoint),
            mend="Use the settings it was written with, or --fresh.",
        )
    for name, parameter in parameters.items():
        if f"step:{name}" in saved:
            optimizer.state[parameter] = {key: torch.zeros_like(parameter) for key in _MOMENTS} | {
                "step": torch.zeros((), device=parameter.device)
            }
    tensors = _tensors(parameters, optimizer)
    # More processes than wrote the checkpoint: their random states begin anew, as at the start of a run.
    tensors = {name: tensor for name, tensor in tensors.items() if name in saved}
    with _quiet():
        state_dict_loader.load(tensors, storage_reader=reader, no_dist=distributed.world_size() == 1)
    rank = distributed.rank()
    if f"random:cpu:{rank}" in tensors:
        torch.set_rng_state(tensors[f"random:cpu:{rank}"])
    if f"random:cuda:{rank}" in tensors:
        torch.cuda.set_rng_state(tensors[f"random:cuda:{rank}"])
    return state


def _tensors(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything by name: what is there is written, and what is read is put where it is."""
    rank = distributed.rank()
    tensors = {f"random:cpu:{rank}": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors[f"random:cuda:{rank}"] = torch.cuda.get_rng_state()
    for name, parameter in parameters.items():
        tensors[f"parameter:{name}"] = parameter.detach()
        state = optimizer.state.get(parameter, {})
        if state:
            tensors |= {f"{key}:{name}": state[key] for key in _MOMENTS}
            tensors[f"step:{name}"] = torch.as_tensor(state["step"]).reshape(1)
    return tensors


def _files(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of the file that each tensor of any process goes into, by the sizes of the whole tensors."""
    files = {f"random:{kind}:{rank}": 1 for kind in ("cpu", "cuda") for rank in range(distributed.world_size())}
    number, size = 1, 0
    for name, tensor in tensors.items():
        if name in files:
            continue
        if size and size + tensor.nbytes > FILE_BYTES:
            number, size = number + 1, 0
        files[name] = number
        size += tensor.nbytes
    return files


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's remarks on how it was called."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")
        yield


def _flush(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def _remove(directory: Path) -> None:
    """Delete a checkpoint's own files, and the directory if nothing else is in it."""
    for file in [directory / STATE, *directory.glob(_SHARES)]:
        file.unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def remove_all(directory: Path) -> None:
    """Delete every checkpoint below a directory, and what an interrupted save left; nothing else."""
    for path in [*directory.glob("step-*"), *directory.glob(".step-*.partial")]:
        _remove(path)
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory)
