"""What the cells of a job put in at their sites, read once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Protocol

from torch import Tensor

from causaltest.engine.apply import donors, has_source
from causaltest.engine.prompts import Row
from causaltest.engine.sources import Stored, drawn, means_for, of_rows, reads_for
from causaltest.engine.sweeps.beside import Reading
from causaltest.engine.sweeps.edited import EditedRuns
from causaltest.engine.sweeps.planning import Strip
from causaltest.engine.sweeps.task import Tally, Task, together
from causaltest.interventions import FromSource, Intervention
from causaltest.sites import Site

_SOURCE = ("source", None)


class Giver(Protocol):
    """Gives what the parts of a cell put in."""

    def stored(self, strip: Strip) -> Stored:
        """Return what each part of a strip's cell puts in, entries in the order of its rows."""
        ...


class Sources:
    """Numbers read from source runs and other prompts, for some pairs under some cells.

    Plain runs are read once for everything that is taken from them: by cells, and by edits of the
    source runs that other cells take from. These share passes in their turn.

    Parameters
    ----------
    task
        The sweep.
    tally
        Takes in what was edited in the source runs.
    pairs, cells
        Of the job.
    """

    def __init__(
        self, task: Task, tally: Tally, pairs: Sequence[int], cells: Sequence[int]
    ) -> None:
        self._task = task
        self._tally = tally
        # Several base runs of one pair have the same sources.
        same: dict[str, int] = {}
        self._place = {index: same.setdefault(task.pairs[index].id, len(same)) for index in pairs}
        first = {place: index for index, place in reversed(self._place.items())}
        self._pairs = tuple(first[place] for place in range(len(first)))
        self._read: dict[tuple[int, bool], Stored] = {}
        self._parts = self._reading((cell, cell.draws) for cell in (task.cells[i] for i in cells))
        self._shared = {
            part: part.under
            for part in self._parts
            if isinstance(part, FromSource) and part.under is not None and self._has(part)
        }
        inner = self._reading((under, self._parts[part]) for part, under in self._shared.items())
        self._plain = dict(inner)
        for part, draws in self._parts.items():
            if part not in self._shared:
                self._plain[part] = max(draws, inner.get(part, 0))

    def stored(self, strip: Strip) -> Stored:
        """Return what each part of a strip's cell puts in, entries in the order of its rows."""
        return self._given(self._task.cells[strip.cell], strip.pairs, strip.draw)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where plain runs are read."""
        return tuple(dict.fromkeys(site for part in self._plain for site in part.sites))

    def rows_beside(self, tokens: int) -> tuple[Row, ...]:
        """Return the source prompts of the pairs, where nothing else is read.

        Parameters
        ----------
        tokens
            How long each must be; none are returned otherwise.
        """
        if not self._plain or self._shared or {*map(_prompt, self._plain)} != {_SOURCE}:
            return ()
        if self._task.draws > 1:  # not one for each base run
            return ()
        if any(isinstance(part, FromSource) for part in self._plain):
            return ()
        chosen = [self._task.pairs[index] for index in self._pairs]
        rows = donors(next(iter(self._plain)), chosen, self._task.over, 0) or ()
        ids = self._task.model.prompts.ids
        if any(row is None or len(ids(row.prompt)) != tokens for row in rows):
            return ()
        return tuple(row for row in rows if row is not None)

    def take(self, reading: Reading) -> None:
        """Take what was read of the rows of `rows_beside`, so that they are not run again."""
        every = range(len(self._pairs))
        read = {site: reading.of(site, every) for site in self.sites}
        stored = Stored()
        for part in self._plain:
            found = ((site, read[site]) for site in part.sites)
            stored[part] = {site: each for site, each in found if each is not None}
        self._read[0, False] = stored
        self._tally.work += len(self._pairs)

    def _reading(self, cells: Iterable[tuple[Intervention, int]]) -> dict[Intervention, int]:
        """Return the parts that put in what is read, and how many draws there are of each."""
        parts: dict[Intervention, int] = {}
        for cell, draws in cells:
            for part in cell.parts:
                parts[part] = max(parts.get(part, 0), draws)
        some = [self._task.pairs[index] for index in self._pairs[:1]]
        return {
            part: draws if drawn(part) else 1
            for part, draws in parts.items()
            if donors(part, some, self._task.over, 0) is not None
        }

    def _has(self, part: FromSource) -> bool:
        """Return whether all pairs have a source; those that are left alone are not to be run."""
        return all(has_source(self._task.pairs[index], part.source) for index in self._pairs)

    def _given(self, cell: Intervention, pairs: Sequence[int], draw: int) -> Stored:
        found, rows = Stored(), [self._place[pair] for pair in pairs]
        for part in cell.parts:
            if part in self._parts or part in self._plain:
                read = self._of(draw if drawn(part) else 0, edited=part in self._shared)[part]
                found[part] = {site: of_rows(*read[site], rows) for site in part.sites}
        return found

    def _of(self, draw: int, *, edited: bool) -> Stored:
        if (draw, edited) not in self._read:
            self._read[draw, edited] = self._edited(draw) if edited else self._plainly(draw)
        return self._read[draw, edited]

    def _plainly(self, draw: int) -> Stored:
        due = [part for part, draws in self._plain.items() if draw < draws]
        chosen = [self._task.pairs[index] for index in self._pairs]
        read = reads_for(self._task.model, together(due), chosen, self._task.over, draw)
        self._tally.given.extend(read.ledger)
        self._tally.work += len(chosen) * len(set(map(_prompt, due)))
        return read

    def _edited(self, draw: int) -> Stored:
        due = [part for part in self._shared if draw < self._parts[part]]
        given = partial(self._given, draw=draw)
        read = EditedRuns(self._task, due, draw, given, self._means).read(self._pairs, self._tally)
        self._tally.given.extend(read.ledger)
        return read

    @cached_property
    def _means(self) -> dict[tuple[Intervention, Site], Tensor]:
        """What edits of source runs put in at mean-ablated sites."""
        parts = dict.fromkeys(part for under in self._shared.values() for part in under.parts)
        return means_for(self._task.model, together(list(parts)), self._task.over)


def _prompt(part: Intervention) -> object:
    """Return which prompts a part reads, under what."""
    if isinstance(part, FromSource):
        return part.source, part.under
    return _SOURCE if part.needs_source else part
