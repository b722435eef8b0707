"""Grids as tables: text for terminals, rows for data frames and pictures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from causaltest.errors import EvidenceError

if TYPE_CHECKING:
    from causaltest.grids.grid import SweepGrid
    from causaltest.stats.significance import Significance


def found(grid: SweepGrid) -> Significance | None:
    """Return which cells differ from 0; None where no number of resamples could tell."""
    try:
        return grid.significant()
    except EvidenceError:
        return None


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
    estimates = grid.estimate
    for place in np.ndindex(*grid.shape):
        axes = zip(grid.axes.items(), place, strict=True)
        row: dict[str, object] = {name: labels[i] for (name, labels), i in axes}
        row["estimate"] = float(estimates[place])
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
    table = pandas.DataFrame({"value": grid.values.reshape(-1)}, index=index).reset_index()
    cells = len(table) // grid.n_pairs
    table.insert(1, "unit", np.repeat(np.array(grid.units, dtype=object), cells))
    if grid.scale is not None:
        table["scale"] = np.repeat(grid.scale, cells)
    return table


def text(grid: SweepGrid, *, digits: int) -> str:
    """Return the estimates as text; see `SweepGrid.table`."""
    significance = found(grid)
    hits = (
        np.zeros(grid.shape, dtype=bool)
        if significance is None
        else significance.p_adjusted <= significance.level
    )
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
                f"{value:.{digits}f}{'*' if hit else ' '}"
                for value, hit in zip(grid.estimate[here], hits[here], strict=True)
            ]
            lines.append([str(label), *cells])
        blocks.append(_aligned(lines))
    count = int(np.prod(grid.shape))
    blocks.append(
        f"too few {grid.unit}s to tell which cells differ from 0"
        if significance is None
        else f"* differs from 0, all {count} cells considered, at level {significance.level:g}"
    )
    return "\n".join(blocks)


def _aligned(lines: list[list[str]]) -> str:
    """Set the first column left and the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    made = [
        [line[0].ljust(widths[0])]
        + [cell.rjust(width + 2) for cell, width in zip(line[1:], widths[1:], strict=True)]
        for line in lines
    ]
    return "\n".join("".join(line).rstrip() for line in made)
