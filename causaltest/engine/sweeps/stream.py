"""Rows in the midst of the network: where each lies, and what joins or leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from causaltest.engine.applied import Applied
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.sweeps.packing import Packs, Seat
from causaltest.engine.sweeps.planning import Strip


@dataclass(eq=False)
class Lane:
    """A strip on its way down the blocks.

    Parameters
    ----------
    strip
        The rows.
    join
        Where it joins: twice the block, and one more for behind it.
    edits
        What is done to it.
    operations
        Block to the operations in it.
    seats
        Where its rows lie.
    """

    strip: Strip
    join: int
    edits: list[Applied]
    operations: dict[int, list[tuple[str, Side, Operation]]]
    seats: list[Seat] = field(default_factory=list)


@dataclass(frozen=True)
class Out:
    """A row that came out of the last block.

    Parameters
    ----------
    lane, pair
        Which row it is.
    states
        (tokens, width).
    places
        Which tokens these are.
    """

    lane: Lane
    pair: int
    states: Tensor
    places: Sequence[int]


@dataclass
class Stream:
    """Rows in the midst of the network.

    Parameters
    ----------
    lanes
        The rows.
    states
        (packs, columns, width).
    rows
        (packs,) the base run's row that each belongs to.
    packs
        What lies where; None where each holds one row, and all the same tokens.
    """

    lanes: list[Lane]
    states: Tensor
    rows: Tensor
    packs: Packs | None

    @property
    def count(self) -> int:
        """Number of packs."""
        return len(self.states)

    def joined(self, other: Stream) -> Stream:
        """Return these rows and others behind them."""
        for lane in other.lanes:
            lane.seats = [Seat(each.pack + self.count, each.first) for each in lane.seats]
        both = self.packs and other.packs and self.packs.joined(other.packs)
        states = torch.cat([self.states, other.states])
        return Stream([*self.lanes, *other.lanes], states, torch.cat([self.rows, other.rows]), both)

    def piece(self, first: int, stop: int) -> Stream:
        """Return the packs from one on and before another, where each lane has one row."""
        own = slice(first, stop)
        lanes = [
            replace(lane, seats=[Seat(seat.pack - first, seat.first)])
            for lane in self.lanes
            for seat in lane.seats
            if first <= seat.pack < stop
        ]
        packs = self.packs and self.packs.among(own)
        return Stream(lanes, self.states[own], self.rows[own], packs)

    def among(self, lanes: list[Lane]) -> Stream:
        """Return the packs in which some lanes lie; their rows take seats anew."""
        kept = sorted({seat.pack for lane in lanes for seat in lane.seats})
        place = {pack: index for index, pack in enumerate(kept)}
        for lane in lanes:
            lane.seats = [Seat(place[each.pack], each.first) for each in lane.seats]
        index = torch.tensor(kept, device=self.states.device)
        packs = self.packs and self.packs.among(index)
        return Stream(lanes, self.states[index], self.rows[index], packs)
