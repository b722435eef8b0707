"""A job's first pass: source runs, rows to be checked and controls run beside the base runs.

A pass over few rows takes as long as reading a model's weights does, so one is better than three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from causaltest.engine.applied import Applied, declared
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.readout import Readout
from causaltest.engine.sources import Stored
from causaltest.engine.sweeps.beside import Own, Reading
from causaltest.engine.sweeps.capture import Unfit
from causaltest.engine.sweeps.outputs import Among, Partial
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
    sample
        Pairs whose activations are put back where they are, as the identity control.
    """

    def __init__(
        self,
        task: Task,
        readout: Readout,
        pairs: Sequence[int],
        sources: Sources,
        *,
        watched: Sequence[Watched],
        sample: Sequence[int],
    ) -> None:
        self._task, self._readout = task, readout
        self._pairs = tuple(pairs)
        self._sources = sources
        self._given = sources.rows_beside(len(task.ids[pairs[0]]))
        self._reading: Reading | None = None
        self._own: Own | None = None
        self.watched = tuple(watched)
        self.sample = tuple(sample)
        self._edits: list[Applied] = []
        self._states: Tensor | None = None

    @property
    def rows(self) -> list[Row]:
        """The prompts that are run beside those of the pairs."""
        pairs = [*(pair for pair, _, _ in self.watched), *self.sample]
        return [*self._given, *(self._task.rows[pair] for pair in pairs)]

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
        strips = [Strip(cell, draw, (pair,)) for pair, cell, draw in self.watched]
        task = self._task
        if self.sample:
            own = slice(0, len(self._pairs))
            self._own = Own(task.model, task.beside.sites, self._pairs, _part(batch, own))
            placed += [Placed(own, *each) for each in self._own.reading.operations]
            strips.append(Strip(len(task.cells), 0, self.sample))
            task = task.with_cell(self._own.part)
        for strip in strips:
            own, first = slice(first, first + len(strip.pairs)), first + len(strip.pairs)
            placed += self._placed(task, strip, own, _part(batch, own))
        end: tuple[str, Side, Operation] = (self._readout.unembedding, "input", self._part_ways)
        return under, [*merged(placed, batch), end]

    def _placed(self, task: Task, strip: Strip, own: slice, rows: Batch) -> list[Placed]:
        reading = self._reading
        if strip.cell == len(self._task.cells):
            assert self._own is not None
            reading = self._own.reading
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
        """Let the base runs alone through to the logits."""
        kept = len(self._pairs)
        beside = kept + len(self._given)
        self._states = states[beside:]
        return states[:kept]

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
    ) -> tuple[dict[Watched, Output], dict[int, Output]]:
        """Return what the watched rows and the identity control of each pair said.

        Parameters
        ----------
        reads
            The tokens of each pair at which the metric reads logits; None for all.
        among
            The classes that it reads; None for all.
        """
        pairs = [*(pair for pair, _, _ in self.watched), *self.sample]
        assert self._states is not None
        found = [
            self._output(pair, states, reads[pair], among)
            for pair, states in zip(pairs, self._states, strict=True)
        ]
        checked = len(self.watched)
        watched = dict(zip(self.watched, found[:checked], strict=True))
        return watched, dict(zip(self.sample, found[checked:], strict=True))

    def _output(
        self, pair: int, states: Tensor, read: tuple[int, ...] | None, among: Among | None
    ) -> Output:
        model, row = self._task.model, self._task.rows[pair]
        places = range(len(states)) if read is None else read
        classes = None if among is None else among.chosen
        logits = self._readout.unembedded(model.network, states[list(places)], classes)
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


def _part(batch: Batch, own: slice) -> Batch:
    return Batch(batch.rows[own], batch.ids[own], batch.lengths[own])
