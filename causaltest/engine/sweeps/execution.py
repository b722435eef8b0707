"""Running a sweep: choose a plan, run its jobs, check them, and say what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import torch

from causaltest.engine.ledger import Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.run import Score, score, score_identity
from causaltest.engine.sweeps.batched import run_batched
from causaltest.engine.sweeps.beside import Beside
from causaltest.engine.sweeps.capture import Unfit
from causaltest.engine.sweeps.checking import causal
from causaltest.engine.sweeps.fast import Fast
from causaltest.engine.sweeps.heap import keep_freed_memory
from causaltest.engine.sweeps.keeping import Finished, Keeper, packed
from causaltest.engine.sweeps.known import known_cells
from causaltest.engine.sweeps.plan import Choice, Job, Plan
from causaltest.engine.sweeps.planning import BASE_RUNS, Strip, portions, tokens_worth_keeping
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.task import Tally, Task
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.sites import KEYED
from causaltest.spelling import did_you_mean

MEMORY = 1 << 30

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Swept:
    """What a sweep measured.

    Parameters
    ----------
    values
        The metric of the intervened runs, (pairs, cells).
    ledger
        What was edited and what changed: one entry for each intervention and site.
    plan
        How it was run.
    plain
        What plain base runs scored, (metric and others that were asked for, pairs); NaN where an
        output cannot be scored.
    identity
        The metric of base runs whose sites were replaced by their own activation, (pairs,); NaN
        where that was not asked for.
    """

    values: np.ndarray
    ledger: tuple[Entry, ...]
    plan: Plan
    plain: np.ndarray
    identity: np.ndarray


def sweep(
    model: Model,
    cells: Sequence[Intervention],
    pairs: Pairs,
    metric: Score,
    *,
    plan: Choice = "auto",
    memory: int = MEMORY,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
    beside: Beside | None = None,
    under: Intervention | None = None,
) -> Swept:
    """Run each of many interventions on the base prompt of every pair and score the outputs.

    Parameters
    ----------
    model
        The model.
    cells
        The interventions; each is run by itself.
    pairs
        Where.
    metric
        A number for one output.
    plan
        `auto`, or the plan to be used; where it cannot be used, the next one is, and says why.
    memory
        Bytes that rows of one pass may take, about.
    progress
        Called with (values done, values in all).
    keeper
        Keeps each finished job, and knows those of an earlier run that was stopped.
    beside
        What else is wanted of the same pairs.
    under
        What is done to the base runs first, whatever the interventions do, e.g. noise: what is
        said of plain runs is then of these, and random draws are averaged within each pair.

    Returns
    -------
    Swept

    Raises
    ------
    InterventionError
        There is no cell, an edit does not fit or did not happen, or no cell changed anything.
    """
    cells = tuple(cells)
    _check_asked(cells, plan, memory)
    task = Task(model, cells, pairs, metric, memory, beside or Beside(), under)
    if model.device.type == "cpu":
        keep_freed_memory()
    if under is not None:
        return _swept_under(task, plan, progress, keeper)
    if plan == "loop":
        return _loop(task, progress, keeper)
    with torch.no_grad():
        done = _planned(task, progress, keeper, fast=plan != "batched")
        _complete(task, done.tally)
    return _swept(task, done)


def _swept(task: Task, done: _Done) -> Swept:
    """Return what came out of a sweep."""
    tally = done.tally
    check_changed(total(tally.given), "what the cells do to their sources")
    inert = _inert(task, tally.changed)
    made = Plan(
        name=done.jobs[0].plan, reasons=tuple(done.reasons), pairs=len(task.over),
        cells=len(task.cells), draws=task.draws, jobs=tuple(done.jobs), rows=tally.rows,
        forward_equivalents=tally.work, known=tally.known,
        checked=tuple(sorted(set(done.checked))), difference=done.difference,
        largest=done.largest, inert=inert,
    )  # fmt: skip
    ledger = total((*tally.entries, *tally.given))
    return Swept(tally.sums, ledger, made, tally.plain, tally.identity)


def _swept_under(
    task: Task, plan: Choice, progress: Progress | None, keeper: Keeper | None
) -> Swept:
    """Run on base runs that are edited first; where they cannot be run so, edit in every cell."""
    assert task.under is not None
    assert not task.beside.scores
    beside = task.beside
    if plan in ("auto", "growing"):
        first = frozenset(pair * task.draws for pair in beside.sample)
        runs = replace(task, beside=replace(beside, sample=first))
        done = _Done(Tally(runs, progress), keeper)
        with torch.no_grad(), suppress(Unfit):
            if not _grow(runs, done):
                return _averaged(_swept(runs, done), runs.draws)
        keeper = None  # what it may hold by now is of other jobs
    cells = (*(task.under + cell for cell in task.cells), task.under)
    found = sweep(
        task.model, cells, task.over, task.metric, plan=plan, memory=task.memory,
        progress=progress, keeper=keeper, beside=beside,
    )  # fmt: skip
    edited = found.values[:, -1]
    identity = edited + found.identity - found.plain[0]
    return replace(found, values=found.values[:, :-1], plain=edited[None], identity=identity)


def _averaged(swept: Swept, draws: int) -> Swept:
    """Return what was measured on several base runs of each pair as one number for each."""
    values = swept.values.reshape(-1, draws, swept.values.shape[1]).mean(axis=1)
    plain = swept.plain.reshape(len(swept.plain), -1, draws)
    moved = swept.identity.reshape(-1, draws)[:, 0] - plain[0, :, 0]
    plain = plain.mean(axis=2)
    return replace(swept, values=values, plain=plain, identity=plain[0] + moved)


@dataclass
class _Done:
    """What was run."""

    tally: Tally
    keeper: Keeper | None = None
    jobs: list[Job] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    checked: list[int] = field(default_factory=list)
    difference: float | None = None
    largest: float = 0.0

    def known(self, job: Job) -> Finished | None:
        """Return what a job gave in an earlier run."""
        return None if self.keeper is None else self.keeper.get(job)


def _planned(task: Task, progress: Progress | None, keeper: Keeper | None, *, fast: bool) -> _Done:
    """Run by the fastest plan that can be used."""
    done = _Done(Tally(task, progress), keeper)
    everything = tuple(range(len(task.cells)))
    rest = everything
    if fast:
        try:
            rest = _grow(task, done)
        except Unfit as reason:
            done = _Done(Tally(task, progress), keeper, reasons=[f"not growing: {reason}"])
    else:
        done.reasons.append("asked for")
    if rest:
        _batch(task, rest, done)
    return done


def _grow(task: Task, done: _Done) -> tuple[int, ...]:
    """Run by the growing plan, and return the cells that are left."""
    grower = Fast(task, done.tally)
    jobs = grower.jobs()
    for job in jobs:
        finished = done.known(job)
        if finished is not None:
            grower.take_up(job, finished)
            continue
        before = len(grower.checked)
        tally = grower.run(job)
        if done.keeper is not None:
            done.keeper.put(job, grower.finished(job, tally, before))
        done.tally.absorb(tally)
    done.jobs += jobs
    done.reasons.append(grower.reason)
    done.checked, done.difference = grower.checked, grower.difference
    done.largest = grower.largest
    rest = tuple(index for index, join in enumerate(grower.joins) if join is None)
    if rest:
        done.reasons.append(f"{len(rest)} cells edit beside the blocks and are batched")
    return rest


def _batch(task: Task, cells: tuple[int, ...], done: _Done) -> None:
    """Run cells by the batched plan."""
    for pairs, some in _portions(task, cells):
        job = Job(pairs, some, "batched")
        done.jobs.append(job)
        finished = done.known(job)
        if finished is not None:
            done.tally.take_up(job, finished)
            continue
        tally = done.tally.part()
        away = _known(task, job, tally)
        strips = [
            Strip(cell, draw, tuple(pair for pair in job.pairs if cell not in away[pair]))
            for cell in some
            for draw in range(task.cells[cell].draws)
        ]
        run_batched(task, strips, Sources(task, tally, job.pairs, some), tally)
        if done.keeper is not None:
            done.keeper.put(job, tally.finished(job))
        done.tally.absorb(tally)


def _portions(
    task: Task, cells: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the pairs and cells of each job; pairs of one length where numbers belong to keys."""
    groups: dict[int, list[int]] = {}
    keyed = any(site.component in KEYED for cell in cells for site in task.cells[cell].sites)
    for pair, ids in enumerate(task.ids):
        groups.setdefault(len(ids) if keyed else 0, []).append(pair)
    longest = max(map(len, task.ids))
    numbers = sum(each.numel() for each in task.model.network.parameters())
    worth = tokens_worth_keeping(numbers, task.model.device.type) / longest
    works = {cell: float(task.cells[cell].draws) for cell in cells}
    most = task.most_rows(longest, answers=0)
    for group in groups.values():
        yield from portions(works, group, most=most, enough=max(BASE_RUNS, worth))


