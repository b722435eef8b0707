"""The arithmetic floor of an exact sweep: what nothing can avoid, at the machine's rate."""

from __future__ import annotations

import statistics
import time


def products(
    *, layers: int, tokens: int, width: int, classes: int, first: int, pairs: int
) -> float:
    """Return the multiply-adds of a block-output x position sweep in which nothing is done twice.

    Parameters
    ----------
    layers, tokens, width, classes
        Shape of the model and of the prompts.
    first
        First position at which base and source differ; cells before it are known.
    pairs
        Number of pairs.

    Notes
    -----
    A cell at (l, p) changes positions p.. of every later block; the last block is read at the last
    position only. A block costs 12 width^2 per token (4 for attention, 8 for the MLP), of which the
    keys and values are 2; attention itself costs 2 width per token and token attended to. The last
    block's own cells are known: the base run's, or the source run's.
    """
    total = 0.0
    for start in range(first, tokens):
        live = tokens - start
        attended = sum(range(start + 1, tokens + 1))
        middle = live * 12 * width**2 + attended * 2 * width
        last = live * 2 * width**2 + 10 * width**2 + tokens * 2 * width
        for layer in range(layers - 1):
            total += (layers - 2 - layer) * middle + last + width * classes
    attended = sum(range(1, tokens + 1))
    plain = layers * (tokens * 12 * width**2 + attended * 2 * width) + width * classes
    return pairs * (total + 2 * plain)


def rate(width: int, rows: int = 2048, rounds: int = 9) -> float:
    """Measure multiply-adds per second of a large product of this width, the median of several."""
    import torch

    left, weight = torch.randn(rows, width), torch.randn(width, 4 * width)
    out = torch.empty(rows, 4 * width)  # memory that is there: fetching it is no arithmetic
    seconds: list[float] = []
    with torch.no_grad():
        for _ in range(rounds):
            start = time.perf_counter()
            torch.mm(left, weight, out=out)
            seconds.append(time.perf_counter() - start)
    return rows * width * 4 * width / statistics.median(seconds)
