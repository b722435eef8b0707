"""Memory kept between the blocks of a sweep, seen by the pages that a fresh process fetches."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import resource, sys
import torch
from causaltest.engine.sweeps.heap import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def grow():
    # As rows grow from block to block: each block's activations are larger than the last one's.
    for megabytes in range(1, 13):
        held = [torch.zeros(megabytes << 18) for _ in range(3)]
        del held

torch.set_num_threads(1)
grow()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
grow()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they do")
def test_pages_are_fetched_once() -> None:
    """The second of two equal sweeps asks the system for next to nothing."""
    fetched = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", _SCRIPT, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("given-back", "kept")
    }
    whole = (3 * 12 << 20) // 4096  # what the largest block alone takes
    assert fetched["given-back"] > whole / 2, "nothing to be saved here: the test says nothing"
    assert fetched["kept"] < whole / 20