def _known(task: Task, job: Job, tally: Tally) -> dict[int, frozenset[int]]:
    """Return the cells that cannot change a pair, and count the base value for them."""
    found: dict[int, frozenset[int]] = dict.fromkeys(job.pairs, frozenset())
    if not causal(task.model, max(task.ids, key=len)):
        return found
    found = {pair: frozenset(known_cells(task, pair, job.cells)) for pair in job.pairs}
    some = [pair for pair, cells in found.items() if cells]
    outputs = task.model.run([task.rows[pair] for pair in some])
    for pair, output in zip(some, outputs, strict=True):
        value = task.metric(output)
        tally.add_plain(pair, (value, *task.beside.scored(output)))
        tally.add_known(pair, sorted(found[pair]), value)
    tally.work += len(some)
    return found


def _complete(task: Task, tally: Tally) -> None:
    """Run what is wanted beside the cells, where the plan did not come by it."""
    missing = np.flatnonzero(~tally.seen).tolist()
    outputs = task.model.run([task.rows[pair] for pair in missing]) if missing else []
    tally.work += len(missing)
    for pair, output in zip(missing, outputs, strict=True):
        tally.add_plain(pair, (task.metric(output), *task.beside.scored(output)))
    due = [pair for pair in sorted(task.beside.sample) if np.isnan(tally.identity[pair])]
    if due:
        sample = [task.pairs[pair] for pair in due]
        tally.work += 2 * len(due)
        tally.identity[due] = score_identity(task.model, task.beside.sites, sample, task.metric)


