"""What the cells of a job put in at their sites, read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from causaltest.engine.apply import donors
from causaltest.engine.sources import Stored, drawn, reads_for
from causaltest.engine.sweeps.planning import Strip
from causaltest.engine.sweeps.task import Tally, Task, together
from causaltest.interventions import Intervention


class Giver(Protocol):
    """Gives what the parts of a cell put in."""

    def stored(self, strip: Strip) -> Stored:
        """Return what each part of a strip's cell puts in, entries in the order of its rows."""
        ...


class Sources:
    """Numbers read from source runs and other prompts, for some pairs under some cells.

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
        self._pairs = tuple(pairs)
        self._place = {pair: index for index, pair in enumerate(self._pairs)}
        self._read: dict[int, Stored] = {}
        parts: dict[Intervention, int] = {}
        for cell in (task.cells[index] for index in cells):
            for part in cell.parts:
                parts[part] = max(parts.get(part, 0), cell.draws)
        needing = [task.pairs[index] for index in self._pairs]
        self._parts = {
            part: draws if drawn(part) else 1
            for part, draws in parts.items()
            if donors(part, needing[:1], task.pairs, 0) is not None
        }

    def stored(self, strip: Strip) -> Stored:
        """Return what each part of a strip's cell puts in, entries in the order of its rows."""
        found = Stored()
        for part in self._task.cells[strip.cell].parts:
            if part in self._parts:
                read = self._of_draw(strip.draw if drawn(part) else 0)[part]
                found[part] = {site: self._chosen(*read[site], strip.pairs) for site in part.sites}
        return found

    def _of_draw(self, draw: int) -> Stored:
        if draw not in self._read:
            due = [part for part, draws in self._parts.items() if draw < draws]
            chosen = [self._task.pairs[index] for index in self._pairs]
            read = reads_for(self._task.model, together(due), chosen, self._task.pairs, draw)
            self._tally.given.extend(read.ledger)
            self._tally.work += len(chosen)
            self._read[draw] = read
        return self._read[draw]

    def _chosen(
        self, flat: Tensor, counts: Sequence[int], pairs: Sequence[int]
    ) -> tuple[Tensor, list[int]]:
        places = [self._place[pair] for pair in pairs]
        if places == list(range(len(counts))):
            return flat, list(counts)
        split = torch.split(flat, list(counts))
        return torch.cat([split[place] for place in places]), [counts[place] for place in places]
