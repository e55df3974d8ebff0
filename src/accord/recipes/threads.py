"""One thread for models that are too small to share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread for the length of the block.

    The world's model is so small that threads cost more than they give, many times more on a busy machine; and sums
    come out the same on every machine that has the same instructions.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
