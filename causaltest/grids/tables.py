"""Grids as tables: text for terminals, rows for data frames and pictures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError

if TYPE_CHECKING:
    from causaltest.grids.grid import SweepGrid
    from causaltest.stats.significance import Significance


def found(grid: SweepGrid) -> Significance | None:
    """Return which cells differ from 0; None where nothing can tell."""
    if not exact(grid).all():
        return None
    try:
        return grid.significant()
    except EvidenceError:
        return None


def exact(grid: SweepGrid) -> NDArray[np.bool_]:
    """Return which cells are exact, and not estimated."""
    return getattr(grid, "exact", np.ones(grid.shape, dtype=bool))


def rows(grid: SweepGrid, significance: Significance | None) -> list[dict[str, object]]:
    """Return one row for each cell: labels, estimate, and what is known of it.

    Parameters
    ----------
    grid
        The grid.
    significance
        Which cells differ, or None for unknown.
    """
    made: list[dict[str, object]] = []
    estimates, known = grid.estimate, exact(grid)
    for place in np.ndindex(*grid.shape):
        axes = zip(grid.axes.items(), place, strict=True)
        row: dict[str, object] = {name: labels[i] for (name, labels), i in axes}
        row["estimate"] = float(estimates[place])
        if not known.all():
            row["exact"] = bool(known[place])
        if significance is not None:
            row["low"] = float(significance.lower[place])
            row["high"] = float(significance.upper[place])
            row["p_adjusted"] = float(significance.p_adjusted[place])
            row["significant"] = bool(significance.p_adjusted[place] <= significance.level)
        made.append(row)
    return made


def frame(grid: SweepGrid, *, pairs: bool) -> Any:
    """Return a pandas data frame; see `SweepGrid.to_pandas`."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "to_pandas() needs pandas, which is not installed: pip install pandas\n"
            "grid.table() and grid.save('map.csv') do without"
        ) from error
    if not pairs:
        return pandas.DataFrame(rows(grid, found(grid)))
    index = pandas.MultiIndex.from_product(
        [list(grid.pair_ids), *map(list, grid.axes.values())], names=["pair", *grid.axes]
    )
    table = pandas.DataFrame({"value": np.ravel(grid.values)}, index=index).reset_index()
    cells = len(table) // grid.n_pairs
    table.insert(1, "unit", np.repeat(np.array(grid.units, dtype=object), cells))
    if grid.scale is not None:
        table["scale"] = np.repeat(grid.scale, cells)
    return table


def text(grid: SweepGrid, *, digits: int) -> str:
    """Return the estimates as text; see `SweepGrid.table`."""
    significance = found(grid)
    marks = np.full(grid.shape, " ")
    if significance is not None:
        marks[significance.p_adjusted <= significance.level] = "*"
    elif not exact(grid).all():
        marks[exact(grid)] = "="
    *outer, down, across = [("", ("",)), *grid.axes.items()]
    blocks: list[str] = []
    for place in itertools.product(*(range(len(labels)) for _, labels in outer[1:])):
        if place:
            names = zip(outer[1:], place, strict=True)
            blocks.append(", ".join(f"{name}={labels[i]}" for (name, labels), i in names))
        corner = f"{down[0]} \\ {across[0]}" if down[0] else across[0]
        head = [corner, *(f"{label} " for label in across[1])]
        lines = [head]
        for i, label in enumerate(down[1]):
            here = place if not down[0] else (*place, i)
            cells = [
                f"{value:.{digits}f}{mark}"
                for value, mark in zip(grid.estimate[here], marks[here], strict=True)
            ]
            lines.append([str(label), *cells])
        blocks.append(_aligned(lines))
    blocks.append(_footnote(grid, significance))
    return "\n".join(blocks)


def _footnote(grid: SweepGrid, significance: Significance | None) -> str:
    if significance is not None:
        count = int(np.prod(grid.shape))
        return f"* differs from 0, all {count} cells considered, at level {significance.level:g}"
    if not exact(grid).all():
        return "= computed exactly; the others are gradient estimates"
    return f"too few {grid.unit}s to tell which cells differ from 0"


def _aligned(lines: list[list[str]]) -> str:
    """Set the first column left and the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    made = [
        [line[0].ljust(widths[0])]
        + [cell.rjust(width + 2) for cell, width in zip(line[1:], widths[1:], strict=True)]
        for line in lines
    ]
    return "\n".join("".join(line).rstrip() for line in made)
