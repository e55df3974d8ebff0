"""Operators of PyTorch's own library that are no public interface: used where they are as they are known, else not."""

from __future__ import annotations

from typing import Any

import torch


def known_operator(library: str, name: str, arguments: tuple[str, ...]) -> Any:
    """An operator if this PyTorch has it and it takes these arguments, else `None`."""
    packet = getattr(getattr(torch.ops, library), name, None)
    if packet is None or tuple(argument.name for argument in packet.default._schema.arguments) != arguments:
        return None
    return packet.default


def onednn_operator(name: str, arguments: tuple[str, ...]) -> Any:
    """An operator of oneDNN, the library for processors that PyTorch's compiler uses, or `None`."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known_operator("mkldnn", name, arguments) if built else None


onednn_linear = onednn_operator("_linear_pointwise", ("X", "W", "B", "attr", "scalars", "algorithm"))
"""`x W^T + b` with a weight in its own order or in oneDNN's."""
