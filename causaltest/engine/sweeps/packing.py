"""Rows that begin at different tokens, side by side in packs of one length, hidden from each other.

A pack holds rows of one pair. In front of it stand the keys and values of the pair's base run; each
row sees those of the tokens before its first, and its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_LONGER = 8
"""By how many tokens packs may be longer than the longest row."""


@dataclass(frozen=True)
class Seat:
    """Where a row lies.

    Parameters
    ----------
    pack
        Index of its pack.
    first
        Column of its first token.
    """

    pack: int
    first: int


def seats(rows: Sequence[tuple[int, int]], capacity: int) -> list[Seat]:
    """Give each row a seat, in few packs.

    Parameters
    ----------
    rows
        Pair and number of tokens of each row.
    capacity
        Tokens of a pack, at least those of the longest row.

    Returns
    -------
    list of Seat
        In the order of the rows.

    Notes
    -----
    Best fit, the longest rows first.

    Examples
    --------
    >>> [(seat.pack, seat.first) for seat in seats([(0, 1), (0, 4), (0, 3), (1, 1)], 4)]
    [(1, 3), (0, 0), (1, 0), (2, 0)]
    """
    found: list[Seat] = [Seat(0, 0)] * len(rows)
    # Of each pair: packs by the room that is left in them.
    room: dict[int, list[list[int]]] = {}
    packs = 0
    for index in sorted(range(len(rows)), key=lambda each: -rows[each][1]):
        pair, tokens = rows[index]
        left = room.setdefault(pair, [[] for _ in range(capacity + 1)])
        fits = next((size for size in range(tokens, capacity) if left[size]), None)
        if fits is None:
            pack, fits = packs, capacity
            packs += 1
        else:
            pack = left[fits].pop()
        found[index] = Seat(pack, capacity - fits)
        left[fits - tokens].append(pack)
    return found


def best_length(groups: Iterable[Sequence[int]]) -> int:
    """Choose how long packs are, so that little of them stays empty.

    Parameters
    ----------
    groups
        Numbers of tokens of rows, of one pair each, that are seated together.

    Examples
    --------
    >>> best_length([[3, 2, 1]]), best_length([[3, 3]]), best_length([[5, 4, 2, 1]])
    (3, 3, 6)
    """
    counted = Counter(tuple(sorted(group)) for group in groups)
    longest = max(group[-1] for group in counted)

    def taken(length: int) -> int:
        packs = {
            group: len({seat.pack for seat in seats([(0, each) for each in group], length)})
            for group in counted
        }
        return length * sum(packs[group] * times for group, times in counted.items())

    return min(range(longest, longest + min(longest, _LONGER) + 1), key=taken)


@dataclass(frozen=True)
class Packs:
    """Which tokens lie in the columns of packs, and what they see.

    Parameters
    ----------
    rows
        (packs,) the base run's row that a pack belongs to.
    places
        (packs, columns) the token of each column.
    keys
        (packs, keys) the token of each key: first the base run's, then those of the pack.
    visible
        (packs, columns, keys) whether a column sees a key.
    """

    rows: Tensor
    places: Tensor
    keys: Tensor
    visible: Tensor

    @property
    def count(self) -> int:
        """Number of packs."""
        return self.places.shape[0]

    def at(self, columns: Tensor) -> Packs:
        """Return some columns of each pack, (packs, some); their keys stay."""
        wide = columns[:, :, None].expand(-1, -1, self.keys.shape[1])
        return replace(
            self, places=self.places.gather(1, columns), visible=self.visible.gather(1, wide)
        )

    def among(self, indices: Tensor | slice) -> Packs:
        """Return some of the packs."""
        return Packs(*(each[indices] for each in vars(self).values()))

    def joined(self, other: Packs) -> Packs:
        """Return these packs and others behind them."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Packs(*(torch.cat(each) for each in pairs))


def packs(
    rows: Sequence[tuple[int, int]],
    taken: Sequence[Seat],
    *,
    tokens: int,
    columns: int,
    prefix: int,
    device: torch.device,
) -> tuple[Packs, Tensor]:
    """Lay rows out in packs.

    Parameters
    ----------
    rows
        The base run's row and the first token of each row.
    taken
        Their seats.
    tokens
        Of each prompt.
    columns
        Of each pack.
    prefix
        Number of the base run's tokens whose keys stand in front.
    device
        Where tensors are made.

    Returns
    -------
    tuple of Packs and Tensor
        And (packs, columns), the index of the row that each column belongs to; any where it holds
        nothing.
    """
    count = 1 + max(seat.pack for seat in taken)
    places = torch.zeros((count, columns), dtype=torch.long)
    owners = torch.full((count, columns), -1)
    starts = torch.zeros((count, columns), dtype=torch.long)
    owned = torch.zeros(count, dtype=torch.long)
    for index, ((row, start), seat) in enumerate(zip(rows, taken, strict=True)):
        held = slice(seat.first, seat.first + tokens - start)
        places[seat.pack, held] = torch.arange(start, tokens)
        owners[seat.pack, held] = index
        starts[seat.pack, held] = start
        owned[seat.pack] = row
    before = torch.arange(prefix)
    own = (owners[:, :, None] == owners[:, None, :]) & (places[:, None, :] <= places[:, :, None])
    # A column that holds nothing sees itself: something must be seen.
    empty = owners < 0
    own = torch.where(empty[:, :, None], torch.eye(columns, dtype=torch.bool), own)
    earlier = (before < starts[:, :, None]) & ~empty[:, :, None]
    made = Packs(
        owned.to(device),
        places.to(device),
        torch.cat([before.expand(count, -1), places], dim=1).to(device),
        torch.cat([earlier, own], dim=2).to(device),
    )
    return made, owners.clamp(min=0).to(device)
