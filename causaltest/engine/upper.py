"""The part of a network above an edit, run under autograd on what the part below it gave once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.readout import Readout
from causaltest.engine.run import Stored, declared, reads_for
from causaltest.engine.sweeps.calling import Slice, step
from causaltest.engine.sweeps.capture import Call, Track, Unfit, capture
from causaltest.engine.sweeps.checking import causal, check_arguments, readout_of
from causaltest.engine.sweeps.placing import BEFORE, Places
from causaltest.engine.sweeps.prefix import Prefix
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.sites import Pos

_ROOM = 2**28
"""Bytes that what is kept may take, where the weights take less."""
_AT_ONCE = 2**24
"""Bytes of activations that one run of the lower part may keep."""
_TOLERANCE = 1e-4


@contextmanager
def frozen_weights(network: nn.Module) -> Iterator[None]:
    """Take no gradients of a network's weights for the length of the context."""
    trained = [each for each in network.parameters() if each.requires_grad]
    for each in trained:
        each.requires_grad = False
    try:
        yield
    finally:
        for each in trained:
            each.requires_grad = True


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
        Indices of the pairs.
    first
        Index of the first block that is run.
    start
        First token that is run.
    """

    one: Track
    members: tuple[int, ...]
    first: int
    start: int

    @property
    def size(self) -> int:
        """Bytes that are to be kept: the states to start from, earlier keys and values."""
        kept = [self.one.states[self.first][:, self.start :]]
        for memory in self.one.memory[self.first :]:
            kept += [each[:, :, : self.start] for each in memory or ()]
        return len(self.members) * sum(each.nbytes for each in kept)


class Upper:
    """Runs an intervention on the base prompts of pairs, again and again, with gradients.

    Sources are read once. Where the blocks of the network are understood, what lies below the
    edits, before them in the prompts, and anything that only other tokens read, is not run again;
    else the whole network is. Which of the two it is is said in `plan`.

    Parameters
    ----------
    model
        The model.
    intervention
        One of the kind that will be run: same sites, other numbers.
    pairs
        The pairs.
    at
        Where logits are read, one token of each prompt.
    room
        Bytes that what is kept may take; None for what the weights take, 256 MiB at least.

    Raises
    ------
    InterventionError
        The intervention draws at random or averages over prompts, or logits are read at several
        tokens.
    """

    def __init__(
        self,
        model: Model,
        intervention: Intervention,
        pairs: Pairs,
        at: Pos,
        *,
        room: int | None = None,
    ) -> None:
        if intervention.draws > 1 or any(not part.needs_source for part in intervention.parts):
            raise InterventionError(
                f"{intervention} cannot be learned: it takes nothing from a source prompt"
            )
        self._model = model
        self._rows = [Row.of(pair, "base") for pair in pairs]
        self._read = [self._one_token(row, at) for row in self._rows]
        with torch.no_grad():
            stored = reads_for(model, intervention, list(pairs), pairs, 0)
        self._given = [
            {site: torch.split(flat, counts) for site, (flat, counts) in stored[part].items()}
            for part in intervention.parts
        ]
        self._kept: dict[int, Kept] = {}
        self._readout: Readout | None = None
        self._too_much = ""
        weights = sum(each.nbytes for each in model.network.parameters())
        self._room = max(_ROOM, weights) if room is None else room
        self.plan = self._prepare(intervention)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def network(self) -> nn.Module:
        """The network that is run."""
        return self._model.network

    def logits(self, indices: Sequence[int], intervention: Intervention) -> Tensor:
        """Run some pairs and return the logits where they are read.

        Parameters
        ----------
        indices
            Which pairs.
        intervention
            What to edit; as that of the constructor, with other numbers.

        Returns
        -------
        Tensor
            (pairs, classes), in the order of `indices`.

        Raises
        ------
        InterventionError
            An edit did not happen exactly once.
        """
        groups: dict[int, list[int]] = {}
        for index in indices:
            groups.setdefault(self._length(index), []).append(index)
        found: dict[int, Tensor] = {}
        with evaluating(self._model.network):
            for length, members in groups.items():
                kept = self._kept.get(length)
                run = self._whole if kept is None else self._upper
                found.update(zip(members, run(members, intervention), strict=True))
        return torch.stack([found[index] for index in indices])

    # What follows serves the methods above

    def _one_token(self, row: Row, at: Pos) -> int:
        found = self._model.prompts.positions(row, at)
        if len(found) != 1:
            raise InterventionError(
                f"position {at!r} covers {len(found)} tokens; the answer is read at one: use "
                f"'{at}.first' or '{at}.last'"
            )
        return found[0]

    def _length(self, index: int) -> int:
        return len(self._model.prompts.ids(self._rows[index].prompt))

    def _prepare(self, intervention: Intervention) -> str:
        """Run the part below once; return which part is run from then on."""
        try:
            with torch.no_grad():
                self._keep(intervention)
                self._check(intervention)
        except Unfit as reason:
            self._kept.clear()
            return f"the whole network in every step: {reason}"
        first = min(kept.first for kept in self._kept.values())
        start = min(kept.start for kept in self._kept.values())
        blocks = self._model.n_layers - first
        return (
            f"{blocks} of {self._model.n_layers} blocks in every step, tokens from {start} on"
            f"{self._too_much}"
        )

    def _keep(self, intervention: Intervention) -> None:
        self._readout = readout_of(self._model)
        some = self._model.prompts.ids(self._rows[0].prompt)
        check_arguments(self._model, some)
        forwards = causal(self._model, some)
        join = Places(self._model).join(intervention)
        if join is None or join == BEFORE:
            raise Unfit("an edit is made before or beside the blocks")
        by_length: dict[int, list[int]] = {}
        for index in range(len(self._rows)):
            by_length.setdefault(self._length(index), []).append(index)
        needed = {
            length: self._needed(members, intervention, (join + 1) // 2, causal=forwards)
            for length, members in by_length.items()
        }
        for length, each in self._fitting(needed).items():
            self._kept[length] = self._below(each)

    def _needed(
        self, members: list[int], intervention: Intervention, first: int, *, causal: bool
    ) -> Needed:
        """Say what the blocks above need of prompts of one length."""
        # One row stands for all: prompts of one length are called alike.
        batch = self._model.batch([self._rows[members[0]]])
        one, _ = capture(self._model, batch, logits=False)
        edited = (
            place
            for index in members
            for site in intervention.sites
            for place in self._model.prompts.positions(self._rows[index], site.pos)
        )
        start = min(*edited, *(self._read[index] for index in members))
        if not causal or any(memory is None for memory in one.memory[first:]):
            start = 0
        return Needed(one, tuple(members), first, start)

    def _fitting(self, needed: dict[int, Needed]) -> dict[int, Needed]:
        """Keep less where there is no room: no keys and values, but all tokens to run."""
        size = sum(each.size for each in needed.values())
        if size <= self._room:
            return needed
        less = {length: replace(each, start=0) for length, each in needed.items()}
        if (left := sum(each.size for each in less.values())) > self._room:
            raise Unfit(
                f"to keep what {len(self._rows)} prompts give below would take "
                f"{min(size, left) / 2**30:.2g} GiB"
            )
        self._too_much = (
            f", since to keep what precedes the edits would take {size / 2**30:.2g} GiB"
        )
        return less

    def _below(self, needed: Needed) -> Kept:
        """Run base prompts of one length and keep what the blocks above ask for."""
        one, first, start = needed.one, needed.first, needed.start
        count = len(needed.members)
        earlier = [
            each if layer >= first and start else None for layer, each in enumerate(one.memory)
        ]
        shapes = [one.states[first][:, start:]]
        shapes += [each[:, :, :start] for memory in earlier for each in memory or ()]
        rooms = iter(_rooms(shapes, count))
        states = next(rooms)
        memory = [None if each is None else (next(rooms), next(rooms)) for each in earlier]
        size = max(1, _AT_ONCE // _bytes(one))
        for begin in range(0, count, size):
            rows = [self._rows[index] for index in needed.members[begin : begin + size]]
            track, _ = capture(self._model, self._model.batch(rows), logits=False)
            here = slice(begin, begin + len(rows))
            states[here] = track.states[first][:, start:]
            for kept, found in zip(memory, track.memory, strict=True):
                for room, each in zip(kept or (), found or (), strict=kept is not None):
                    room[here] = each[:, :, :start]
            # Else it would be there beside the next.
            del track
        row = {index: number for number, index in enumerate(needed.members)}
        return Kept(Track(one.calls, one.states[:1], tuple(memory)), states, first, start, row)

    def _check(self, intervention: Intervention) -> None:
        """Compare with plain forward passes on a pair or two of each length."""
        for kept in self._kept.values():
            members = list(kept.row)
            chosen = list(dict.fromkeys([members[0], members[-1]]))
            with evaluating(self._model.network):
                fast = torch.stack(list(self._upper(chosen, intervention))).double()
                plain = torch.stack(list(self._whole(chosen, intervention))).double()
            off = float((fast - plain).abs().max())
            if off > _TOLERANCE * max(1.0, float(plain.abs().max())):
                raise Unfit(f"running the upper part alone moves logits by {off:.2g}")

    def _stored(self, members: Sequence[int], intervention: Intervention) -> Stored:
        found = Stored()
        for part, given in zip(intervention.parts, self._given, strict=True):
            found[part] = {
                site: (
                    torch.cat([pieces[index] for index in members]),
                    [len(pieces[index]) for index in members],
                )
                for site, pieces in given.items()
            }
        return found

    def _whole(self, members: Sequence[int], intervention: Intervention) -> Iterator[Tensor]:
        """Run the whole network."""
        batch = self._model.batch([self._rows[index] for index in members])
        edits, operations = declared(
            self._model, intervention, batch, draw=0,
            stored=self._stored(members, intervention), means={},
        )  # fmt: skip
        outputs = self._model.run_batch(batch, operations)
        for edit in edits:
            edit.entry()
        for index, output in zip(members, outputs, strict=True):
            yield output.logits if output.logits.ndim == 1 else output.logits[self._read[index]]

    def _upper(self, members: Sequence[int], intervention: Intervention) -> Iterator[Tensor]:
        """Run the blocks from the first that is edited on."""
        kept = self._kept[self._length(members[0])]
        rows = torch.tensor([kept.row[index] for index in members], device=kept.states.device)
        tokens = kept.track.tokens - kept.start
        # Edits ask for the shape alone.
        ids = torch.empty(len(members), tokens, device="meta")
        batch = Batch(
            tuple(self._rows[index] for index in members), ids, (tokens,) * len(members), kept.start
        )
        edits, operations = declared(
            self._model, intervention, batch, draw=0,
            stored=self._stored(members, intervention), means={},
        )  # fmt: skip
        stream = kept.states[rows]
        inside: list[tuple[str, Side, Operation]] = []
        below = self._model.architecture.blocks[kept.first - 1] if kept.first else ""
        for path, side, operation in operations:
            if path == below and side == "output":
                stream = operation(stream)
                assert stream is not None
            else:
                inside.append((path, side, operation))
        with attached(self._model.network, inside):
            for layer in range(kept.first, len(kept.track.calls)):
                stream = self._step(kept, layer, stream, rows)
        for edit in edits:
            edit.entry()
        places = torch.tensor([self._read[index] - kept.start for index in members])
        states = stream[torch.arange(len(members)), places.to(stream.device)]
        yield from self._answers(states)

    @staticmethod
    def _step(kept: Kept, layer: int, stream: Tensor, rows: Tensor) -> Tensor:
        memory = kept.track.memory[layer]
        cache = Prefix(memory, kept.start, rows) if kept.start and memory is not None else None
        part = Slice(slice(kept.start, None), rows, len(rows))
        call: Call = kept.track.calls[layer]
        return step(call, kept.track, stream, part, cache)

    def _answers(self, states: Tensor) -> Tensor:
        assert self._readout is not None
        network = self._model.network
        # With a token axis, as the modules are used to.
        normed = self._readout.normed(network, states[:, None])
        return self._readout.finished(network.get_submodule(self._readout.unembedding)(normed))[
            :, 0
        ]


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
    tensors = [*track.states, *(each for memory in track.memory for each in memory or ())]
    return sum(each.nbytes for each in tensors)
