"""Pairs that are measured in looks: which ones at which look, in an order fixed beforehand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.asymptotic import FEWEST_ASYMPTOTIC

Floats = NDArray[np.float64]

FIRST_LOOK = 10
"""Units before the first look, where values have limits."""
_GROWTH = 1.5


@dataclass(frozen=True, eq=False)
class Look:
    """What was measured between two looks."""

    values: Floats
    changed: bool = True
    """Whether an edit changed any activation; an intervention that never does is an error."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Pairs that are measured as they are asked for.

    Parameters
    ----------
    draw
        Measures the pairs with these indices; asked again, it gives the same numbers.
    units, unit, pair_ids, pair_set
        As for `Effect`, of all pairs.
    low, high
        Limits that no value can pass; infinite where there are none.
    """

    draw: Callable[[tuple[int, ...]], Look]
    units: tuple[str, ...]
    unit: str
    pair_ids: tuple[str, ...]
    pair_set: tuple[str, str]
    low: float = -math.inf
    high: float = math.inf

    @property
    def bounded(self) -> bool:
        """Whether values have limits."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def combined(self, other: Stream, sign: float) -> Stream:
        """Return the sum with another stream of the same pairs, or the difference."""
        ends = sorted((sign * other.low, sign * other.high))

        def draw(indices: tuple[int, ...]) -> Look:
            mine, theirs = self.draw(indices), other.draw(indices)
            return Look(mine.values + sign * theirs.values, mine.changed and theirs.changed)

        return replace(self, draw=draw, low=self.low + ends[0], high=self.high + ends[1])

    def negated(self) -> Stream:
        """Return the stream of negated values."""

        def draw(indices: tuple[int, ...]) -> Look:
            look = self.draw(indices)
            return Look(-look.values, look.changed)

        return replace(self, draw=draw, low=-self.high, high=-self.low)

    def looks(self, seed: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield the pairs to measure for each look, and how many units there are then."""
        order = unit_order(self.units, seed)
        members: dict[str, list[int]] = {label: [] for label in order}
        for index, label in enumerate(self.units):
            members[label].append(index)
        done = 0
        while done < len(order):
            now = FIRST_LOOK if self.bounded else FEWEST_ASYMPTOTIC
            if done:
                now = math.ceil(done * _GROWTH)
            now = min(now, len(order))
            taken = [index for label in order[done:now] for index in members[label]]
            yield tuple(sorted(taken)), now
            done = now

    def first(self, seed: int) -> tuple[int, ...]:
        """Return the indices of the pairs of the first look."""
        return next(self.looks(seed))[0]


def unit_order(units: Sequence[str], seed: int) -> list[str]:
    """Return the units in a random order that depends on them and on the seed alone.

    Examples
    --------
    >>> order = unit_order(["b", "a", "b", "c"], 0)
    >>> sorted(order), order == unit_order(["c", "b", "a"], 0)
    (['a', 'b', 'c'], True)
    """
    labels = sorted(set(units))
    # Not the hash of the pair set, which tells the order of its pairs.
    digest = hashlib.sha256("\n".join([f"looks|{seed}", *labels]).encode()).digest()
    stream = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    return [labels[index] for index in stream.permutation(len(labels))]
