"""Grids as pictures: drawn as the report draws the maps of claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from causaltest.errors import EvidenceError, RecordError
from causaltest.grids import tables
from causaltest.records import Map
from causaltest.records.making import map_of
from causaltest.report.drawing import styled
from causaltest.report.maps import legend_of, map_chart

if TYPE_CHECKING:
    import altair

    from causaltest.grids.grid import SweepGrid


def chart(
    grid: SweepGrid, *, known_small: float | None, significance: bool, title: str
) -> altair.TopLevelMixin:
    """Draw a grid; see `SweepGrid.plot`."""
    shown = _map(grid, known_small=known_small, significance=significance)
    subtitle = legend_of(shown)
    if not significance and known_small is None:
        subtitle = subtitle[:1]
    try:
        drawn = map_chart(shown, title=title or grid.subject, subtitle=subtitle)
    except RecordError as error:
        raise EvidenceError(f"{error} Or use to_pandas().") from error
    return styled(drawn)


def _map(grid: SweepGrid, *, known_small: float | None, significance: bool) -> Map:
    found = tables.found(grid) if significance or known_small is not None else None
    if known_small is not None:
        grid.check_margin(known_small)
    shown = map_of(grid, found, margin=known_small)
    # Hatching was asked for, and nothing else.
    return shown if significance else msgspec.structs.replace(shown, p_adjusted=())
