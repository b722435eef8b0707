"""The part of a network below an edit, run once, and what is kept of it for the part above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.sweeps.capture import Track, Unfit, capture
from causaltest.engine.sweeps.carried import Carried
from causaltest.engine.sweeps.prefix import Remembered

_AT_ONCE = 2**24
"""Bytes of activations that one run may keep."""


@dataclass(frozen=True)
class Members:
    """Pairs whose base prompts have one length.

    Parameters
    ----------
    indices
        Of the pairs.
    rows
        Their base prompts.
    start
        First token of any that is edited or read.
    """

    indices: tuple[int, ...]
    rows: tuple[Row, ...]
    start: int


@dataclass(frozen=True)
class Kept:
    """What is kept of the base runs of prompts of one length.

    Parameters
    ----------
    track
        How the blocks are called, and their keys and values before `start`, a row for each pair.
    states
        What the first block that is run takes, (pairs, tokens from `start` on, width).
    first
        Index of that block.
    start
        First token that is run.
    row
        Row of each pair.
    """

    track: Track
    states: Tensor
    first: int
    start: int
    row: dict[int, int]


@dataclass(frozen=True)
class Needed:
    """What the blocks above need of the base runs of prompts of one length.

    Parameters
    ----------
    one
        The base run of one of them.
    members
        The pairs.
    first
        Index of the first block that is run.
    start
        First token that is run.
    """

    one: Track
    members: Members
    first: int
    start: int

    @property
    def size(self) -> int:
        """Bytes that are to be kept: the states to start from, earlier keys and values."""
        kept = [self.one.states[self.first][:, self.start :]]
        for memory in self.one.memory[self.first :]:
            kept += [each[:, :, : self.start] for each in keys_of(memory) or ()]
        return len(self.members.rows) * sum(each.nbytes for each in kept)


def needed_of(model: Model, members: Members, first: int, *, causal: bool) -> Needed:
    """Say what the blocks above an edit need of some pairs.

    Parameters
    ----------
    model
        The model.
    members
        The pairs.
    first
        Index of the first block above.
    causal
        Whether tokens are the same whatever follows them.
    """
    # One row stands for all: prompts of one length are called alike.
    one, _ = capture(model, model.batch(members.rows[:1]), logits=False)
    known = causal and all(map(keys_of, one.memory[first:]))
    return Needed(one, members, first, members.start if known else 0)


def within(needed: Sequence[Needed], room: int) -> tuple[Sequence[Needed], str]:
    """Keep less where there is no room: no keys and values, but all tokens to run.

    Returns
    -------
    tuple of (needed, str)
        With a remark on what is not kept.

    Raises
    ------
    Unfit
        There is no room for anything.
    """
    size = sum(each.size for each in needed)
    if size <= room:
        return needed, ""
    less = [replace(each, start=0) for each in needed]
    left = sum(each.size for each in less)
    if left > room:
        count = sum(len(each.members.rows) for each in needed)
        raise Unfit(
            f"to keep what {count} prompts give below would take {min(size, left) / 2**30:.2g} GiB"
        )
    return less, f", since to keep what precedes the edits would take {size / 2**30:.2g} GiB"


def below(model: Model, needed: Needed) -> Kept:
    """Run base prompts of one length and keep what the blocks above ask for."""
    one, first, start = needed.one, needed.first, needed.start
    count = len(needed.members.rows)
    earlier = [
        keys_of(each) if layer >= first and start else None for layer, each in enumerate(one.memory)
    ]
    shapes = [one.states[first][:, start:]]
    shapes += [each[:, :, :start] for memory in earlier for each in memory or ()]
    rooms = iter(_rooms(shapes, count))
    states = next(rooms)
    memory = [None if each is None else (next(rooms), next(rooms)) for each in earlier]
    size = max(1, _AT_ONCE // _bytes(one))
    for begin in range(0, count, size):
        rows = needed.members.rows[begin : begin + size]
        track, _ = capture(model, model.batch(rows), logits=False)
        here = slice(begin, begin + len(rows))
        states[here] = track.states[first][:, start:]
        for kept, found in zip(memory, track.memory, strict=True):
            for room, each in zip(kept or (), keys_of(found) or (), strict=kept is not None):
                room[here] = each[:, :, :start]
        # Else it would be there beside the next.
        del track
    row = {index: number for number, index in enumerate(needed.members.indices)}
    there = Track(one.calls, one.states[:1], tuple(memory), one.rows)
    return Kept(there, states, first, start, row)


def keys_of(memory: Remembered | Carried | None) -> Remembered | None:
    """Return keys and values, where they are all that a block remembers."""
    return None if isinstance(memory, Carried) else memory


def _rooms(ones: Sequence[Tensor], count: int) -> Iterator[Tensor]:
    """Yield an empty tensor for as many rows like each of some single rows.

    All in one piece, which is given back to the system when it is done with: many smaller ones
    stay with the process.
    """
    sizes = [count * each.numel() for each in ones]
    whole = ones[0].new_empty(sum(sizes))
    for one, room in zip(ones, whole.split(sizes), strict=True):
        same = one.dtype == whole.dtype and one.device == whole.device
        flat = room if same else one.new_empty(len(room))
        yield flat.view(count, *one.shape[1:])


def _bytes(track: Track) -> int:
    """Return what a run keeps while it goes on."""
    tensors = [*track.states, *(each for memory in track.memory for each in keys_of(memory) or ())]
    return sum(each.nbytes for each in tensors)
