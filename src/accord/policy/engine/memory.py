"""What a step's memory costs in time: blocks that go back to the system and come again, page by page."""

from __future__ import annotations

import ctypes
import mmap

from torch import Tensor

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


def in_large_pages(tensor: Tensor) -> Tensor:
    """A tensor whose memory was not touched yet, to be given in pages of 2 MiB by systems that do so when asked.

    A block beyond what the C library keeps comes as fresh pages every time: 16,000 small ones for the gradient of
    32,000 words of width 512, which cost 2 % of a step.
    """
    size = tensor.numel() * tensor.element_size()
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if tensor.device.type == "cpu" and size > _LARGEST_KEPT_BLOCK and advice is not None:
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (tensor.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)
    return tensor
