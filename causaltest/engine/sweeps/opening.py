"""A job's first pass: source runs and rows to be checked run beside the base runs.

A pass over few rows takes as long as reading a model's weights does, so one is better than three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from causaltest.engine.applied import Applied, declared
from causaltest.engine.hooks import Operation, Side, evaluating
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.readout import Readout
from causaltest.engine.sources import Stored
from causaltest.engine.sweeps.beside import Own, Reading
from causaltest.engine.sweeps.capture import First, Unfit
from causaltest.engine.sweeps.outputs import Among, Deferred, Partial
from causaltest.engine.sweeps.planning import Strip
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.engine.sweeps.task import Task, Watched
from causaltest.engine.sweeps.under import made_under


class Opening:
    """What runs beside the base runs of a job, in the same pass.

    Parameters
    ----------
    task
        The sweep.
    readout
        How logits come about.
    pairs
        Indices of the pairs; their prompts have one length.
    sources
        What the cells put in. What is to be read of source prompts of that length is read here.
    watched
        Rows that are run whole, to be compared with.
    control
        Whether the base runs' activations are put back where they are, as the identity control.
        Where that leaves each bit as it is, nothing behind it can move either.
    """

    def __init__(
        self,
        task: Task,
        readout: Readout,
        pairs: Sequence[int],
        sources: Sources,
        *,
        watched: Sequence[Watched],
        control: bool,
    ) -> None:
        self._task, self._readout = task, readout
        self._pairs = tuple(pairs)
        self._sources = sources
        self._given = sources.rows_beside(len(task.ids[pairs[0]]))
        self._reading: Reading | None = None
        self.watched = tuple(watched)
        self._control = control
        self._edits: list[Applied] = []
        self._states: Tensor | None = None
        self._plain: Tensor | None = None

    @property
    def rows(self) -> list[Row]:
        """The prompts that are run beside those of the pairs."""
        return [*self._given, *(self._task.rows[pair] for pair, _, _ in self.watched)]

    def operations(self, batch: Batch) -> tuple[list[Applied], list[tuple[str, Side, Operation]]]:
        """Return what is done to base runs, and all that reads and edits.

        The rows beside the base runs are kept from the unembedding.

        Parameters
        ----------
        batch
            The prompts of the pairs, and `rows` behind them.
        """
        first = len(self._pairs)
        under: list[Applied] = []
        placed: list[Placed] = []
        for own in (slice(0, first), slice(first + len(self._given), len(batch.rows))):
            rows = _part(batch, own)
            made, operations = made_under(self._task, rows) if rows.rows else ([], [])
            under += made
            placed += [Placed(own, *each) for each in operations]
        if self._given:
            own, first = slice(first, first + len(self._given)), first + len(self._given)
            self._reading = Reading(self._task.model, self._sources.sites, _part(batch, own))
            placed += [Placed(own, *each) for each in self._reading.operations]
        for pair, cell, draw in self.watched:
            own, first = slice(first, first + 1), first + 1
            placed += self._placed(Strip(cell, draw, (pair,)), own, _part(batch, own))
        if self._control:
            own = slice(0, len(self._pairs))
            placed += [Placed(own, *each) for each in self._put_back(_part(batch, own))]
        end: tuple[str, Side, Operation] = (self._readout.unembedding, "input", self._part_ways)
        return under, [*merged(placed, batch), end]

    def _put_back(self, rows: Batch) -> list[tuple[str, Side, Operation]]:
        """Return what puts the base runs' activations back, and sees to it that none moves."""
        task = self._task
        own = Own(task.model, task.beside.sites, self._pairs, rows)
        edits, operations = declared(task.model, own.part, rows, draw=0, stored=Stored())
        self._edits += edits
        every = range(len(self._pairs))
        found = own.reading.operations
        for path, side, operation in operations:
            assert isinstance(operation, Applied)
            found.append((path, side, _Unmoved(_Filled(operation, own.reading, every))))
        return found

    def _placed(self, strip: Strip, own: slice, rows: Batch) -> list[Placed]:
        task, reading = self._task, self._reading
        stored = Stored() if reading is not None else self._sources.stored(strip)
        edits, operations = declared(
            task.model, task.cells[strip.cell], rows,
            draw=strip.draw, stored=stored, means=task.means,
        )  # fmt: skip
        self._edits += edits
        chosen = [self._pairs.index(pair) for pair in strip.pairs]
        found: list[Placed] = []
        for path, side, operation in operations:
            if isinstance(operation, Applied) and reading is not None:
                operation = _Filled(operation, reading, chosen)  # noqa: PLW2901
            found.append(Placed(own, path, side, operation))
        return found

    def _part_ways(self, states: Tensor) -> Tensor:
        """Let the last token of the base runs alone through to the logits."""
        kept = len(self._pairs)
        beside = kept + len(self._given)
        self._plain, self._states = states[:kept], states[beside:]
        return self._plain[:, -1:]

    @property
    def first(self) -> First:
        """The base runs, which alone come out of the pass."""
        return First(len(self._pairs), self._plain_outputs)

    def _plain_outputs(self, logits: Tensor) -> list[Output]:
        plain, kept = self._plain, len(self._pairs)
        if plain is None or logits.ndim != 3 or logits.shape[:2] != (kept, 1):
            raise Unfit(f"of {kept} rows logits of shape {tuple(logits.shape)} came out")
        model = self._task.model
        return [
            Deferred(self._task.rows[pair], model, states, own[0], self._unembedded)
            for pair, states, own in zip(self._pairs, plain, logits, strict=True)
        ]

    def _unembedded(self, states: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        network = self._task.model.network
        with evaluating(network):
            return self._readout.unembedded(network, states, classes)

    def finish(self) -> None:
        """Make sure that all was done as declared, and hand on what was read.

        Raises
        ------
        InterventionError
            An edit was not made once.
        Unfit
            The pass did not come to the unembedding.
        """
        for edit in self._edits:
            edit.check()
        if self._states is None:
            raise Unfit("the unembedding was not reached")
        if self._reading is not None and self._reading.complete:
            self._sources.take(self._reading)

    def outputs(
        self, reads: Mapping[int, tuple[int, ...] | None], among: Among | None
    ) -> dict[Watched, Output]:
        """Return what the watched rows said.

        Parameters
        ----------
        reads
            The tokens of each pair at which the metric reads logits; None for all.
        among
            The classes that it reads; None for all.
        """
        assert self._states is not None
        return {
            row: self._output(row[0], states, reads[row[0]], among)
            for row, states in zip(self.watched, self._states, strict=True)
        }

    def _output(
        self, pair: int, states: Tensor, read: tuple[int, ...] | None, among: Among | None
    ) -> Output:
        model, row = self._task.model, self._task.rows[pair]
        places = range(len(states)) if read is None else read
        classes = None if among is None else among.chosen
        logits = self._unembedded(states[list(places)], classes)
        if read is None:
            return Output(logits, row, model)
        return Partial(row, model, dict(zip(places, logits, strict=True)), among)


class _Filled:
    """An edit that puts in what is read of other rows just before it is made.

    Parameters
    ----------
    edit, reading
        The edit, and what is read.
    rows
        Of the rows that are read, those that give.
    """

    def __init__(self, edit: Applied, reading: Reading, rows: Sequence[int]) -> None:
        self._edit, self._reading, self._rows = edit, reading, rows

    def __call__(self, tensor: Tensor) -> Tensor | None:
        found = None
        if self._edit.part.needs_source:
            found = self._reading.of(self._edit.site, self._rows)
        if found is not None:
            self._edit.values, self._edit.value_counts = found
        return self._edit(tensor)


class _Unmoved:
    """An edit that must leave all numbers as they are.

    Parameters
    ----------
    edit
        The edit.
    """

    def __init__(self, edit: Operation) -> None:
        self._edit = edit

    def __call__(self, tensor: Tensor) -> Tensor | None:
        found = self._edit(tensor)
        if found is not None and not torch.equal(found, tensor):
            raise Unfit("an activation that is put back where it is from is another one")
        return found


def _part(batch: Batch, own: slice) -> Batch:
    return Batch(batch.rows[own], batch.ids[own], batch.lengths[own])
