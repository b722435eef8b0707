"""The batched plan: rows of many cells share plain forward passes; exact for any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from causaltest.engine.applied import declared
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch
from causaltest.engine.sweeps.pieces import in_pieces
from causaltest.engine.sweeps.planning import Strip, runs
from causaltest.engine.sweeps.sources import Giver
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.engine.sweeps.task import Part, Tally, Task
from causaltest.engine.sweeps.under import made_under

Run = Callable[[Batch, Sequence[tuple[str, Side, Operation]]], list[Output]]
"""Runs a batch with operations in it."""


def run_batched(
    task: Task, strips: Sequence[Strip], sources: Giver, tally: Tally, run: Run | None = None
) -> None:
    """Run strips by plain forward passes.

    Parameters
    ----------
    task
        The sweep.
    strips
        What is to be run.
    sources
        What the cells put in.
    tally
        Takes in the values.
    run
        How; the model's own `run_batch` unless given.
    """
    run = run or task.model.run_batch
    strips = [strip for strip in strips if strip.pairs]
    if not strips:
        return
    longest = max(len(task.ids[pair]) for strip in strips for pair in strip.pairs)
    most = task.most_rows(longest, answers=longest)
    in_pieces(strips, most, lambda piece: _run(task, piece, sources, tally, run), tally)


def _run(task: Task, piece: Sequence[Strip], sources: Giver, tally: Tally, run: Run) -> Part:
    part = Part()
    items = [(strip.cell, strip.draw, pair) for strip in piece for pair in strip.pairs]
    rows = [task.rows[pair] for _, _, pair in items]
    sites = [site for strip in piece for site in task.cells[strip.cell].sites]
    for indices, batch in task.model.batches(rows, sites):
        chosen = [items[index] for index in indices]
        under, operations = made_under(task, batch)
        placed = [Placed(slice(0, len(chosen)), *operation) for operation in operations]
        edits = []
        for (cell, draw), start, stop in runs([(cell, draw) for cell, draw, _ in chosen]):
            strip = Strip(cell, draw, tuple(pair for _, _, pair in chosen[start:stop]))
            own = Batch(
                batch.rows[start:stop], batch.ids[start:stop], batch.lengths[start:stop]
            )  # fmt: skip
            made, operations = declared(
                task.model, task.cells[cell], own,
                draw=draw, stored=sources.stored(strip), means=task.means,
            )  # fmt: skip
            edits += [(cell, edit) for edit in made]
            placed += [Placed(slice(start, stop), *operation) for operation in operations]
        outputs = run(batch, merged(placed, batch))
        for edit in under:
            edit.did()
        for (cell, draw, pair), output in zip(chosen, outputs, strict=True):
            tally.score(part, (pair, cell, draw), output)
        part.entries += [(cell, edit.entry()) for cell, edit in edits]
        part.rows = max(part.rows, len(chosen))
        part.work += len(chosen)
    return part
