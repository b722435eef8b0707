"""Source runs that are edited themselves, as path patching has them: many share forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from causaltest.engine.applied import Applied, declared
from causaltest.engine.ledger import Entry
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.reading import read_batch
from causaltest.engine.sources import Stored, joined
from causaltest.engine.sweeps.pieces import in_pieces
from causaltest.engine.sweeps.planning import Strip, runs
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.engine.sweeps.task import Part, Tally, Task
from causaltest.interventions import FromSource, Intervention
from causaltest.sites import Site

Given = Callable[[Intervention, Sequence[int]], Stored]
"""Tells what the parts of an intervention put in, for some pairs."""
Means = dict[tuple[Intervention, Site], Tensor]
_Run = tuple[str, Intervention]
"""Which prompt of a pair, and what is done to it."""


@dataclass
class EditedRuns:
    """Runs of prompts under interventions, read at some sites.

    Parameters
    ----------
    task
        The sweep.
    parts
        What takes its numbers from such runs.
    draw
        Index of the random draw.
    given, means
        What the edits of these runs put in.
    """

    task: Task
    parts: Sequence[FromSource]
    draw: int
    given: Given
    means: Means
    _found: dict[tuple[int, Site], dict[int, Tensor]] = field(default_factory=dict)
    _ledger: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        sites: dict[_Run, dict[Site, None]] = {}
        for part in self.parts:
            sites.setdefault(_run_of(part), {}).update(dict.fromkeys(part.sites))
        self._runs = tuple(sites)
        self._sites = tuple(sites.values())

    def read(self, pairs: Sequence[int], tally: Tally) -> Stored:
        """Return what each part takes, for some pairs.

        Parameters
        ----------
        pairs
            Indices of the pairs.
        tally
            Takes in what it cost.
        """
        strips = [Strip(run, self.draw, tuple(pairs)) for run in range(len(self._runs))]
        ids = self.task.model.prompts.ids
        longest = max(
            len(ids(self._row(run, pair).prompt)) for run in range(len(strips)) for pair in pairs
        )
        in_pieces(strips, self.task.most_rows(longest, answers=0), self._run, tally)
        taken = Stored()
        taken.ledger = self._ledger
        for part in self.parts:
            run = self._runs.index(_run_of(part))
            taken[part] = {}
            for site in part.sites:
                rows = [self._found[run, site][pair] for pair in pairs]
                taken[part][site] = joined(site, rows), [len(row) for row in rows]
        return taken

    def _row(self, run: int, pair: int) -> Row:
        return Row.of(self.task.pairs[pair], self._runs[run][0])

    def _run(self, piece: Sequence[Strip]) -> Part:
        """Run some rows together, and keep what is read of each."""
        items = [(strip.cell, pair) for strip in piece for pair in strip.pairs]
        rows = [self._row(run, pair) for run, pair in items]
        chosen = dict.fromkeys(run for run, _ in items)
        sites = tuple(dict.fromkeys(site for run in chosen for site in self._sites[run]))
        edited = [site for run in chosen for site in self._runs[run][1].sites]
        for indices, batch in self.task.model.batches(rows, (*sites, *edited)):
            own = [items[index] for index in indices]
            edits, placed = self._placed(own, batch)
            read = read_batch(self.task.model, sites, batch, merged(placed, batch))
            self._ledger += [edit.entry() for edit in edits]
            for site, (flat, counts) in read.items():
                for (run, pair), each in zip(own, torch.split(flat, list(counts)), strict=True):
                    if site in self._sites[run]:
                        self._found.setdefault((run, site), {})[pair] = each
        return Part(work=len(items))

    def _placed(
        self, items: Sequence[tuple[int, int]], batch: Batch
    ) -> tuple[list[Applied], list[Placed]]:
        """Return what is done to the rows of a batch."""
        edits: list[Applied] = []
        placed: list[Placed] = []
        for run, start, stop in runs([run for run, _ in items]):
            under = self._runs[run][1]
            own = Batch(batch.rows[start:stop], batch.ids[start:stop], batch.lengths[start:stop])
            made, operations = declared(
                self.task.model, under, own, draw=self.draw, means=self.means,
                stored=self.given(under, [pair for _, pair in items[start:stop]]),
            )  # fmt: skip
            edits += made
            placed += [Placed(slice(start, stop), *operation) for operation in operations]
        return edits, placed


def _run_of(part: FromSource) -> _Run:
    assert part.under is not None
    return part.source, part.under
