"""What a step's memory costs in time: freed blocks that go back to the system, gradients that are mostly zero."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from accord.policy.sharding import is_sharded

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BLOCK = 32 * 2**20
_NEVER = 2**31 - 1


def keep_freed_blocks() -> None:
    """Let the C library keep what is freed, where it is glibc: every step asks for the same blocks again.

    Given back, they would come as fresh pages in every step, each zeroed by the system when first touched (3 % of a
    step of a small model).
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)


@contextmanager
def sparse_embedding_gradient(model: nn.Module, head: nn.Module) -> Iterator[None]:
    """Let the embeddings of a forward pass in this block give a gradient of the rows that were read only.

    Only on a CPU where embeddings and head are one whole matrix. The head then gives that matrix a dense gradient, to
    which the engine adds the rows, and saves a second dense one that is mostly zero.
    """
    find: Any = getattr(model, "get_input_embeddings", None)
    embeddings = find() if find is not None else None
    if (
        not isinstance(embeddings, nn.Embedding)
        or embeddings.weight is not getattr(head, "weight", None)
        or embeddings.weight.device.type != "cpu"
        or is_sharded(model)
    ):
        yield
        return
    before, embeddings.sparse = embeddings.sparse, True
    try:
        yield
    finally:
        embeddings.sparse = before
