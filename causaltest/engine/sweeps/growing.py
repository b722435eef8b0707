"""The growing plan: one walk down the blocks, which each row joins where it is first edited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from causaltest.engine.applied import declared
from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.ledger import Entry
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.sources import Stored
from causaltest.engine.sweeps.base import Base
from causaltest.engine.sweeps.calling import Part as Called
from causaltest.engine.sweeps.calling import Slice, behind, step
from causaltest.engine.sweeps.known import everywhere
from causaltest.engine.sweeps.packing import Packs, Seat, packs, seats
from causaltest.engine.sweeps.placing import BEFORE, Places
from causaltest.engine.sweeps.planning import Strip, rows_of
from causaltest.engine.sweeps.prefix import Held, Prefix, Reached
from causaltest.engine.sweeps.scoring import Answers
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.stream import Lane, Out, Stream
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.engine.sweeps.task import Part, Task
from causaltest.engine.sweeps.under import made_under
from causaltest.interventions import Intervention


@dataclass
class Walk:
    """One pass down the blocks, on the tokens behind each row's first edit.

    Parameters
    ----------
    task, base, places, joins, sources
        What is run, on what, where cells edit, where each joins, and what cells put in.
    first, prefix
        The first and the last token at which a row begins. Keys and values of the base run stand
        in front up to the last.
    columns
        Tokens of a pack.
    """

    task: Task
    base: Base
    places: Places
    joins: Sequence[int | None]
    sources: Sources
    first: int
    prefix: int
    columns: int
    work: float = 0.0
    _last: tuple[object, tuple[list[Seat], Packs, Tensor]] | None = None

    def run(self, strips: Sequence[Strip], answers: Answers) -> Part:
        """Run strips, and hand what comes out of the last block on to be scored."""
        lanes = sorted((self._lane(strip) for strip in strips), key=lambda lane: lane.join)
        with evaluating(self.task.model.network):
            outs = self._down(lanes)
        entries = [entry for lane in lanes for entry in self._entries(lane)]
        track = self.base.track
        behind = 2 * len(track.calls) - 1
        for out in outs:
            cell, at_last = out.lane.strip.cell, out.lane.join == behind
            changed = self.task.edited(out.pair, cell) if at_last else out.places
            answers.add((out.pair, cell, out.lane.strip.draw), out.states, out.places, changed)
        work, self.work = self.work / (track.tokens * len(track.calls)), 0.0
        return Part(entries=entries, rows=rows_of(strips), work=work)

    def _entries(self, lane: Lane) -> list[tuple[int, Entry]]:
        """Return what a lane's edits did, under the names of its cell."""
        cell = self.task.cells[lane.strip.cell]
        if not (lane.strip.start and everywhere(cell)):
            return [(lane.strip.cell, edit.entry()) for edit in lane.edits]
        asked = zip(cell.sites, lane.edits, strict=True)
        return [
            (lane.strip.cell, replace(edit.entry(), intervention=str(cell), site=str(site)))
            for site, edit in asked
        ]

    def _lane(self, strip: Strip) -> Lane:
        rows = [self.task.rows[pair] for pair in strip.pairs]
        tokens = self.base.track.tokens
        batch = _shape_alone(rows, tokens - strip.start, strip.start)
        cell, stored = self.task.cells[strip.cell], self.sources.stored(strip)
        if strip.start and everywhere(cell):
            cell, stored = _at_last(cell, stored, range(strip.start, tokens))
        edits, operations = declared(
            self.task.model, cell, batch,
            draw=strip.draw, stored=stored, means=self.task.means,
        )  # fmt: skip
        grouped: dict[int, list[tuple[str, Side, Operation]]] = {}
        for operation in operations:
            layer = self.places.layer(operation[0])
            assert layer is not None
            grouped.setdefault(layer, []).append(operation)
        for edit in edits:
            if self.places.layer(edit.access.path) == BEFORE:
                edit.rows = _shape_alone(rows, tokens, 0)
        join = self.joins[strip.cell]
        assert join is not None
        return Lane(strip, join, edits, grouped)

    def _down(self, lanes: list[Lane]) -> list[Out]:
        """Walk down the blocks; rows join on the way."""
        states = self.base.track.states
        last = len(self.base.track.calls) - 1
        stream: Stream | None = None
        outs: list[Out] = []
        for layer in range(last + 1):
            due = [lane for lane in lanes if lane.join == BEFORE] if layer == 0 else []
            if due:
                stream = _joined(stream, self._seated(due, self._front(due)))
            if due := [lane for lane in lanes if lane.join == 2 * layer]:
                stream = _joined(stream, self._seated(due, states[layer][self._rows(due)]))
            if stream is not None and layer < last:
                stream.states = self._through(layer, stream)
            elif stream is not None:
                outs += self._through_last(stream)
            if due := [lane for lane in lanes if lane.join == 2 * layer + 1]:
                fresh = self._seated(due, states[layer + 1][self._rows(due)])
                for _, _, operation in self._operations(fresh, layer):
                    fresh.states = operation(fresh.states)  # pyright: ignore[reportAttributeAccessIssue]
                if layer == last:
                    outs += self._whole(fresh)
                else:
                    stream = _joined(stream, fresh)
        return outs

    def _rows(self, lanes: Sequence[Lane]) -> Tensor:
        """Return the base run's row of each row."""
        place = self.base.place
        found = [place[pair] for lane in lanes for pair in lane.strip.pairs]
        return torch.tensor(found, device=self.base.track.states[0].device)

    def _seated(self, lanes: list[Lane], states: Tensor) -> Stream:
        """Seat rows in packs of their own, given the states of all of their tokens."""
        rows = self._rows(lanes)
        if self.first == self.prefix:
            taken = [Seat(index, 0) for index in range(len(rows))]
            stream = Stream(lanes, states[:, self.first :], rows, None)
        else:
            begins = [lane.strip.start for lane in lanes for _ in lane.strip.pairs]
            taken, made, owners = self._laid(tuple(zip(rows.tolist(), begins, strict=True)))
            stream = Stream(lanes, states[owners, made.places], made.rows, made)
        left = iter(taken)
        for lane in lanes:
            lane.seats = [next(left) for _ in lane.strip.pairs]
        return stream

    def _laid(self, rows: tuple[tuple[int, int], ...]) -> tuple[list[Seat], Packs, Tensor]:
        """Lay out rows, given row and first token of each; the next block's are mostly the same."""
        if self._last is None or self._last[0] != rows:
            tokens = self.base.track.tokens
            taken = seats([(row, tokens - begin) for row, begin in rows], self.columns)
            device = self.base.track.states[0].device
            made = packs(
                rows, taken,
                tokens=tokens, columns=self.columns, prefix=self.prefix, device=device,
            )  # fmt: skip
            self._last = rows, (taken, *made)
        return self._last[1]

    def _own(self, lane: Lane) -> slice | tuple[Tensor, Tensor]:
        """Return the index of a lane's numbers in an activation of all packs."""
        if self.first == self.prefix:
            return slice(lane.seats[0].pack, lane.seats[-1].pack + 1)
        columns = torch.arange(self.base.track.tokens - lane.strip.start)
        taken = torch.tensor([(seat.pack, seat.first) for seat in lane.seats])
        return taken[:, :1], taken[:, 1:] + columns

    def _operations(self, stream: Stream, layer: int) -> list[tuple[str, Side, Operation]]:
        placed = [
            Placed(self._own(lane), *operation)
            for lane in stream.lanes
            for operation in lane.operations.get(layer, ())
        ]
        if not placed:
            return []
        rows = [self.task.rows[self.base.pairs[row]] for row in stream.rows.tolist()]
        return merged(placed, _shape_alone(rows, stream.states.shape[1], self.first))

    def _front(self, lanes: list[Lane]) -> Tensor:
        """Run the network up to its first block on rows that are edited before it."""
        model = self.task.model
        rows = [self.task.rows[pair] for lane in lanes for pair in lane.strip.pairs]
        batch = model.batch(rows)
        under, operations = made_under(self.task, batch)
        placed = [Placed(slice(0, len(rows)), *operation) for operation in operations]
        first = 0
        for lane in lanes:
            own = slice(first, first := first + len(lane.strip.pairs))
            placed += [Placed(own, *operation) for operation in lane.operations.pop(BEFORE)]
        found: list[Tensor] = []

        def enter(tensor: Tensor) -> None:
            found.append(tensor)
            raise Reached

        end: tuple[str, Side, Operation] = (model.architecture.blocks[0], "input", enter)
        with suppress(Reached):
            model.run_batch(batch, [*merged(placed, batch), end])
        for edit in under:
            edit.did()
        assert found[0].shape[1] == self.base.track.tokens
        return found[0]

    def _called(self, stream: Stream) -> tuple[Called, Tensor | None]:
        """Return which rows and tokens these are, and the pair of each where there are several."""
        rows = stream.rows if self.base.track.pairs > 1 else None
        if stream.packs is not None:
            return stream.packs, rows
        return Slice(slice(self.first, None), rows, stream.count), rows

    def _through(self, layer: int, stream: Stream) -> Tensor:
        """Run rows through a block, with the edits in it."""
        return _in_one([self._stepped(layer, piece) for piece in self._pieces(stream)])

    def _pieces(self, stream: Stream) -> list[Stream]:
        """Return as many packs at once as a processor's cache holds."""
        most = max(1, self.task.most_tokens // stream.states.shape[1])
        # Rows of several pairs are that few already, and an edit works on all of its pairs at once.
        if stream.count <= most or any(len(lane.seats) > 1 for lane in stream.lanes):
            return [stream]
        size = math.ceil(stream.count / math.ceil(stream.count / most))
        return [stream.piece(first, first + size) for first in range(0, stream.count, size)]

    def _stepped(self, layer: int, stream: Stream) -> Tensor:
        track = self.base.track
        part, rows = self._called(stream)
        cache = None
        if self.prefix:
            cache = behind(track, layer, self.prefix, rows, stream.count)
        self.work += stream.states.shape[0] * stream.states.shape[1]
        with attached(self.task.model.network, self._operations(stream, layer)):
            return step(track.calls[layer], track, stream.states, part, cache)

    def _whole(self, stream: Stream) -> list[Out]:
        """Return all tokens of all rows."""
        found: list[Out] = []
        for lane in stream.lanes:
            every = range(lane.strip.start, self.base.track.tokens)
            for pair, seat in zip(lane.strip.pairs, lane.seats, strict=True):
                own = stream.states[seat.pack, seat.first : seat.first + len(every)]
                found.append(Out(lane, pair, own, every))
        return found

    def _through_last(self, stream: Stream) -> list[Out]:
        """Run rows through the last block; where nothing is edited in it, only what is read."""
        last = len(self.base.track.calls) - 1
        inside = {
            seat.pack for lane in stream.lanes if last in lane.operations for seat in lane.seats
        }
        others = [lane for lane in stream.lanes if inside.isdisjoint(s.pack for s in lane.seats)]
        pairs = {pair for lane in others for pair in lane.strip.pairs}
        everywhere = any(self.base.reads[pair] is None for pair in pairs)
        if everywhere or not isinstance(self.base.track.memory[last], tuple):
            others = []
        rest = [lane for lane in stream.lanes if lane not in others]
        outs: list[Out] = []
        if rest:
            some = stream.among(rest)
            some.states = self._through(last, some)
            outs += self._whole(some)
        if others:
            outs += self._only_read(stream.among(others))
        return outs

    def _only_read(self, stream: Stream) -> list[Out]:
        """Run the tokens that are read through the last block, against keys and values of all."""
        rows = [
            (lane, pair, seat, self._read(pair, lane.strip.start))
            for lane in stream.lanes
            for pair, seat in zip(lane.strip.pairs, lane.seats, strict=True)
        ]
        if stream.packs is None:  # the same tokens of all
            every = sorted({at for *_, read in rows for at in read})
            rows = [(lane, pair, seat, every) for lane, pair, seat, _ in rows]
        columns: list[set[int]] = [set() for _ in stream.rows]
        for lane, _, seat, read in rows:
            columns[seat.pack].update(seat.first + at - lane.strip.start for at in read)
        wide = max(map(len, columns))
        if wide >= stream.states.shape[1]:
            stream.states = self._through(len(self.base.track.calls) - 1, stream)
            return self._whole(stream)
        # In order and to the right: some attention takes its last query for the last token.
        filled = [[0] * (wide - len(each)) + sorted(each) for each in columns]
        states = stream.states[:, :0]
        if wide:
            states = self._answered(stream, torch.tensor(filled, device=states.device))
        outs: list[Out] = []
        for lane, pair, seat, read in rows:
            asked = [filled[seat.pack].index(seat.first + at - lane.strip.start) for at in read]
            outs.append(Out(lane, pair, states[seat.pack, asked], read))
        return outs

    def _answered(self, stream: Stream, columns: Tensor) -> Tensor:
        """Run some columns of each pack through the last block."""
        pieces = self._pieces(stream)
        asked = torch.split(columns, pieces[0].count)
        return _in_one([self._at_columns(*each) for each in zip(pieces, asked, strict=True)])

    def _at_columns(self, stream: Stream, columns: Tensor) -> Tensor:
        track = self.base.track
        call, memory = track.calls[-1], track.memory[-1]
        assert isinstance(memory, tuple)
        part, rows = self._called(stream)
        cache = Prefix(memory, self.prefix, rows, stop=True)
        with suppress(Reached):
            step(call, track, stream.states, part, cache)
        assert cache.whole is not None
        wide = columns[:, :, None].expand(-1, -1, stream.states.shape[2])
        # Keys and values of all tokens are about a quarter of a block.
        self.work += columns.numel() + 0.25 * stream.states.shape[0] * stream.states.shape[1]
        if isinstance(part, Packs):
            part = part.at(columns)
        else:
            part = Slice(columns[0] + self.first, rows, part.count)
        return step(call, track, stream.states.gather(1, wide), part, Held(cache.whole))

    def _read(self, pair: int, start: int) -> list[int]:
        """Return the tokens from one on at which the metric reads logits of a pair."""
        asked = self.base.reads[pair]
        assert asked is not None
        return [place for place in asked if place >= start]


def _at_last(cell: Intervention, stored: Stored, places: range) -> tuple[Intervention, Stored]:
    """Return a cell that edits all tokens as one that edits the last ones, and what it puts in."""
    later = {site: site.at(tuple(places)) for site in cell.sites}
    less = replace(cell, sites=tuple(later.values()))
    found = Stored()
    found[less] = {}
    for site, (flat, counts) in stored[cell].items():
        kept = [each[places.start :] for each in torch.split(flat, counts)]
        found[less][later[site]] = torch.cat(kept), [len(each) for each in kept]
    return less, found


def _shape_alone(rows: Sequence[Row], tokens: int, start: int) -> Batch:
    """Return a batch of rows without its token ids: edits ask for the shape alone."""
    ids = torch.empty(len(rows), tokens, device="meta")
    return Batch(tuple(rows), ids, (tokens,) * len(rows), start)


def _joined(stream: Stream | None, fresh: Stream) -> Stream:
    return fresh if stream is None else stream.joined(fresh)


def _in_one(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
