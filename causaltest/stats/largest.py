"""The largest effect among many: judged with all of them considered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.cells import Label, cell_name, labels_at
from causaltest.stats.columns import Columns
from causaltest.stats.decision import Region
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.judge import Judge
from causaltest.stats.operands import bound_of
from causaltest.stats.shown import Shown
from causaltest.stats.significance import UnitTable, joint, method_of, notes_of, simultaneous
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Extreme:
    """Evidence about the largest mean of many columns, by max-T over all of them.

    Above a bound lies the largest where any column does, below it where all do. P-values are
    single-step, so that they are dual to the largest simultaneous limits.
    """

    table: UnitTable
    up: Floats
    down: Floats

    @property
    def estimate(self) -> float:
        """The largest cell mean, which by selection tends to lie above its truth."""
        return float(self.table.estimates.max())

    def p_above(self, bound: float) -> float:
        """Family-wise p-value of the claim that some column lies above the bound."""
        return self._p(self.up, float(self.table.studentised(bound).max()))

    def p_below(self, bound: float) -> float:
        """P-value of the claim that every column lies below the bound."""
        return self._p(self.down, float((-self.table.studentised(bound)).min()))

    def limits(self, alpha: float) -> tuple[float, float]:
        """Largest simultaneous lower bound and largest simultaneous upper bound.

        Raises
        ------
        EvidenceError
            If the cells are shares of a total effect that is too weak to divide by.
        """
        low, high = simultaneous(self.table, self.up, self.down, alpha)
        if not (math.isfinite(low.max()) and math.isfinite(high.max())):
            raise EvidenceError(
                "total effect too weak to divide by: the largest share of it has no finite "
                f"{100 * (1 - alpha):.4g}% interval\nadd units, or claim the raw effect"
            )
        return float(low.max()), float(high.max())

    def _p(self, maxima: Floats, t: float) -> float:
        total = len(maxima) + 1
        if math.isinf(t):
            return 1.0 / total if t > 0 and maxima.size else float(t < 0)
        return float(total - np.searchsorted(maxima, t * (1.0 - 1e-12), side="left")) / total


class Largest:
    """The largest effect of a sweep: `> x` claims some cell, `< x` claims every cell."""

    __array_ufunc__ = None

    def __init__(
        self,
        table: UnitTable,
        *,
        axes: Mapping[str, tuple[Label, ...]],
        columns: Columns,
        subject: str,
        name: str,
        judge: Judge | Callable[[], Judge],
    ) -> None:
        self._table = table
        self._axes = axes
        self._columns = columns
        self._subject = subject
        self._name = name
        self._judge = judge
        self.shown: tuple[Shown, ...] = ()

    @property
    def estimate(self) -> float:
        """The largest cell mean."""
        return float(self._table.estimates.max())

    def __repr__(self) -> str:
        return f"<{self._subject}: {self.estimate:.3g} at {self._where()}>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "the largest effect has no truth value; compare it: `grid.largest > 0.1` for some "
            "cell, `grid.largest < 0.1` for every cell"
        )

    def __gt__(self, bound: object) -> Verdict:
        number = bound_of(bound, "the largest effect")
        if number is None:
            return NotImplemented
        return self._verdict(Region(self._decided(number, 1.0), math.inf), number, ">")

    def __lt__(self, bound: object) -> Verdict:
        number = bound_of(bound, "the largest effect")
        if number is None:
            return NotImplemented
        return self._verdict(Region(-math.inf, self._decided(number, -1.0)), number, "<")

    def _decided(self, bound: float, side: float) -> float:
        floor = self._table.floor / self._table.scale_mean
        return side * floor if abs(bound) <= floor else bound

    def _where(self) -> str:
        (labels,) = labels_at(self._axes, [int(self._table.estimates.argmax())])
        return cell_name(self._axes, labels)

    def _verdict(self, region: Region, bound: float, relation: str) -> Verdict:
        judge = self._judge if isinstance(self._judge, Judge) else self._judge()
        found = joint(self._table, 0.0, "both", judge, subject=self._subject)
        unit = self._columns.unit
        top = self._table.means[:, int(self._table.estimates.argmax())] / self._table.scale_mean
        labels = self._columns.labels
        verdict = judged(
            Extreme(self._table, found.up, found.down),
            region,
            judge,
            basis=Basis(
                values=tuple(top.tolist()),
                units=labels,
                unit=unit,
                pair_ids=labels,
                pair_set=self._columns.pair_set,
                floor=self._table.floor / self._table.scale_mean,
            ),
            statement=f"largest {self._name} {relation} {bound:g}",
            subject=f"{self._subject}, at {self._where()}",
            method=method_of(self._table, found.resamples, unit).removeprefix("step-down "),
            over=f"max-T over {self._table.means.shape[1]:,} cells and {self._table.n} {unit}s",
            notes=(
                "the largest of many estimates tends to lie above its truth",
                *notes_of(self._table, found.constant, unit),
            ),
        )
        # Judged on unit means, which are what the verdict holds; there are more pairs than these.
        pairs = self._columns.n_pairs
        needed = verdict.pairs_needed
        return replace(
            verdict,
            n_pairs=pairs,
            pairs_needed=None if needed is None else math.ceil(needed * pairs / self._table.n),
            shown=self.shown,
            _asked=[False],
        )
