"""What is known from the tokens alone: cells without effect, and where others begin to have one."""

from __future__ import annotations

from collections.abc import Sequence

from causaltest.engine.prompts import Row
from causaltest.engine.sweeps.planning import same_so_far
from causaltest.engine.sweeps.task import Task
from causaltest.interventions import (
    Autoencoder,
    FromSource,
    Interchange,
    Intervention,
    PrincipalComponents,
    Subspace,
)
from causaltest.sites import MODULE, Pos


def known_cells(task: Task, pair: int, cells: Sequence[int]) -> list[int]:
    """Return the cells that cannot change anything in a pair, for a causal model.

    Parameters
    ----------
    task
        The sweep.
    pair
        Index of the pair.
    cells
        Indices of the cells that are asked about.
    """
    whole = task.pairs[pair]
    if task.under is not None:
        return _before(task, pair, cells)
    if whole.source is None:
        return []
    locate, base = task.model.prompts.positions, task.rows[pair]
    source = Row.of(whole, "source")
    ids = task.ids[pair], task.model.prompts.ids(source.prompt)
    same: dict[Pos, bool] = {}

    def unchanged(part: Intervention) -> bool:
        for site in part.sites:
            if site.pos not in same:
                same[site.pos] = same_so_far(
                    *ids, locate(base, site.pos), locate(source, site.pos)
                )  # fmt: skip
        return all(same[site.pos] for site in part.sites)

    return [
        cell for cell in cells
        if all(takes_source(part) and unchanged(part) for part in task.cells[cell].parts)
    ]  # fmt: skip


def _before(task: Task, pair: int, cells: Sequence[int]) -> list[int]:
    """Return the cells that restore tokens before all that is done to a base run."""
    assert task.under is not None
    locate, row = task.model.prompts.positions, task.rows[pair]
    first = min(at for site in task.under.sites for at in locate(row, site.pos))

    def restores(part: Intervention) -> bool:
        if not isinstance(part, FromSource) or part.source != "base" or part.under is not None:
            return False
        return isinstance(part.taken, Interchange) and _keeps_error(part.taken.subspace)

    return [
        cell for cell in cells
        if all(map(restores, task.cells[cell].parts)) and task.edited(pair, cell)[-1] < first
    ]  # fmt: skip


def first_edit(task: Task, pair: int, cell: int) -> int:
    """Return the first token of a base prompt that a cell can change, for a causal model.

    Where a whole prompt takes the source run's activations, nothing changes before the first token
    in which base and source differ.
    """
    edited = task.edited(pair, cell)
    first = min(edited, default=0)
    whole = task.pairs[pair]
    if whole.source is None or not everywhere(task.cells[cell]):
        return first
    base, source = task.ids[pair], task.model.prompts.ids(Row.of(whole, "source").prompt)
    if len(base) != len(source):
        return first
    return next((at for at, ids in enumerate(zip(base, source, strict=True)) if len({*ids}) > 1), 0)


def everywhere(cell: Intervention) -> bool:
    """Return whether a cell puts what the source run has into all tokens of components."""
    named = all(site.pos is None and site.component != MODULE for site in cell.sites)
    return named and isinstance(cell, Interchange) and takes_source(cell)


def takes_source(part: Intervention) -> bool:
    """Return whether a part does nothing but put in what the plain source run has there."""
    if isinstance(part, FromSource):
        return part.source == "source" and part.under is None and takes_source(part.taken)
    return isinstance(part, Interchange) and _keeps_error(part.subspace)


def _keeps_error(subspace: Subspace | None) -> bool:
    """Return whether equal activations are left alone, not replaced by their reconstruction."""
    return not isinstance(subspace, (Autoencoder, PrincipalComponents)) or subspace.keep_error
