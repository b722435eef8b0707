"""From the last block's output to scores: many rows at once, only where the metric reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from causaltest.engine.output import Output
from causaltest.engine.readout import Readout
from causaltest.engine.sweeps.base import Base
from causaltest.engine.sweeps.outputs import Partial
from causaltest.engine.sweeps.pieces import out_of_memory
from causaltest.engine.sweeps.task import Part, Tally, Task, Watched


@dataclass
class Answers:
    """Rows that came out of the last block and wait to be scored.

    Parameters
    ----------
    task, base, readout, tally
        The sweep, the base runs, how logits come about, and what takes in the values.
    """

    task: Task
    base: Base
    readout: Readout
    tally: Tally
    _rows: list[tuple[Watched, tuple[int, ...]]] = field(default_factory=list)
    _states: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        sample = next(iter(self.base.logits.values()))
        self._classes = None if self.base.among is None else self.base.among.chosen
        # Logits, and twice as much for what a metric makes of them.
        size = 4 * sample.shape[-1] * sample.element_size()
        self._most = max(1, self.task.memory // size)
        self._held = 0

    def add(
        self, row: Watched, states: Tensor, places: Sequence[int], changed: Sequence[int]
    ) -> None:
        """Take in one row.

        Parameters
        ----------
        row
            Which one it is.
        states
            (tokens, width).
        places
            Which tokens these are.
        changed
            Tokens whose states may differ from those of the base run.
        """
        read = self._read(row)
        computed = tuple(at for at in read if at in places and at in changed)
        self._rows.append((row, computed))
        if computed:
            self._states.append(states[[places.index(at) for at in computed]])
        self._held += len(computed)
        if self._held >= self._most:
            self.flush()

    def _read(self, row: Watched) -> Sequence[int]:
        read = self.base.reads[row[0]]
        return range(self.base.track.tokens) if read is None else read

    def flush(self) -> None:
        """Score all rows that wait."""
        part = Part()
        logits = self._logits()
        first = 0
        for row, computed in self._rows:
            own = logits[first : first + len(computed)]
            first += len(computed)
            self._score(row, dict(zip(computed, own, strict=True)), part)
        self._rows, self._states, self._held = [], [], 0
        self.tally.add(part)

    def _logits(self) -> Tensor | Sequence[Tensor]:
        if not self._states:
            return ()
        states = torch.cat(self._states)[:, None]
        network = self.task.model.network
        while True:
            try:
                parts = torch.split(states, self._most)
                chosen = self._classes
                found = [self.readout.logits(network, each, chosen)[:, 0] for each in parts]
                return torch.cat(found)
            except (RuntimeError, MemoryError) as error:
                if self._most == 1 or not out_of_memory(error):
                    raise
                self._most //= 2

    def _score(self, row: Watched, computed: dict[int, Tensor], part: Part) -> None:
        pair = row[0]
        base = self.base.logits[pair]
        if not computed:
            part.values.append((row, self.base.values[pair]))
            if row in self.tally.watched:
                self.tally.watched[row] = base
            return
        whole = {at: base[index] for index, at in enumerate(self._read(row))} | computed
        prompt, model = self.task.rows[pair], self.task.model
        if self.base.reads[pair] is None:
            output = Output(torch.stack(list(whole.values())), prompt, model)
        else:
            output = Partial(prompt, model, whole, self.base.among)
        self.tally.score(part, row, output)
