"""Planning without tensors: rows and their strips, cuts of bounded size, buckets of positions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

OVERHEAD = 18.0
"""What one more pass through a block costs, in tokens: its weights are read once more."""

WORTH_KEEPING = {"cpu": 1e12}
ACCELERATED_WORTH_KEEPING = 3e14
"""Floating point operations of some seconds: what an interrupt may lose of any sweep."""
BASE_RUNS = 100
"""Beside so many forward passes a base run and its sources are little."""
_PORTIONS = 20
"""How many portions a sweep is cut into at most, but for what memory asks."""


@dataclass(frozen=True)
class Strip:
    """Neighbouring rows of a pass: one cell and one random draw, on some pairs.

    Parameters
    ----------
    cell
        Index of the cell.
    draw
        Index of the random draw.
    pairs
        Indices of the pairs, one for each row.
    start
        First token that is run.
    """

    cell: int
    draw: int
    pairs: tuple[int, ...]
    start: int = 0


def rows_of(strips: Iterable[Strip]) -> int:
    """Return the number of rows of some strips."""
    return sum(len(strip.pairs) for strip in strips)


def cut(strips: Iterable[Strip], most: int) -> Iterator[list[Strip]]:
    """Cut strips into pieces of at most so many rows, in order.

    Parameters
    ----------
    strips
        What is to be cut; a strip may fall apart.
    most
        Rows of a piece, at least 1.

    Examples
    --------
    >>> [[(s.cell, s.pairs) for s in piece] for piece in cut([Strip(0, 0, (1, 2, 3))], 2)]
    [[(0, (1, 2))], [(0, (3,))]]
    """
    piece: list[Strip] = []
    room = most
    for strip in strips:
        rest = strip.pairs
        while rest:
            piece.append(replace(strip, pairs=rest[:room]))
            room -= len(piece[-1].pairs)
            rest = rest[len(piece[-1].pairs) :]
            if not room:
                yield piece
                piece, room = [], most
    if piece:
        yield piece


def tokens_worth_keeping(numbers: int, device: str) -> float:
    """Return how many tokens are some seconds of work.

    Parameters
    ----------
    numbers
        Parameters that each token runs through.
    device
        Kind of device.

    Examples
    --------
    >>> tokens_worth_keeping(500_000_000, "cpu")
    1000.0
    """
    return WORTH_KEEPING.get(device, ACCELERATED_WORTH_KEEPING) / (2 * max(1, numbers))


def portions(
    works: Mapping[int, float], pairs: Sequence[int], *, most: int, enough: float
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cut pairs and cells into portions, so that not much is lost where a sweep is interrupted.

    A portion is `enough`, or a twentieth of the whole where that is more.

    Parameters
    ----------
    works
        Cell to the work that it is on one pair, in any unit, in the order in which cells are cut.
    pairs
        The pairs.
    most
        Pairs of a portion.
    enough
        Work that is worth a base run of its own, in the same unit.

    Yields
    ------
    tuple of tuples
        Pairs and cells.

    Examples
    --------
    >>> list(portions({0: 1, 1: 1}, (4, 5, 6), most=9, enough=4))
    [((4, 5), (0, 1)), ((6,), (0, 1))]
    >>> list(portions({0: 1, 1: 1}, (4,), most=9, enough=1))
    [((4,), (0,)), ((4,), (1,))]
    """
    each = sum(works.values())
    size = max(enough, each * len(pairs) / _PORTIONS)
    held = int(max(1, min(most, size / each))) if each else most
    held = -(-len(pairs) // -(-len(pairs) // held))  # as many in each
    parts = max(1, int(each / size)) if size else 1
    groups: list[list[int]] = [[] for _ in range(parts)]
    done = 0.0
    for cell, work in works.items():
        groups[min(parts - 1, int(parts * done / each)) if each else 0].append(cell)
        done += work
    for start in range(0, len(pairs), held):
        for group in groups:
            if group:
                yield tuple(pairs[start : start + held]), tuple(sorted(group))


def by_pairs(strips: Sequence[Strip], length: int, most: int) -> Iterator[list[Strip]]:
    """Split strips into groups of whole pairs that run about so many tokens.

    Parameters
    ----------
    strips
        What is to be run.
    length
        Tokens of the prompts.
    most
        Tokens of a group; more where one pair has more.

    Examples
    --------
    >>> [[s.pairs for s in group] for group in by_pairs([Strip(0, 0, (1, 2, 3))], 4, 8)]
    [[(1, 2)], [(3,)]]
    """
    tokens: dict[int, int] = {}
    for strip in strips:
        for pair in strip.pairs:
            tokens[pair] = tokens.get(pair, 0) + length - strip.start
    groups: list[set[int]] = []
    held = most
    for pair, count in tokens.items():
        if held + count > most:
            groups.append(set())
            held = 0
        groups[-1].add(pair)
        held += count
    for group in groups:
        cut_out = (
            replace(strip, pairs=tuple(pair for pair in strip.pairs if pair in group))
            for strip in strips
        )
        yield [strip for strip in cut_out if strip.pairs]


def runs(keys: Sequence[Key]) -> Iterator[tuple[Key, int, int]]:
    """Yield (key, start, stop) of each run of equal neighbours.

    Examples
    --------
    >>> list(runs("aab"))
    [('a', 0, 2), ('b', 2, 3)]
    """
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or keys[stop] != keys[start]:
            yield keys[start], start, stop
            start = stop


def buckets(
    weights: Mapping[int, float],
    length: int,
    *,
    layers: int,
    overhead: float = OVERHEAD,
    width: int | None = None,
) -> tuple[int, ...]:
    """Choose the positions at which passes begin, so that they cost least.

    A pass that begins at s takes all rows first edited at s or behind it and before the next pass
    begins. It runs their tokens from s on; or, where rows are packed side by side, each row's
    tokens from its first edit on, which attend to more keys than they can see. What is left of a
    pack behind a long row stays empty where no row is short enough.

    Parameters
    ----------
    weights
        First edited position to the number of blocks that its rows run through, added up.
    length
        Tokens of the prompts.
    layers
        Blocks that each pass runs through.
    overhead
        What one more pass through one block costs, in tokens.
    width
        Of the residual stream, where rows are packed; None where they are not.

    Returns
    -------
    tuple of int
        Where passes begin, ascending.

    Notes
    -----
    Other rows are taken to fill packs that are as long as the longest. A block takes about
    12 width^2 multiply-adds for each token, and 2 width for each token and key.

    Examples
    --------
    >>> buckets({0: 100, 8: 100}, 10, layers=2)
    (0, 8)
    >>> buckets({0: 1, 8: 1}, 10, layers=2)
    (0,)
    >>> buckets({0: 100, 8: 100}, 10, layers=2, width=64)
    (0,)
    """
    places = sorted(weights)
    rows = list(accumulate((weights[place] for place in places), initial=0.0))
    own = [weights[place] * (length - place) for place in places]
    tokens = list(accumulate(own, initial=0.0))
    # best[i]: the least cost of all rows at places[i:], and where the first pass after it begins.
    best: list[tuple[float, int]] = [(0.0, 0)] * (len(places) + 1)
    for first in reversed(range(len(places))):
        longest = length - places[first]
        options: list[tuple[float, int]] = []
        for stop in range(first + 1, len(places) + 1):
            last = places[stop - 1]
            alone, seen = stop, 0.0
            if width is not None:
                # The rows beside which not even the shortest has room.
                alone = min(stop, bisect_left(places, places[first] + length - last))
                seen = (last + longest) / (6 * width)
            run = longest * (rows[alone] - rows[first]) + tokens[stop] - tokens[alone]
            options.append((run * (1 + seen) + overhead * layers + best[stop][0], stop))
        best[first] = min(options)
    starts: list[int] = []
    index = 0
    while index < len(places):
        starts.append(places[index])
        index = best[index][1]
    return tuple(starts)


def same_so_far(
    base: Sequence[int], source: Sequence[int], edited: Sequence[int], taken: Sequence[int]
) -> bool:
    """Return whether a causal model has the same activations at places of base and source.

    Parameters
    ----------
    base, source
        Token ids.
    edited, taken
        Positions in base, and those in source that are put there.

    Examples
    --------
    >>> same_so_far((1, 2, 3), (1, 2, 9), (1,), (1,)), same_so_far((1, 2, 3), (1, 2, 9), (2,), (2,))
    (True, False)
    """
    reach = max(edited, default=-1) + 1
    return tuple(edited) == tuple(taken) and tuple(base[:reach]) == tuple(source[:reach])
