"""A sweep that is to be run, and what has come of it so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causaltest.engine.ledger import Entry, total
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.run import Score
from causaltest.engine.sources import means_for
from causaltest.engine.sweeps.beside import Beside
from causaltest.engine.sweeps.keeping import Finished, packed, unpacked
from causaltest.engine.sweeps.outputs import Among, answers
from causaltest.engine.sweeps.plan import Job
from causaltest.interventions import Intervention, Joint
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, Site

_TOKENS = 1024
"""Fewer at once would read a model's weights too often."""
_CACHED = 1 << 24
"""Bytes of the largest activation of a block, four times as wide as the stream."""

_SAME = ("pairs", "rows", "ids", "means")
"""What is the same with one more cell."""

Watched = tuple[int, int, int]
"""(pair, cell, draw) of a row."""


@dataclass(frozen=True)
class Task:
    """What was asked for.

    Parameters
    ----------
    model, cells, over, metric, memory, beside
        As given to `sweep`.
    under
        What is done to the base runs before the first block, whatever the cells do; it reads
        nothing. Each of its random draws has base runs of its own.
    """

    model: Model
    cells: tuple[Intervention, ...]
    over: Pairs
    metric: Score
    memory: int
    beside: Beside = field(default_factory=Beside)
    under: Intervention | None = None

    def with_cell(self, cell: Intervention) -> Task:
        """Return the task with one more cell, which takes no means."""
        more = replace(self, cells=(*self.cells, cell))
        vars(more).update({name: getattr(self, name) for name in _SAME})
        return more

    @property
    def draws(self) -> int:
        """How many base runs each pair has."""
        return 1 if self.under is None else self.under.draws

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The pair of each base run."""
        return tuple(pair for pair in self.over for _ in range(self.draws))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The prompt of each base run."""
        rows = (Row.of(pair, "base") for pair in self.over)
        return tuple(replace(row, draw=draw) for row in rows for draw in range(self.draws))

    @cached_property
    def ids(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of each base prompt."""
        return tuple(self.model.prompts.ids(row.prompt) for row in self.rows)

    @cached_property
    def means(self) -> dict[tuple[Intervention, Site], Tensor]:
        """What mean-ablated sites of all cells become."""
        parts = dict.fromkeys(part for cell in self.cells for part in cell.parts)
        return means_for(self.model, together(list(parts)), self.over)

    @property
    def width(self) -> int:
        """About how wide activations are."""
        return self._widths[0]

    @property
    def tolerance(self) -> float:
        """By how much logits may differ between plans, relative to the largest."""
        return max(1e-5, 16 * torch.finfo(self.model.dtype).eps)

    def edited(self, pair: int, cell: int) -> tuple[int, ...]:
        """Return the tokens of a base prompt that a cell edits, ascending."""
        key = (pair, self._asked[cell])
        if key not in self._edited:
            locate = self.model.prompts.positions
            found = {at for pos in key[1] for at in locate(self.rows[pair], pos)}
            self._edited[key] = tuple(sorted(found))
        return self._edited[key]

    @cached_property
    def _asked(self) -> tuple[tuple[Pos, ...], ...]:
        """The positions of each cell's sites."""
        return tuple(tuple(dict.fromkeys(s.pos for s in cell.sites)) for cell in self.cells)

    @cached_property
    def _edited(self) -> dict[tuple[int, tuple[Pos, ...]], tuple[int, ...]]:
        return {}

    @cached_property
    def _widths(self) -> tuple[int, int]:
        """About how wide activations are, and how many classes there are."""
        config = getattr(self.model.network, "config", None)
        found = [getattr(config, name, None) for name in ("hidden_size", "vocab_size")]
        width, classes = (each if isinstance(each, int) else 0 for each in found)
        return width or 1024, classes

    @property
    def most_tokens(self) -> int:
        """How many tokens to run at once, so that activations stay in a processor's cache."""
        if self.model.device.type != "cpu":
            return sys.maxsize
        width, _ = self._widths
        return max(_TOKENS, _CACHED // (4 * width * self.model.dtype.itemsize))

    def most_rows(self, tokens: int, *, answers: int) -> int:
        """Return how many rows fit into memory, about.

        Parameters
        ----------
        tokens
            Of each row.
        answers
            Tokens of each row whose logits are held.
        """
        width, classes = self._widths
        numbers = tokens * 32 * width + 2 * answers * classes
        return max(1, self.memory // (numbers * self.model.dtype.itemsize))


def together(parts: Sequence[Intervention]) -> Intervention:
    """Return parts as one intervention."""
    return parts[0] if len(parts) == 1 else Joint(parts_of_joint=tuple(parts))


@dataclass
class Part:
    """What one pass gave: values of rows, what was edited, and what it cost."""

    values: list[tuple[Watched, float]] = field(default_factory=list)
    entries: list[tuple[int, Entry]] = field(default_factory=list)
    rows: int = 0
    work: float = 0.0


@dataclass
class Tally:
    """Values of a sweep as they come in.

    Parameters
    ----------
    task
        The sweep.
    progress
        Called with (values done, values in all).
    watched
        Rows whose logits are kept, and these once they are there.
    reads
        Where the metric reads the logits of each pair; None for everywhere.
    among
        The classes that it reads; None for all.
    """

    task: Task
    progress: Callable[[int, int], None] | None = None
    watched: dict[Watched, Tensor | None] = field(default_factory=dict)
    reads: dict[int, tuple[int, ...] | None] = field(default_factory=dict)
    among: Among | None = None
    entries: list[Entry] = field(default_factory=list)
    given: list[Entry] = field(default_factory=list)
    rows: int = 0
    work: float = 0.0
    known: int = 0

    def __post_init__(self) -> None:
        shape = len(self.task.pairs), len(self.task.cells)
        self.sums = np.zeros(shape)
        self.changed = np.zeros(shape[1], dtype=int)
        self.plain = np.full((1 + len(self.task.beside.scores), shape[0]), np.nan)
        self.identity = np.full(shape[0], np.nan)
        self.seen = np.zeros(shape[0], dtype=bool)
        self._done = 0.0

    def add(self, part: Part) -> None:
        """Take in what a pass gave."""
        for (pair, cell, _), value in part.values:
            draws = self.task.cells[cell].draws
            self.sums[pair, cell] += value / draws
            self._done += 1 / draws
        for cell, entry in part.entries:
            self.entries.append(entry)
            self.changed[cell] += entry.changed
        self.rows = max(self.rows, part.rows)
        self.work += part.work
        self._tell()

    def add_known(self, pair: int, cells: Sequence[int], value: float) -> None:
        """Take in the base value of a pair for cells that cannot change it."""
        self.sums[pair, list(cells)] = value
        self.known += len(cells)
        self._done += len(cells)
        self._tell()

    def add_plain(self, pair: int, values: Sequence[float]) -> None:
        """Take in the scores of a plain base run."""
        self.plain[:, pair] = values
        self.seen[pair] = True

    def absorb(self, other: Tally) -> None:
        """Take in the values of a job."""
        self.sums += other.sums
        self.changed += other.changed
        self.plain[:, other.seen] = other.plain[:, other.seen]
        self.seen |= other.seen
        self.identity = np.where(np.isnan(other.identity), self.identity, other.identity)
        self.entries += other.entries
        self.given += other.given
        self.rows = max(self.rows, other.rows)
        self.work += other.work
        self.known += other.known
        self._done += other._done
        self._tell()

    def part(self) -> Tally:
        """Return an empty tally for one job, which goes on telling of progress."""

        def tell(done: int, values: int) -> None:
            if self.progress is not None:
                self.progress(round(self._done) + done, values)

        return Tally(self.task, tell)

    def finished(self, job: Job) -> Finished:
        """Return what a job gave as plain data."""
        return Finished(
            packed(self.sums[np.ix_(job.pairs, job.cells)]),
            changed=tuple(int(self.changed[cell]) for cell in job.cells),
            plain=packed(self.plain[:, job.pairs]) if self.seen[list(job.pairs)].all() else b"",
            identity=packed(self.identity[list(job.pairs)]),
            entries=total(self.entries),
            given=total(self.given),
            rows=self.rows,
            work=float(self.work),
            known=self.known,
        )

    def take_up(self, job: Job, finished: Finished) -> None:
        """Take in what a job gave in an earlier run."""
        self.sums[np.ix_(job.pairs, job.cells)] += finished.matrix(job)
        self.changed[list(job.cells)] += np.array(finished.changed, dtype=int)
        pairs = list(job.pairs)
        if finished.plain:
            self.plain[:, pairs] = unpacked(finished.plain, (len(self.plain), len(pairs)))
            self.seen[pairs] = True
        if finished.identity:
            self.identity[pairs] = unpacked(finished.identity, (len(pairs),))
        self.entries += finished.entries
        self.given += finished.given
        self.rows = max(self.rows, finished.rows)
        self.work += finished.work
        self.known += finished.known
        self._done += len(job.pairs) * len(job.cells)
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(round(self._done), self.sums.size)

    def score(self, part: Part, row: Watched, output: Output) -> None:
        """Score the output of a row, and keep its logits if it is watched."""
        part.values.append((row, self.task.metric(output)))
        if row in self.watched:
            self.watched[row] = answers(output, self.reads.get(row[0]), self.among)
