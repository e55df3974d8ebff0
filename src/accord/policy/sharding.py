"""Weights in shares: each process holds one share of every parameter, of its gradient and of its moments (FSDP2).

A layer is whole only while it computes. Every process must therefore run the same number of passes through the model,
forward and backward, in the same order; what goes through it may differ. Inside `whole_weights` all is whole in every
process, and each may run what it likes without gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from accord.errors import ModelError

Value = TypeVar("Value")
Module = TypeVar("Module", bound=nn.Module)

_staying: WeakSet[object] = WeakSet()
"""Units that stay whole from their forward to their backward pass: models, for all of theirs that is in no layer."""

_held: WeakSet[object] = WeakSet()
"""Those that `let_go` leaves as they are."""

_whole: WeakSet[object] = WeakSet()
"""Units inside `whole_weights`."""


def is_first() -> bool:
    """Whether this is the process that reads the weights from disk; the others get their shares from it."""
    return not dist.is_initialized() or dist.get_rank() == 0


def from_first(value: Value) -> Value:
    """A Python value of the first process, in every process."""
    values: list[Any] = [value]
    dist.broadcast_object_list(values, src=0)
    received: Value = values[0]
    return received


def shard_model(model: nn.Module, device: torch.device, *, compute: torch.dtype | None = None) -> None:
    """Shard a model in place: the weights of the first process are distributed over all.

    Each decoder layer is a unit that is gathered while it computes. Everything else (embeddings, last norm, LM head)
    is one more unit, which stays whole from a forward pass to the end of its backward pass, so that whoever reads the
    head's weight after the forward pass finds all of it. Gradients are added over the processes.

    Args:
        model: with weights in the first process; the others may hold it on the meta device.
        device: where the shares go.
        compute: precision in which the layers' weights are gathered; their own if `None`. The shares keep theirs.

    Raises:
        ModelError: the processes hold different models.
    """
    _require_same(model)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    # The state that runs through the layers stays in float32, as under autocast in one process.
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in decoder_layers(model):
        _shard_unit(layer, device, mesh, policy)
    _shard_unit(model, device, mesh, MixedPrecisionPolicy(), stays=True)


def shard_head(head: nn.Module, device: torch.device) -> None:
    """Shard a head that stands beside the model: its layers one by one, as each is called by itself."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in [module for module in head.modules() if module._parameters]:
        _shard_unit(layer, device, mesh, MixedPrecisionPolicy())


def is_sharded(model: object) -> bool:
    """Whether a model's weights are held in shares."""
    return isinstance(model, FSDPModule)


def let_go(model: nn.Module) -> None:
    """Let what stays whole between forward and backward pass be in shares again; for passes without a backward pass.

    Left whole, it would be what `parameters()` gives, and what the next forward pass reads, stale or not. Does nothing
    to a model that is not sharded, is `held`, or of which nothing is trained: that is never stale, and whoever is
    compared with it may read its head until the end of the backward pass.
    """
    if not isinstance(model, FSDPModule) or model in _held or model in _whole:
        return
    if any(parameter.requires_grad for parameter in model.parameters()):
        model.reshard()


def in_shares(model: nn.Module) -> None:
    """Let everything of a model be in shares, so that the next pass reads what they hold now."""
    for unit in _units(model):
        unit.reshard()


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Inside the block, passes without gradients leave whole what the block, or a backward pass, will still read."""
    added = [unit for unit in model.modules() if unit in _staying and unit not in _held]
    _held.update(added)
    try:
        yield
    finally:
        _held.difference_update(added)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Inside the block all weights are whole in every process, in the precision in which they compute.

    Every process must enter and leave it; inside, each may run as many passes without gradients as it needs, and the
    weights may not change. It takes the memory of the whole model. Does nothing to a model that is not sharded, and
    nothing inside another such block.

    Args:
        model: a model, or a module that contains several.
    """
    units = [unit for unit in _units(model) if unit not in _whole]
    layers = [unit for unit in units if unit not in _staying]
    _whole.update(units)
    try:
        for unit in units:
            unit.unshard()
        for layer in layers:
            layer.set_reshard_after_forward(False, recurse=False)
        yield
    finally:
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)
        _whole.difference_update(units)
        for unit in units:
            unit.reshard()


