"""The data of a grid: one value per pair and cell, and how cells are named and picked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.cells import (
    Axes,
    Cells,
    Label,
    cell_name,
    check_axes,
    labels_at,
    refuse_seen,
    select,
)
from causaltest.stats.columns import Paired, check_magnitude, checked_columns
from causaltest.stats.each import Each
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.operands import metric_of
from causaltest.stats.significance import Significance, UnitTable, unit_table

Floats = NDArray[np.float64]


class Gridded(Paired):
    """One value per pair and cell of any number of axes; `Grid` says what is claimed about them."""

    def __init__(
        self,
        values: ArrayLike,
        *,
        axes: Axes,
        scale: ArrayLike | None = None,
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "sweep",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
        differenced: bool = False,
    ) -> None:
        array = np.array(values, dtype=np.float64)
        if array.ndim < 2 or not array.size:
            raise MetricError(
                f"{subject}: expected one value per pair and cell, got shape {array.shape}"
            )
        if not 0.0 <= floor < math.inf:
            raise EvidenceError(f"{subject}: the numeric floor is {floor}; expected 0 or more")
        self._axes = check_axes(axes, array.shape[1:], subject)
        self._values = array.reshape(len(array), -1)
        self._values.flags.writeable = False
        self._columns = checked_columns(
            np.zeros(len(array)),  # the cells are checked by themselves
            scale=scale,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        self._subject = subject
        self._metric = metric or metric_of(subject)
        self._floor = floor
        self._judge = judge
        self._differenced = differenced
        self._check_finite()

    @property
    def axes(self) -> dict[str, tuple[Label, ...]]:
        """Labels by axis."""
        return dict(self._axes)

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self._metric

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of labels of each axis."""
        return tuple(len(labels) for labels in self._axes.values())

    @property
    def values(self) -> Floats:
        """The values, shape (pairs, ...)."""
        return self._values.reshape(len(self._values), *self.shape)

    @property
    def estimate(self) -> Floats:
        """The effect of each cell, in the shape of the grid."""
        return self._table.estimates.reshape(self.shape)

    @cached_property
    def _table(self) -> UnitTable:
        return unit_table(
            self._values,
            self._columns,
            floor=self._floor,
            subject=self._subject,
            flips=self._differenced,
        )

    def _select(self, cells: object, labels: Mapping[str, object]) -> NDArray[np.intp]:
        named = cells.cells if isinstance(cells, Significance) else cells
        refuse_seen(named, self._columns.units, self._columns.unit, self._columns.pair_ids)
        return select(self._axes, named, labels)

    def _cells(self, flat: Iterable[int]) -> Cells:
        return Cells(tuple(self._axes), labels_at(self._axes, flat))

    def _chosen(self, flat: Iterable[int], by: str) -> Cells:
        return replace(
            self._cells(flat),
            chosen_on=frozenset(self._columns.units),
            unit=self._columns.unit,
            chosen_by=by,
            pairs=frozenset(self._columns.pair_ids),
        )

    def _called(self, flat: NDArray[np.intp]) -> str:
        return self._named(flat)[0] if len(flat) == 1 else f"{len(flat)} cells"

    def _named(self, flat: Iterable[int]) -> tuple[str, ...]:
        return tuple(cell_name(self._axes, labels) for labels in labels_at(self._axes, flat))

    def _effect(
        self,
        values: Floats,
        where: str,
        judge: Judge | None = None,
        floors: float = 1.0,
    ) -> Effect:
        return Effect(
            values,
            scale=self.scale,
            **self._columns.pairing,
            subject=f"{self._subject} at {where}",
            metric=self._metric,
            floor=floors * self._floor,
            judge=judge or self._judge,
        )

    def _each(self, flat: NDArray[np.intp], judge: Judge | None = None) -> Each:
        return Each(
            self._values[:, flat],
            self._named(flat),
            columns=self._columns,
            subject=self._subject,
            metric=self._metric,
            floor=self._floor,
            judge=judge or self._judge,
            noun="cell",
        )

    def _current_judge(self) -> Judge:
        return self._judge if isinstance(self._judge, Judge) else self._judge()

    def _check_finite(self) -> None:
        wrong = np.argwhere(~np.isfinite(self._values))
        if len(wrong):
            pair, cell = (int(each) for each in wrong[0])
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            where = f"{self._called(np.array([cell]))} for pair {self._columns.pair_ids[pair]!r}"
            raise EvidenceError(
                f"{self._subject}: the value is {self._values[pair, cell]} at {where}{more}\n"
                "no verdict can rest on it; look at this pair's metric and answers"
            )
        check_magnitude(self._values, "values", self._subject)