def _loop(task: Task, progress: Progress | None, keeper: Keeper | None) -> Swept:
    """Run cell by cell, as `score` does."""
    values = np.zeros((len(task.pairs), len(task.cells)))
    entries: list[Entry] = []
    changed = np.zeros(len(task.cells), dtype=int)
    pairs = tuple(range(len(task.pairs)))
    for index, cell in enumerate(task.cells):
        job = Job(pairs, (index,), "loop")
        finished = None if keeper is None else keeper.get(job)
        if finished is None:
            found = score(task.model, cell, task.over, task.metric, allow_inert=True)
            column = np.array(found.values)[:, None]
            some = sum(entry.changed for entry in found.ledger)
            finished = Finished(packed(column), (some,), entries=found.ledger)
            if keeper is not None:
                keeper.put(job, finished)
        values[:, index] = finished.matrix(job)[:, 0]
        entries += finished.entries
        changed[index] = finished.changed[0]
        if progress is not None:
            progress((index + 1) * len(task.pairs), values.size)
    tally = Tally(task)
    with torch.no_grad():
        _complete(task, tally)
    work = tally.work + float(sum(cell.draws * len(task.pairs) for cell in task.cells))
    made = Plan(
        name="loop", reasons=("asked for",), pairs=len(task.pairs), cells=len(task.cells),
        jobs=(Job(pairs, tuple(range(len(task.cells))), "loop"),), rows=len(task.pairs),
        forward_equivalents=work, inert=_inert(task, changed),
    )  # fmt: skip
    return Swept(values, total(entries), made, tally.plain, tally.identity)


def _inert(task: Task, changed: np.ndarray) -> tuple[int, ...]:
    """Return the cells that changed nothing in any pair, or refuse if none changed anything."""
    found = tuple(int(cell) for cell in np.flatnonzero(changed == 0))
    if len(found) == len(task.cells):
        raise InterventionError(
            f"none of {len(found)} cells changed an activation in any of {len(task.pairs)} pairs\n"
            "Nothing can be concluded. For an interchange, base and source agree at these sites: "
            "choose pairs that differ before them, or other sites or positions"
        )
    return found


def _check_asked(cells: Sequence[Intervention], plan: str, memory: int) -> None:
    if not cells:
        raise InterventionError("a sweep needs at least one intervention; there is none")
    if plan not in (known := get_args(Choice)):
        raise InterventionError(
            f"there is no plan {plan!r}{did_you_mean(plan, known)}; plans: {', '.join(known)}"
        )
    if memory <= 0:
        raise InterventionError(f"memory is {memory!r}; expected a number of bytes")