@contextmanager
def exchanged(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let parameters have other values inside the block, without touching a graph that waits for its backward pass.

    A graph keeps whole parameters, not their data. They are given other data where they are whole; where they are in
    shares the layers are gathered from, the shares are written, for the layers keep those.

    Args:
        parameters: by name; where the model is sharded, of its layers.
        values: for each name, in shares where the parameter is.
    """
    own = {name: one.detach().clone() if isinstance(one, DTensor) else one.data for name, one in parameters.items()}
    try:
        for name, parameter in parameters.items():
            _write(parameter, values[name])
        yield
    finally:
        for name, parameter in parameters.items():
            _write(parameter, own[name])


def _write(parameter: nn.Parameter, value: Tensor) -> None:
    if isinstance(parameter, DTensor):
        with torch.no_grad():
            parameter.copy_(value)
    else:
        parameter.data = value.data


def trained_outside_layers(model: nn.Module) -> bool:
    """Whether anything is trained that is in no layer."""
    inside = {id(p) for layer in decoder_layers(model) for p in layer.parameters()}
    return any(p.requires_grad and id(p) not in inside for p in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all of its shares; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def skeleton(model: Module) -> Module:
    """A copy of a model whose weights are on the meta device, to be filled by `gathered` once the model is sharded."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo=dict(empty))


def gathered(model: Module, bones: Module | None) -> Module | None:
    """The whole of a sharded model on the CPU, in the first process; every process must take part.

    Args:
        model: the sharded model.
        bones: its `skeleton`; `None` in the other processes, which get `None`.
    """
    bones = copy.deepcopy(bones)
    filled: dict[int, nn.Parameter] = {}
    places = {} if bones is None else dict(bones.named_parameters())
    for name, parameter in model.named_parameters():
        full = whole(parameter.detach())
        if bones is not None:
            filled[id(places[name])] = nn.Parameter(full.cpu(), parameter.requires_grad)
    if bones is None:
        return None
    for module, name, parameter in list(_plain(bones)):
        module._parameters[name] = filled[id(parameter)]
    return bones


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a language model, whatever its architecture: the list of modules that holds most of its weights."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    largest = max(lists, key=lambda layers: _size(layers), default=None)
    return [] if largest is None else list(largest)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shard_unit(
    unit: nn.Module, device: torch.device, mesh: DeviceMesh, policy: MixedPrecisionPolicy, *, stays: bool = False
) -> None:
    """Shard what is not in shares yet; if it `stays`, it is whole from its forward to its backward pass."""
    _receive(unit, device)
    sharded = fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=not stays)
    if stays:
        _staying.add(sharded)
    # Losses are divided by global weights before the backward pass: what is left to do is to add.
    sharded.set_gradient_divide_factor(1.0)
    sharded.set_force_sum_reduction_for_comms(True)


def _receive(unit: nn.Module, device: torch.device) -> None:
    """Put the first process's parameters and buffers, as far as they are not in shares yet, onto every device."""
    received: dict[int, nn.Parameter] = {}
    for module, name, parameter in _plain(unit):
        if id(parameter) not in received:  # a tied weight stays one
            value = _broadcast(parameter.detach(), device)
            received[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
        module._parameters[name] = received[id(parameter)]
    for module in unit.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _broadcast(buffer, device)


def _units(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _plain(unit: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in unit.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, DTensor):
                yield module, name, parameter


def _broadcast(tensor: Tensor, device: torch.device) -> Tensor:
    value = tensor.to(device).contiguous() if is_first() else torch.empty_like(tensor, device=device).contiguous()
    dist.broadcast(value, src=0)
    return value


def _require_same(model: nn.Module) -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    agreed: list[bool] = [False] * dist.get_world_size()
    dist.all_gather_object(agreed, from_first(shapes) == shapes)
    if not all(agreed):
        raise ModelError(
            f"{type(model).__name__} is built differently from its configuration than from its files, so it cannot be "
            "sharded",
            mend="Train it with --shard none.",
        )
