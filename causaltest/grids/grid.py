"""The grids that sweeps give: drawn, tabulated and saved, exact or estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError
from causaltest.grids import files, plots, tables
from causaltest.stats import Grid
from causaltest.stats.cells import Cells
from causaltest.stats.conjunction import JointVerdict
from causaltest.stats.largest import Largest
from causaltest.stats.significance import Direction, Significance

if TYPE_CHECKING:
    import altair

    from causaltest.stats import Judge

Floats = NDArray[np.float64]


class SweepGrid(Grid):
    r"""A grid of measured effects that can be drawn, tabulated and saved.

    Parameters
    ----------
    values
        Shape (pairs, ...), as for `Grid`.
    counted_in
        What the values are counted in: `logits`, `fraction`, ...
    plan
        How the values were computed; its text says so.
    measured
        As for `Grid`: axes, scale, units, unit, pair_ids, pair_set, subject, metric, floor, judge,
        differenced.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(0.0, 0.1, (30, 2, 2))
    >>> values[:, 1, 1] += 1.0
    >>> names = [f"pair {i}" for i in range(30)]
    >>> grid = SweepGrid(
    ...     values,
    ...     axes={"layer": range(2), "pos": ["name", "end"]},
    ...     units=names,
    ...     pair_ids=names,
    ... )
    >>> print(grid.table())
    layer \ pos   name    end
    0            -0.01   0.01
    1             0.01   1.02*
    * differs from 0, all 4 cells considered, at level 0.05
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        counted_in: str = "",
        plan: object = None,
        **measured: Any,
    ) -> None:
        super().__init__(values, **measured)
        self._counted_in = counted_in
        self._plan = plan

    @property
    def counted_in(self) -> str:
        """What the values are counted in; empty where unknown."""
        return self._counted_in

    @property
    def floor(self) -> float:
        """Numeric floor in the unit of the estimate; effects this small count as 0."""
        return self._floor

    @property
    def plan(self) -> object:
        """How the values were computed and checked; print it."""
        return self._plan

    def table(self, *, digits: int = 2) -> str:
        """Return the estimates as text, one block for each label of the axes before the last two.

        Parameters
        ----------
        digits
            Decimal places.
        """
        return tables.text(self, digits=digits)

    def to_pandas(self, *, pairs: bool = False) -> Any:
        """Return a table with one row for each cell, or for each pair and cell.

        Parameters
        ----------
        pairs
            One row for each pair and cell, with its value, unit and denominator.

        Returns
        -------
        pandas.DataFrame
            By cell: the labels, `estimate`, simultaneous `low` and `high`, family-wise
            `p_adjusted`, and `significant`; of gradient estimates, whether a cell is `exact`.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        return tables.frame(self, pairs=pairs)

    def plot(
        self, *, known_small: float | None = None, significance: bool = True, title: str = ""
    ) -> altair.TopLevelMixin:
        """Draw the grid as a heat map.

        Cells that differ from 0, all cells considered, are outlined. The last two axes are drawn
        down and across, the one before them as panels.

        Parameters
        ----------
        known_small
            Hatch the cells that are known to lie within this margin of 0.
        significance
            Whether to decide which cells differ.
        title
            Instead of the subject.

        Returns
        -------
        altair.Chart
            It shows itself in a notebook, and takes further altair calls.

        Raises
        ------
        EvidenceError
            There are more than three axes with several labels, or the margin is below the floor.
        """
        return plots.chart(self, known_small=known_small, significance=significance, title=title)

    def save(self, path: str | Path, *, known_small: float | None = None) -> Path:
        """Save the picture (.svg, .png, .pdf, .html) or the numbers (.json, .csv).

        Parameters
        ----------
        path
            Where; the ending decides the format. What is saved as .json, `load` reads.
        known_small
            As for `plot`.

        Raises
        ------
        RecordError
            The ending names no format, or a label cannot be written as JSON.
        """
        return files.save(self, Path(path), known_small=known_small)

    @staticmethod
    def load(path: str | Path) -> SweepGrid:
        """Read a grid that was saved as .json.

        Raises
        ------
        RecordError
            The file is damaged, or none of this kind.
        """
        read = files.load(Path(path))
        return (EstimatedGrid if "exact" in read else SweepGrid)(**read)

    def _like(self, values: Floats, subject: str, floor: float, *, differenced: bool) -> SweepGrid:
        return SweepGrid(
            values,
            **self._facts(subject=subject, floor=floor, differenced=differenced),
        )

    def _facts(self, **changed: Any) -> dict[str, Any]:
        """Return all but the values, as the constructor takes them."""
        return {
            "axes": self._axes,
            "scale": self.scale,
            **self._columns.pairing,
            "subject": self._subject,
            "metric": self._metric,
            "floor": self._floor,
            "judge": self._judge,
            "differenced": self._differenced,
            "counted_in": self._counted_in,
            "plan": self._plan,
        } | changed


@dataclass(frozen=True)
class Verification:
    """How estimates compare with the exact values of the cells that were computed.

    Parameters
    ----------
    cells
        How many were computed.
    correlation
        Pearson's, of estimated and exact mean effects; None below three cells or without spread.
    worst
        Largest absolute difference of mean effects.
    what
        What one of them is called.
    """

    cells: int
    correlation: float | None
    worst: float
    what: str = "cell"

    def __str__(self) -> str:
        if not self.cells:
            return f"no {self.what} was computed exactly"
        several = self.what if self.cells == 1 else f"{self.what}s"
        r = "" if self.correlation is None else f"correlation {self.correlation:.3f}, "
        return f"{self.cells} {several} computed exactly: {r}largest difference {self.worst:.3g}"


class EstimatedGrid(SweepGrid):
    """A grid whose values are gradient estimates, but for the cells that were computed exactly.

    Claims can be made of exact cells only; which cells those are was chosen by the estimates, so
    `strongest` chooses cells to be claimed on other units.

    Parameters
    ----------
    values
        Shape (pairs, ...); the exact values where there are any.
    estimates
        The estimates of all cells, of the same shape.
    exact
        Which cells are exact, in the shape of the grid.
    measured
        As for `SweepGrid`.
    """

    def __init__(
        self, values: ArrayLike, *, estimates: ArrayLike, exact: ArrayLike, **measured: Any
    ) -> None:
        super().__init__(values, **measured)
        self._estimates = np.array(estimates, dtype=np.float64).reshape(self._values.shape)
        self._exact = np.array(exact, dtype=bool).reshape(-1)

    @property
    def estimates(self) -> Floats:
        """The gradient estimate of each pair and cell, shape (pairs, ...)."""
        return self._estimates.reshape(self.values.shape)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which cells were computed exactly, in the shape of the grid."""
        return self._exact.reshape(self.shape)

    @property
    def verified(self) -> Cells:
        """The cells that were computed exactly; they were chosen on these units."""
        return self._chosen(np.flatnonzero(self._exact), "verification of estimates")

    @property
    def verification(self) -> Verification:
        """How the estimates compare with the exact values."""
        chosen = np.flatnonzero(self._exact)
        scale = self._table.scale_mean
        guessed = self._estimates[:, chosen].mean(axis=0) / scale
        found = self._values[:, chosen].mean(axis=0) / scale
        spread = len(chosen) > 2 and np.ptp(guessed) > 0 and np.ptp(found) > 0
        return Verification(
            len(chosen),
            float(np.corrcoef(guessed, found)[0, 1]) if spread else None,
            float(np.abs(guessed - found).max()) if len(chosen) else 0.0,
        )

    def __repr__(self) -> str:
        return f"<Estimated{super().__repr__()[1:-1]}, {int(self._exact.sum())} cells exact>"

    def significant(
        self,
        *,
        bound: float = 0.0,
        direction: Direction = "both",
        judge: Judge | None = None,
    ) -> Significance:
        """As for a grid; refused where a cell is only estimated."""
        self._all_exact("significant()")
        return super().significant(bound=bound, direction=direction, judge=judge)

    @property
    def largest(self) -> Largest:
        """As for a grid; refused where a cell is only estimated."""
        self._all_exact("largest")
        return super().largest

    def localised(self, hot: object, **bounds: Any) -> JointVerdict:
        """As for a grid; refused where a cell is only estimated."""
        self._all_exact("localised(...)")
        return super().localised(hot, **bounds)

    def against(self, placebo: Grid) -> Grid:
        """As for a grid; refused where a cell is only estimated."""
        self._all_exact("against(...)")
        return super().against(placebo)

    def _all_exact(self, what: str) -> None:
        if not self._exact.all():
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        estimated = int((~self._exact).sum())
        raise EvidenceError(
            f"{self._subject}: {what} rests on {estimated} cells of {self._values.shape[1]} that "
            "are gradient estimates, and no verdict can\n"
            "measure the cells with causal.sweep(...), or name cells in verify= and claim those"
        )

    def _select(self, cells: object, labels: Mapping[str, object]) -> NDArray[np.intp]:
        chosen = super()._select(cells, labels)
        guessed = chosen[~self._exact[chosen]]
        if len(guessed):
            self._refuse(f"a claim about {self._called(chosen)}")
        return chosen

    def _like(self, values: Floats, subject: str, floor: float, *, differenced: bool) -> SweepGrid:
        facts = self._facts(subject=subject, floor=floor, differenced=differenced)
        return EstimatedGrid(values, estimates=self._estimates, exact=self._exact, **facts)
