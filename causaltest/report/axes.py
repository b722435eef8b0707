"""Axes of figures: a range that holds what matters, and round numbers along it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def axis_range(
    must: Iterable[float], may: Sequence[float] = (), *, room: float = 1.0
) -> tuple[float, float]:
    """Choose the range of an axis.

    Parameters
    ----------
    must
        Numbers that have to be inside: estimates, intervals, bounds.
    may
        Numbers that are shown where they leave room for the others: single pairs, wide adjusted
        intervals. What lies outside is drawn at the edge.
    room
        How far beyond the numbers of `must` those of `may` may lead at either end, as a multiple
        of their range.

    Returns
    -------
    tuple of float
        Lowest and highest number of the axis.

    Examples
    --------
    >>> axis_range([0.0, 1.0], [0.5])
    (-0.04, 1.04)
    >>> axis_range([0.0, 1.0], [0.5, 1000.0])
    (-0.08, 2.08)
    """
    needed = list(must)
    low, high = min(needed), max(needed)
    spread = high - low
    reach = room * (spread if spread > 0 else max(abs(low), abs(high), 1e-9))
    for value in may:
        low = min(low, max(value, min(needed) - reach))
        high = max(high, min(value, max(needed) + reach))
    margin = 0.04 * (high - low or reach)
    return low - margin, high + margin


def round_numbers(low: float, high: float, about: int = 6) -> list[float]:
    """Choose round numbers between two ends.

    Parameters
    ----------
    low, high
        The ends of the axis.
    about
        How many numbers to aim at.

    Returns
    -------
    list of float
        Multiples of 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> round_numbers(-0.04, 1.04)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.99)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]
