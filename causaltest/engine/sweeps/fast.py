"""The growing plan's jobs: base runs, known cells, buckets, walks, and the check of each job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import torch

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.sweeps.base import Base, base_runs
from causaltest.engine.sweeps.batched import run_batched
from causaltest.engine.sweeps.capture import Unfit
from causaltest.engine.sweeps.checking import (
    causal,
    check_agreement,
    check_arguments,
    check_readout,
    check_windows,
    difference,
    logits_beside,
    plain_logits,
    readout_of,
    to_check,
)
from causaltest.engine.sweeps.growing import Walk
from causaltest.engine.sweeps.keeping import Finished, Way
from causaltest.engine.sweeps.known import first_edit, known_cells
from causaltest.engine.sweeps.opening import Opening
from causaltest.engine.sweeps.outputs import Unread
from causaltest.engine.sweeps.packing import best_length
from causaltest.engine.sweeps.pieces import in_pieces, out_of_memory
from causaltest.engine.sweeps.placing import Places
from causaltest.engine.sweeps.plan import Job
from causaltest.engine.sweeps.planning import (
    BASE_RUNS,
    Strip,
    buckets,
    by_pairs,
    portions,
    tokens_worth_keeping,
)
from causaltest.engine.sweeps.scoring import Answers
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.task import Tally, Task, Watched
from causaltest.engine.sweeps.under import check_under
from causaltest.interventions import interchange
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site

_MOST_PAIRS = 64
_LOOKED_AT = 4

_PACKED: Way = "packed"
_WHOLE: Way = "whole"
_REASONS: dict[Way, str] = {
    "packed": "rows run only the blocks and tokens behind their first edit",
    "suffixes": "rows run the blocks behind their first edit, tokens from a few places on",
    "whole": "rows run all tokens of the blocks behind their first edit",
}
_WAYS = tuple(_REASONS)

_TOKENS, _WORDS = 6, 64
_PROBES = ("block_output", "attention_output", "mlp_output")
_PROBE_TOLERANCE = 1e-4


_PROBED: WeakKeyDictionary[Model, str] = WeakKeyDictionary()


def _why_not_packed(model: Model) -> str:
    """Return why rows cannot lie side by side in packs; every row of a probe is looked at."""
    if model not in _PROBED:
        _PROBED[model] = ""  # the probe is a sweep itself
        with suppress(Unfit):  # which the sweep itself will come upon
            _PROBED[model] = _probe(model)
    return _PROBED[model]


def _probe(model: Model) -> str:
    most = min(_WORDS, model.architecture.vocabulary)
    generator = torch.Generator().manual_seed(0)
    base, source = torch.randint(most, (2, _TOKENS), generator=generator).tolist()
    names = [name for name in _PROBES if (name, 0) in model.architecture.accesses]
    cells = tuple(
        interchange(Site(name, layer=layer, pos=at))
        for name in names
        for layer in {0, (model.n_layers - 1) // 2}
        for at in range(_TOKENS)
    )
    pairs = Pairs([Pair(tuple(base), tuple(source))], name="probe", cluster=None)
    task = Task(model, cells, pairs, _some_logits, memory=1 << 30)
    grower = Fast(task, Tally(task), probing=True)
    (job,) = grower.jobs()
    packed = grower.run(job)
    plain = Tally(task)
    strips = [Strip(cell, 0, (0,)) for cell in job.cells]
    run_batched(task, strips, Sources(task, plain, job.pairs, job.cells), plain)
    chosen = list(job.cells)
    off = np.abs(packed.sums - plain.sums)[:, chosen].max()
    size = np.abs(plain.sums[:, chosen]).max()
    tolerance = max(_PROBE_TOLERANCE, task.tolerance)
    if grower.way == _PACKED and off > tolerance * max(1.0, size):
        return f"side by side they came out otherwise, by {off / max(1.0, size):.2g} in a probe"
    return "" if grower.way == _PACKED else grower.hindrance


def _some_logits(output: Output) -> float:
    """Return a number that depends on many logits."""
    logits = output.at("end").double()
    return float(logits @ torch.cos(torch.arange(len(logits), device=logits.device).double()))


@dataclass
class Fast:
    """Runs jobs of the growing plan.

    Parameters
    ----------
    task
        The sweep.
    tally
        Takes in the values.
    probing
        Whether this is to find out if packs can be used.
    """

    task: Task
    tally: Tally

    probing: bool = False

    def __post_init__(self) -> None:
        self.readout = readout_of(self.task.model)
        longest = max(self.task.ids, key=len)
        check_arguments(self.task.model, longest)
        self.causal = causal(self.task.model, longest)
        self.places = Places(self.task.model)
        check_under(self.task, self.places)
        self.joins = [self.places.join(cell) for cell in self.task.cells]
        self.way: Way = _PACKED if self.causal else _WHOLE
        self.hindrance = "" if self.causal else "tokens see later ones"
        if self.causal and not self.probing and (why := _why_not_packed(self.task.model)):
            self._give_up(why)
        self.checked: list[int] = []
        self.difference: float | None = None
        self.largest = 0.0
        self.together = True
        self._lengths: set[int] = set()

    @property
    def reason(self) -> str:
        """Why this plan, for readers."""
        return _REASONS[self.way] + (f": {self.hindrance}" if self.hindrance else "")

    def jobs(self) -> list[Job]:
        """Return independent jobs: pairs of one length, and all cells that lie on the way.

        Raises
        ------
        Unfit
            No cell lies on the way through the blocks.
        """
        cells = tuple(index for index, join in enumerate(self.joins) if join is not None)
        if not cells:
            raise Unfit("no cell edits on the way from the first to the last block")
        by_length: dict[int, list[int]] = {}
        for pair, ids in enumerate(self.task.ids):
            by_length.setdefault(len(ids), []).append(pair)
        found: list[Job] = []
        for length, pairs in sorted(by_length.items()):
            works = self._works(pairs, sorted(cells, key=self._join))
            most, enough = self._pairs_of_job(length), self._enough(length)
            if self.probing:
                enough = math.inf
            found += [
                Job(*portion, "growing")
                for portion in portions(works, pairs, most=most, enough=enough)
            ]
        return found

    def _works(self, pairs: Sequence[int], cells: Sequence[int]) -> dict[int, float]:
        """Return how many tokens a cell runs through a block, in a pair, as some of them show."""
        some = pairs[:: -(-len(pairs) // _LOOKED_AT)]
        works = dict.fromkeys(cells, 0.0)
        for pair in some:
            known, length = frozenset(self._known(pair, cells)), len(self.task.ids[pair])
            for cell in cells:
                if cell not in known:
                    tokens = (length - self._begin(pair, cell)) * self.task.cells[cell].draws
                    works[cell] += tokens * self._blocks(cell) / len(some)
        return works

    def _begin(self, pair: int, cell: int) -> int:
        """Return the first token that is run."""
        return 0 if self.way == _WHOLE else first_edit(self.task, pair, cell)

    def _blocks(self, cell: int) -> int:
        """Return through how many blocks rows of a cell run."""
        return self.task.model.n_layers - (self._join(cell) + 1) // 2

    def _enough(self, length: int) -> float:
        """Return how many tokens through a block are worth base runs of their own: seconds."""
        layers, device = self.task.model.n_layers, self.task.model.device.type
        numbers = sum(
            parameter.numel()
            for block in self.task.model.architecture.blocks
            for parameter in self.task.model.network.get_submodule(block).parameters()
        )
        at_once = min(self.task.most_tokens, length * self.task.most_rows(length, answers=1))
        some = tokens_worth_keeping(numbers, device)
        return layers * max(at_once, some, BASE_RUNS * length)

    def _pairs_of_job(self, length: int) -> int:
        """Return how many base runs may be held at once."""
        shares = 1 + self.task.model.n_layers // 8
        return min(_MOST_PAIRS, max(1, self.task.most_rows(length, answers=length) // shares))

    def run(self, job: Job) -> Tally:
        """Run one job and check it.

        Raises
        ------
        Unfit
            The model does not run in the way that is needed, or the check failed.
        """
        while True:
            try:
                return self._read_as_needed(job)
            except Unfit as reason:
                if self.together:  # rows of several kinds may be what is not understood
                    self.together = False
                elif self.way == _WHOLE:
                    raise
                else:
                    self._give_up(str(reason))
                    self.together = True
            except (RuntimeError, MemoryError) as error:
                if not self.together or not out_of_memory(error):
                    raise
                self.together = False

    def _give_up(self, why: str) -> None:
        """Go on in the next way, which asks less of a model."""
        self.way, self.hindrance = _WAYS[_WAYS.index(self.way) + 1], why

    def finished(self, job: Job, tally: Tally, before: int) -> Finished:
        """Return what a job gave, and how, as plain data; `before` cells were checked before."""
        return replace(
            tally.finished(job),
            checked=tuple(self.checked[before:]),
            difference=self.difference,
            largest=self.largest,
            way=self.way,
            hindrance=self.hindrance,
        )

    def take_up(self, job: Job, finished: Finished) -> None:
        """Go on as if a job had just been run."""
        self.tally.take_up(job, finished)
        self.checked += finished.checked
        if finished.difference is not None:
            self.difference = max(finished.difference, self.difference or 0.0)
            self.largest = max(finished.largest, self.largest)
        self.way, self.hindrance = finished.way, finished.hindrance
        self._lengths.add(len(self.task.ids[job.pairs[0]]))

    def _read_as_needed(self, job: Job) -> Tally:
        try:
            return self._run(job, everywhere=False)
        except Unread:
            return self._run(job, everywhere=True)

    def _run(self, job: Job, *, everywhere: bool) -> Tally:
        tally = self.tally.part()
        known = {pair: self._known(pair, job.cells) for pair in job.pairs}
        everywhere_known = frozenset.intersection(*map(frozenset, known.values()))
        running = [cell for cell in job.cells if cell not in everywhere_known]
        sources = Sources(self.task, tally, job.pairs, running)
        planned = self._planned(job, known)
        tokens = len(self.task.ids[job.pairs[0]])
        # Jobs are small: one row of each further one, else few of a long pair set would be checked.
        watched = self._to_check(planned)[: 1 if tokens in self._lengths else None]
        opening = self._opening(job, sources, watched)
        remember = self.way != _WHOLE
        base = base_runs(
            self.task, job.pairs, everywhere=everywhere, remember=remember, opening=opening
        )
        if remember and None in base.track.memory:
            self.way, self.hindrance = _WHOLE, "keys and values are not to be had"
            planned = self._planned(job, known)
        tally.work += len(job.pairs)
        tally.entries += base.entries
        tally.reads, tally.among = dict(base.reads), base.among
        check_readout(self.task, self.readout, base)
        for pair, plain in base.plain.items():
            tally.add_plain(pair, plain)
        for pair, cells in known.items():
            tally.add_known(pair, cells, base.values[pair])
        tally.watched = dict.fromkeys(watched)
        answers = Answers(self.task, base, self.readout, tally)
        for strips in planned:
            walk = self._walk(strips, base, sources)
            shorter = sum(strip.start for strip in strips) // len(strips)
            most = self.task.most_rows(tokens - shorter, answers=1)
            for group in by_pairs(strips, tokens, self.task.most_tokens):
                in_pieces(group, most, partial(walk.run, answers=answers), tally)
        answers.flush()
        self._check(tally, sources, base, opening)
        self._lengths.add(tokens)
        return tally

    def _opening(self, job: Job, sources: Sources, watched: Sequence[Watched]) -> Opening | None:
        """Return what is run beside the base runs; None where that is too much for one pass."""
        if not self.together:
            return None
        control = not self.task.beside.sample.isdisjoint(job.pairs)
        opening = Opening(
            self.task, self.readout, job.pairs, sources, watched=watched, control=control
        )
        tokens = len(self.task.ids[job.pairs[0]])
        rows = len(job.pairs) + len(opening.rows)
        most = min(self.task.most_rows(tokens, answers=tokens), self.task.most_tokens // tokens)
        return opening if rows <= most else None

    def _walk(self, strips: Sequence[Strip], base: Base, sources: Sources) -> Walk:
        begins = [strip.start for strip in strips]
        first, prefix, tokens = min(begins), max(begins), base.track.tokens
        columns = tokens - first
        if first < prefix:
            together: dict[tuple[int, int], list[int]] = {}
            for strip in strips:
                for pair in strip.pairs:
                    group = together.setdefault((pair, self._join(strip.cell)), [])
                    group.append(tokens - strip.start)
            columns = best_length(together.values())
            check_windows(self.task.model, prefix + columns)
        return Walk(self.task, base, self.places, self.joins, sources, first, prefix, columns)

    def _to_check(self, planned: Sequence[Sequence[Strip]]) -> list[Watched]:
        strips = [(strip, self._join(strip.cell)) for strips in planned for strip in strips]
        return to_check(strips, self.task.model.n_layers) if strips else []

    def _check(self, tally: Tally, sources: Sources, base: Base, opening: Opening | None) -> None:
        if opening is not None:
            plain = logits_beside(self.task, opening, tally, base)
        elif tally.watched or base.own is not None:
            plain = plain_logits(self.task, sources, tally, base, self.readout)
        else:
            return
        if not tally.watched:
            return
        off, largest = difference(tally, plain, base)
        check_agreement(self.task, off)
        self.checked += [cell for _, cell, _ in tally.watched]
        self.difference = max(off, self.difference or 0.0)
        self.largest = max(largest, self.largest)

    def _known(self, pair: int, cells: Sequence[int]) -> list[int]:
        return known_cells(self.task, pair, cells) if self.causal else []

    def _join(self, cell: int) -> int:
        join = self.joins[cell]
        assert join is not None
        return join

    def _planned(self, job: Job, known: Mapping[int, Sequence[int]]) -> list[list[Strip]]:
        """Return the strips of each walk, in the order in which they join."""
        layers, tokens = self.task.model.n_layers, len(self.task.ids[job.pairs[0]])
        first: dict[int, dict[int, list[int]]] = {}
        weights: dict[int, float] = {}
        away = {pair: frozenset(cells) for pair, cells in known.items()}
        for cell in sorted(job.cells, key=self._join):
            blocks = self._blocks(cell)
            for pair in (pair for pair in job.pairs if cell not in away[pair]):
                place = self._begin(pair, cell)
                first.setdefault(cell, {}).setdefault(place, []).append(pair)
                weights[place] = weights.get(place, 0.0) + blocks * self.task.cells[cell].draws
        width = self.task.width if self.way == _PACKED else None
        starts = buckets(weights, tokens, layers=layers, width=width)
        found: dict[int, list[Strip]] = {start: [] for start in starts}
        for cell, by_place in first.items():
            held: dict[tuple[int, int], list[int]] = {}
            for place, pairs in by_place.items():
                walk = max(start for start in starts if start <= place)
                begin = place if self.way == _PACKED else walk
                held.setdefault((walk, begin), []).extend(pairs)
            for (walk, begin), pairs in held.items():
                for draw in range(self.task.cells[cell].draws):
                    found[walk].append(Strip(cell, draw, tuple(pairs), begin))
        return [strips for strips in found.values() if strips]
