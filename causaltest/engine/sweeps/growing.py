"""The growing plan: one walk down the blocks, which each row joins where it is first edited."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.prompts import Batch
from causaltest.engine.run import Applied, declared
from causaltest.engine.sweeps.base import Base
from causaltest.engine.sweeps.capture import Slice, step
from causaltest.engine.sweeps.placing import BEFORE, Places
from causaltest.engine.sweeps.planning import Strip, rows_of
from causaltest.engine.sweeps.prefix import Held, Prefix, Reached
from causaltest.engine.sweeps.scoring import Answers
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.engine.sweeps.task import Part, Task


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
    """

    strip: Strip
    join: int
    edits: list[Applied]
    operations: dict[int, list[tuple[str, Side, Operation]]]
    first: int = 0
    """First row in the pass."""

    @property
    def rows(self) -> tuple[int, int]:
        """First row in the pass, and the one behind the last."""
        return self.first, self.first + len(self.strip.pairs)


@dataclass
class End:
    """Rows that came out of the last block.

    Parameters
    ----------
    lanes
        The rows.
    states
        (rows, tokens, width).
    places
        Which tokens these are.
    """

    lanes: list[Lane]
    states: Tensor
    places: Sequence[int]


@dataclass
class Walk:
    """One pass down the blocks from one token on.

    Parameters
    ----------
    task, base, places, sources
        What is run, on what, where cells edit, and what cells put in.
    start
        First token that is run.
    """

    task: Task
    base: Base
    places: Places
    sources: Sources
    start: int
    work: float = 0.0

    def run(self, strips: Sequence[Strip], answers: Answers) -> Part:
        """Run strips, and hand what comes out of the last block on to be scored."""
        lanes = sorted((self._lane(strip) for strip in strips), key=lambda lane: lane.join)
        with evaluating(self.task.model.network):
            ends = self._down(lanes)
        entries = [(lane.strip.cell, edit.entry()) for lane in lanes for edit in lane.edits]
        for end in ends:
            self._hand_on(end, answers)
        track = self.base.track
        work, self.work = self.work / (track.tokens * len(track.calls)), 0.0
        return Part(entries=entries, rows=rows_of(strips), work=work)

    def _hand_on(self, end: End, answers: Answers) -> None:
        behind = 2 * len(self.base.track.calls) - 1
        for lane in end.lanes:
            states = end.states[slice(*lane.rows)]
            for index, pair in enumerate(lane.strip.pairs):
                row = (pair, lane.strip.cell, lane.strip.draw)
                changed = self.task.edited(pair, row[1]) if lane.join == behind else end.places
                answers.add(row, states[index], end.places, changed)

    def _lane(self, strip: Strip) -> Lane:
        batch = self._batch([strip], self.start)
        edits, operations = declared(
            self.task.model, self.task.cells[strip.cell], batch,
            draw=strip.draw, stored=self.sources.stored(strip), means=self.task.means,
        )  # fmt: skip
        grouped: dict[int, list[tuple[str, Side, Operation]]] = {}
        for operation in operations:
            layer = self.places.layer(operation[0])
            assert layer is not None
            grouped.setdefault(layer, []).append(operation)
        for edit in edits:
            if self.places.layer(edit.access.path) == BEFORE:
                edit.rows = self._batch([strip], 0)
        join = self.places.join(self.task.cells[strip.cell])
        assert join is not None
        return Lane(strip, join, edits, grouped)

    def _batch(self, strips: Sequence[Strip], start: int) -> Batch:
        rows = tuple(self.task.rows[pair] for strip in strips for pair in strip.pairs)
        tokens = self.base.track.tokens - start
        # Edits ask for the shape alone.
        ids = torch.empty(len(rows), tokens, device="meta")
        return Batch(rows, ids, (tokens,) * len(rows), start)

    def _rows(self, lanes: Sequence[Lane]) -> Tensor:
        place = self.base.place
        found = [place[pair] for lane in lanes for pair in lane.strip.pairs]
        return torch.tensor(found, device=self.base.track.states[0].device)

    def _down(self, lanes: list[Lane]) -> list[End]:
        """Walk down the blocks; rows join on the way."""
        track = self.base.track
        last = len(track.calls) - 1
        stream: Tensor | None = None
        live: list[Lane] = []
        ends: list[End] = []
        for layer in range(len(track.calls)):
            due = [lane for lane in lanes if lane.join == 2 * layer]
            if layer == 0:
                front = [lane for lane in lanes if lane.join == BEFORE]
                if front:
                    stream, live = self._front(front), _seated(front, 0)
            if due:
                stream = _behind(stream, self._states(due, layer))
                live += _seated(due, sum(len(lane.strip.pairs) for lane in live))
            if live and layer < last:
                assert stream is not None
                stream = self._through(layer, stream, live)
            elif live:
                assert stream is not None
                ends += self._through_last(stream, live)
                stream, live = None, []
            due = [lane for lane in lanes if lane.join == 2 * layer + 1]
            if due:
                fresh = self._edited(due, self._states(due, layer + 1), layer)
                if layer == last:
                    ends.append(End(due, fresh, range(self.start, track.tokens)))
                    continue
                stream = _behind(stream, fresh)
                live += _seated(due, sum(len(lane.strip.pairs) for lane in live))
        return ends

    def _states(self, lanes: Sequence[Lane], layer: int) -> Tensor:
        return self.base.track.states[layer][:, self.start :][self._rows(lanes)]

    def _operations(self, lanes: Sequence[Lane], layer: int) -> list[tuple[str, Side, Operation]]:
        placed = [
            Placed(lane.rows, *operation)
            for lane in lanes
            for operation in lane.operations.get(layer, ())
        ]
        if not placed:
            return []
        return merged(placed, self._batch([lane.strip for lane in lanes], self.start))

    def _edited(self, lanes: list[Lane], states: Tensor, layer: int) -> Tensor:
        """Return what a block gave, edited behind it."""
        for _, _, operation in self._operations(_seated(lanes, 0), layer):
            states = operation(states)  # pyright: ignore[reportAssignmentType]
        return states

    def _front(self, lanes: list[Lane]) -> Tensor:
        """Run the network up to its first block on rows that are edited before it."""
        model, track = self.task.model, self.base.track
        pairs = [pair for lane in lanes for pair in lane.strip.pairs]
        batch = model.batch([self.task.rows[pair] for pair in pairs])
        placed = [
            Placed(lane.rows, *operation)
            for lane in _seated(lanes, 0)
            for operation in lane.operations.pop(BEFORE)
        ]
        found: list[Tensor] = []

        def enter(tensor: Tensor) -> None:
            found.append(tensor[:, self.start :])
            raise Reached

        end: tuple[str, Side, Operation] = (model.architecture.blocks[0], "input", enter)
        with suppress(Reached):
            model.run_batch(batch, [*merged(placed, batch), end])
        assert found[0].shape[1] == track.tokens - self.start
        return found[0]

    def _through(self, layer: int, stream: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """Run rows through a block, with the edits in it."""
        track = self.base.track
        rows = self._rows(lanes) if track.pairs > 1 else None
        memory, cache = track.memory[layer], None
        if self.start:
            assert memory is not None
            cache = Prefix(memory, self.start, rows)
        part = Slice(slice(self.start, None), rows, stream.shape[0])
        self.work += stream.shape[0] * stream.shape[1]
        with attached(self.task.model.network, self._operations(lanes, layer)):
            return step(track.calls[layer], track, stream, part, cache)

    def _through_last(self, stream: Tensor, lanes: list[Lane]) -> list[End]:
        """Run rows through the last block; where nothing is edited in it, only what is read."""
        track = self.base.track
        last = len(track.calls) - 1
        read = self._read(lanes)
        every = range(self.start, track.tokens)
        if read is None or track.memory[last] is None or len(read) >= len(every):
            return [End(lanes, self._through(last, stream, lanes), every)]
        inside = [lane for lane in lanes if last in lane.operations]
        others = [lane for lane in lanes if last not in lane.operations]
        ends: list[End] = []
        if others:
            own = _rows_of(stream, others)
            found = self._only(read, own, others) if read else own[:, :0]
            ends.append(End(_seated(others, 0), found, read))
        if inside:
            own = _rows_of(stream, inside)
            ends.append(End(_seated(inside, 0), self._through(last, own, inside), every))
        return ends

    def _only(self, read: list[int], stream: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """Run some tokens of rows through the last block, against keys and values of all."""
        track = self.base.track
        call, memory = track.calls[-1], track.memory[-1]
        assert memory is not None
        rows = self._rows(lanes) if track.pairs > 1 else None
        cache = Prefix(memory, self.start, rows, stop=True)
        with suppress(Reached):
            part = Slice(slice(self.start, None), rows, stream.shape[0])
            step(call, track, stream, part, cache)
        assert cache.whole is not None
        places = torch.tensor(read, device=stream.device)
        chosen = stream[:, places - self.start]
        # Keys and values of all tokens are about a quarter of a block.
        self.work += stream.shape[0] * (len(read) + 0.25 * stream.shape[1])
        return step(
            call, track, chosen, Slice(places, rows, stream.shape[0]), Held(cache.whole)
        )  # fmt: skip

    def _read(self, lanes: Sequence[Lane]) -> list[int] | None:
        """Return the tokens at which metrics read logits that these rows could change."""
        found: set[int] = set()
        for pair in {pair for lane in lanes for pair in lane.strip.pairs}:
            asked = self.base.reads[pair]
            if asked is None:
                return None
            found.update(place for place in asked if place >= self.start)
        return sorted(found)


def _seated(lanes: Sequence[Lane], first: int) -> list[Lane]:
    """Give lanes their rows in a pass, one behind the other."""
    for lane in lanes:
        lane.first = first
        first += len(lane.strip.pairs)
    return list(lanes)


def _behind(stream: Tensor | None, fresh: Tensor) -> Tensor:
    return fresh if stream is None else torch.cat([stream, fresh])


def _rows_of(stream: Tensor, lanes: Sequence[Lane]) -> Tensor:
    """Return the rows of some lanes of a pass."""
    count = sum(len(lane.strip.pairs) for lane in lanes)
    if count == stream.shape[0]:
        return stream
    return torch.cat([stream[slice(*lane.rows)] for lane in lanes])
