"""Memory that the C library keeps between the blocks of a sweep, instead of giving it back."""

from __future__ import annotations

from functools import cache

import torch

_LARGEST = (1 << 25) - (1 << 16)
"""Bytes of the largest block whose size glibc takes for its bound, a little less."""


@cache
def keep_freed_memory() -> None:
    """Let activations find the memory of those before them, once in each process.

    glibc asks the system for each large block and gives it back when it is freed, so that every
    page of every activation is fetched anew: a tenth of a small sweep's time. It does so for blocks
    larger than the largest that it has seen freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD), and
    keeps twice as much at the end of its heap. A block that is never written to costs nothing.
    Other C libraries take no notice.
    """
    torch.empty(_LARGEST, dtype=torch.uint8, device="cpu")
