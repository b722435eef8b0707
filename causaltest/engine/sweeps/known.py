"""Cells whose effect on a pair is exactly 0, known from the tokens alone."""

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
from causaltest.sites import Pos


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


def takes_source(part: Intervention) -> bool:
    """Return whether a part does nothing but put in what the plain source run has there."""
    if isinstance(part, FromSource):
        return part.source == "source" and part.under is None and takes_source(part.taken)
    return isinstance(part, Interchange) and _keeps_error(part.subspace)


def _keeps_error(subspace: Subspace | None) -> bool:
    """Return whether equal activations are left alone, not replaced by their reconstruction."""
    return not isinstance(subspace, (Autoencoder, PrincipalComponents)) or subspace.keep_error
