"""Units of an activation in the shapes that interventions take, and back in those of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from causaltest.engine.access import Access, Places
from causaltest.engine.given import Given
from causaltest.errors import InterventionError, SiteError
from causaltest.pyvene.locations import Spot
from causaltest.sites import Site

_PLACES = "unit_locations"
_WHICH_CALL = (
    "unit='t' addresses one of the calls by its number; else choose a module that runs once"
)


@dataclass(frozen=True)
class Target:
    """A site of the model: what an intervention is attached to.

    Parameters
    ----------
    key
        The intervention's key.
    access
        Where it lives.
    site
        The site itself.
    units
        How many units are joined into one vector.
    around
        The module whose input is meant by "the module's input": all of a sublayer, where `access`
        is its projection.
    """

    key: str
    access: Access
    site: Site
    units: int = 1
    around: str = ""

    @property
    def entrance(self) -> Access:
        """Where the module's input lives."""
        return Access(self.around or self.access.path, "input")

    def units_of(self, entries: Tensor, rows: int, spot: Spot) -> Tensor:
        """Return entries of tokens as (rows, units, width); of heads (rows, heads, tokens, width).

        Parameters
        ----------
        entries
            (rows x tokens, width), as the engine takes them.
        rows
            Rows of the activation.
        spot
            Whose heads are meant.
        """
        values = entries.unflatten(0, (rows, -1))
        if spot.heads is None:
            return values
        return self._by_head(values)[self._chosen(spot.heads, values)]

    def entries_of(self, units: Tensor, entries: Tensor, rows: int, spot: Spot) -> Tensor:
        """Return entries with some units replaced; those that were given stay as they are."""
        if spot.heads is None:
            return units.flatten(0, 1)
        values = entries.unflatten(0, (rows, -1))
        split = self._by_head(values).index_put(self._chosen(spot.heads, values), units.to(values))
        return split.transpose(1, 2).flatten(-2).flatten(0, 1)

    def _by_head(self, values: Tensor) -> Tensor:
        """Return (rows, heads, tokens, width of a head)."""
        return values.unflatten(-1, (self.access.heads or 1, -1)).transpose(1, 2)

    def _chosen(self, heads: tuple[tuple[int, ...], ...], values: Tensor) -> tuple[Tensor, Tensor]:
        rows = values.shape[0]
        if rows % len(heads):
            raise InterventionError(
                f"{self.site} has {rows} rows, but base has {len(heads)}; edits cannot be placed"
            )
        found = torch.tensor(heads, device=values.device)
        found = found.repeat_interleave(rows // len(heads), dim=0)
        return torch.arange(rows, device=values.device)[:, None].expand_as(found), found


Where = tuple[Site, Access, Given]


def where_of(
    target: Target, spot: Spot, count: int, mask: Tensor | None
) -> dict[int | None, Where]:
    """Return where the engine finds a spot: one place, or one for each time step."""
    if spot.times is None:
        named = {} if spot.positions is None else {_PLACES: spot.positions}
        rows = Given(count, mask, named, which_call=_WHICH_CALL)
        return {None: (target.site.at(_PLACES if named else None), target.access, rows)}
    steps = sorted({time for times in spot.times for time in times})
    if steps[0] < 0:
        raise SiteError(f"{target.site}: time step {steps[0]} does not exist; they count from 0")
    found: dict[int | None, Where] = {}
    for step in steps:
        rows = tuple(row for row, times in enumerate(spot.times) if step in times)
        found[step] = target.site, replace(target.access, call=step), Given(count, stepped=rows)
    return found


def pairs_at(step: int, spot: Spot) -> tuple[tuple[int, int], ...]:
    """Return the (row, unit) pairs whose time step this is."""
    return tuple(
        (row, times.index(step)) for row, times in enumerate(spot.times or ()) if step in times
    )


def shaped(
    target: Target, spot: Spot, reads: Mapping[int | None, tuple[Tensor, list[int], Places]]
) -> Tensor:
    """Return what was read as (rows, units, width), as `Target.units_of` does, or a whole."""
    if spot.times is None:
        entries, counts, where = reads[None]
        whole = where.positions is None
        return entries if whole else target.units_of(entries, len(counts), spot)
    # The rows of a step are read in their order.
    steps = {step: iter(entries) for step, (entries, _, _) in reads.items()}
    return torch.stack([torch.stack([next(steps[each]) for each in row]) for row in spot.times])
