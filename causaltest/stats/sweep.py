"""Grids: one effect per cell of a sweep, with claims that hold over all cells at once."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.cells import Cells
from causaltest.stats.conjunction import JointVerdict, all_of
from causaltest.stats.each import Each
from causaltest.stats.effect import Effect
from causaltest.stats.gridded import Gridded
from causaltest.stats.judge import Judge
from causaltest.stats.largest import Largest
from causaltest.stats.shown import OnGrid
from causaltest.stats.significance import Direction, Significance, joint, method_of, notes_of
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]

_STABILITY_RESAMPLES = 999


class Grid(Gridded):
    """The effects of a sweep: one value per pair and cell, cells named by any number of axes.

    Parameters
    ----------
    values
        Shape (pairs, ...), one axis per entry of `axes`, in the unit of the metric.
    axes
        Labels of each axis, e.g. `{"layer": range(12), "pos": ["name", "verb", "end"]}`.
    scale
        Denominators, shape (pairs,), common to all cells: the effect of a cell is then a ratio of
        means, e.g. a recovery.
    units, unit, pair_ids, pair_set, subject, metric, floor, judge
        As for `Effect`.
    differenced
        Whether an exchangeable placebo was taken off each value, so that values are symmetric
        where nothing is there; `against` sets it.

    Raises
    ------
    EvidenceError
        If a value is not finite.
    MetricError
        If labels do not fit the values.
    PairError
        If the columns differ in length or a pair occurs twice.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(0.0, 0.5, (30, 4, 3))
    >>> values[:, 1, 2] += 1.0
    >>> names = [f"pair {i}" for i in range(30)]
    >>> grid = Grid(
    ...     values,
    ...     axes={"layer": range(4), "pos": ["name", "verb", "end"]},
    ...     units=names,
    ...     pair_ids=names,
    ... )
    >>> grid.significant().cells
    <1 cell: layer=1 pos='end'>
    >>> bool(grid.localised({"layer": 1, "pos": "end"}))
    True
    """

    def __repr__(self) -> str:
        axes = " x ".join(f"{len(labels)} {name}" for name, labels in self._axes.items())
        return f"<Grid {self._subject}: {axes}, {self.n_pairs} pairs, {self.n_units} units>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a grid has no truth value; claim `grid.mean_over(...) > 0.5`, "
            "`grid.localised(hot)`, `grid.every(hot) > 0.1` or `grid.largest < 0.1`"
        )

    def mean_over(self, cells: object = None, /, **labels: object) -> Effect:
        """Average cells within each pair.

        Parameters
        ----------
        cells
            `Cells`, a mapping from axis to labels, or cells as tuples of labels.
        labels
            Labels by axis, one or several: `grid.mean_over(layer=[3, 4], pos="name")`. Axes that
            are not named are averaged over whole.

        Returns
        -------
        Effect

        Raises
        ------
        EvidenceError
            If the cells were chosen on some of these units.
        MetricError
            If an axis or label does not exist.
        """
        chosen = self._select(cells, labels)
        found = self._effect(self._values[:, chosen].mean(axis=1), self._called(chosen))
        found.shown = (self._shown(chosen),)
        return found

    def significant(
        self,
        *,
        bound: float = 0.0,
        direction: Direction = "both",
        judge: Judge | None = None,
    ) -> Significance:
        """Find the cells whose effect differs from a bound, all cells considered.

        The probability that any cell is found wrongly is at most the level, whatever the
        dependence between cells: step-down max-T, equal-tailed, by the studentised bootstrap over
        units, or by joint sign flips for placebo-differenced values.

        The bootstrap takes the units for a fair picture of the others: a cell to which one unit in
        forty responds is found, or misjudged, depending on whether the sample holds that unit. For
        whether anything is there, take a placebo off (`against`) or name in `bound` the smallest
        effect that matters.

        Parameters
        ----------
        bound
            Effect to differ from; 0 is decided at the numeric floor.
        direction
            `both`, or `above` / `below` where the direction was fixed beforehand.
        judge
            How it is decided; by default as a comparison made now would be.

        Returns
        -------
        Significance
            Iterates over the labels found; with adjusted p-values and simultaneous bounds.

        Raises
        ------
        EvidenceError
            If there are too few units for any verdict.
        """
        if direction not in ("both", "above", "below"):
            raise ValueError(f"direction = {direction!r}: expected 'both', 'above' or 'below'")
        judge = judge or self._current_judge()
        found = joint(self._table, bound, direction, judge, subject=self._subject)
        if direction == "both":
            p = np.minimum(1.0, 2.0 * np.minimum(found.p_above, found.p_below))
        else:
            p = found.p_above if direction == "above" else found.p_below
        hits = np.flatnonzero(p <= judge.alpha_claim * (1.0 + 1e-12))
        return Significance(
            cells=self._chosen(hits, "grid.significant()"),
            p_adjusted=p.reshape(self.shape),
            lower=found.lower.reshape(self.shape),
            upper=found.upper.reshape(self.shape),
            level=judge.alpha_claim,
            direction=direction,
            bound=bound,
            method=method_of(self._table, found.resamples, self._columns.unit),
            notes=notes_of(self._table, found.constant, self._columns.unit),
        )

    def known_small(self, margin: float) -> Cells:
        """Find the cells whose effect is negligible: simultaneous interval within the margin.

        On a map these are blank because nothing is there; other blanks are unknown.

        Raises
        ------
        EvidenceError
            If the margin is not above the numeric floor.
        """
        self.check_margin(margin)
        found = self.significant()
        inside = (found.lower > -margin) & (found.upper < margin)
        return self._chosen(np.flatnonzero(inside), "grid.known_small(...)")

    def check_margin(self, margin: float) -> None:
        """Refuse a margin below which nothing can be told from 0.

        Raises
        ------
        EvidenceError
            The margin is not above the numeric floor.
        """
        if margin <= self._floor:
            raise EvidenceError(
                f"a margin of {margin:g} is not above the numeric floor {self._floor:.3g}\n"
                "name the largest effect that would still be negligible"
            )

    def strongest(self, count: int = 1) -> Cells:
        """Choose the cells of largest effect; they can be judged on other units only."""
        if not 1 <= count <= self._values.shape[1]:
            raise MetricError(
                f"cannot choose {count} cells of {self._values.shape[1]}; choose at least 1"
            )
        order = np.argsort(-self._table.estimates, kind="stable")[:count]
        return self._chosen(np.sort(order), "grid.strongest(...)")

    @property
    def largest(self) -> Largest:
        """The largest effect of all cells: `grid.largest > x` for some cell, `< x` for all."""
        found = Largest(
            self._table,
            axes=self._axes,
            columns=self._columns,
            subject=f"largest cell of {self._subject}",
            name=self._metric or "effect",
            judge=self._judge,
        )
        found.shown = (self._shown(np.arange(self._values.shape[1])),)
        return found

    def every(self, cells: object = None, /, **labels: object) -> Each:
        """Take cells one by one, for claims that all of them meet: `grid.every(hot) > 0.1`.

        Parameters
        ----------
        cells, labels
            As for `mean_over`.
        """
        chosen = self._select(cells, labels)
        found = self._each(chosen)
        found.shown = (self._shown(chosen),)
        return found

    def localised(
        self,
        hot: object,
        *,
        at_least: float = 0.0,
        contrast: float = 0.0,
        cold_within: float | None = None,
    ) -> JointVerdict:
        """Claim that the effect sits in the hot cells.

        Parameters
        ----------
        hot
            Cells named beforehand, or chosen on other units; as for `mean_over`.
        at_least
            Effect that each hot cell exceeds.
        contrast
            By how much the mean hot cell exceeds the mean cold cell.
        cold_within
            Margin within which each cold cell lies; None makes no such claim.

        Returns
        -------
        JointVerdict
            Supported where the contrast holds and each hot cell (and each cold cell) does.

        Raises
        ------
        EvidenceError
            If the hot cells were chosen on some of these units.
        MetricError
            If a cell does not exist, or no cold cell is left.
        """
        chosen = self._select(hot, {})
        cold = np.setdiff1d(np.arange(self._values.shape[1]), chosen)
        if not len(cold):
            raise MetricError("every cell is hot: name fewer, so that there is something beside")
        called = self._called(chosen)
        now = self._current_judge()
        count = 2 if cold_within is None else 3
        shared = replace(now, parts=now.parts * count, observe=None)
        difference = self._values[:, chosen].mean(axis=1) - self._values[:, cold].mean(axis=1)
        parts: list[Verdict] = [
            self._effect(difference, f"{called} against the rest", shared, 2.0) > contrast,
            self._each(chosen, shared) > at_least,
        ]
        if cold_within is not None:
            parts.append(abs(self._each(cold, shared)) < cold_within)
        parts = [replace(each, parts=now.parts) for each in parts]
        statement = f"{self._metric or 'effect'} sits in {called}"
        verdict = all_of(*parts, statement=statement, subject=f"{self._subject} at {called}")
        margin = next((each for each in (cold_within, at_least, contrast) if each), None)
        return replace(
            verdict,
            notes=(*verdict.notes, *self._concentration(chosen)),
            shown=(self._shown(chosen, margin),),
            _observe=now.observe,
        )

    def against(self, placebo: Grid) -> Grid:
        """Take a placebo off each value: an edit that answers the same question with "nothing".

        Parameters
        ----------
        placebo
            A grid of the same pairs and axes. Its sources are others of the same answer, drawn
            afresh for each pair: exchangeable where the source makes no difference. Or its places
            are others of their kind, which is the weaker: places differ in spread.

        Returns
        -------
        Grid
            Differences, symmetric where value and placebo are exchangeable, so that maxima are
            judged by sign flips: then exact for any number of units, also for cells that respond
            to few of them.

        Raises
        ------
        MetricError
            If axes, metric or scale differ.
        PairError
            If the two do not cover the same pairs.
        """
        if placebo._axes != self._axes or placebo._metric != self._metric:
            raise MetricError(
                f"{self!r} and {placebo!r} cannot be compared: axes and metric must be the same"
            )
        matched = self._columns.aligned(placebo._columns)
        if not self._columns.shares_scale(matched):
            raise MetricError(
                f"{self!r} and {placebo!r} are shares of different total effects\n"
                "measure both against the same base and source runs"
            )
        place = {pair: i for i, pair in enumerate(placebo._columns.pair_ids)}
        order = [place[pair] for pair in self._columns.pair_ids]
        values = (self._values - placebo._values[order]).reshape(self.values.shape)
        subject = f"({self._subject}) - placebo"
        return self._like(values, subject, self._floor + placebo._floor, differenced=True)

    def _shown(self, chosen: NDArray[np.intp], margin: float | None = None) -> OnGrid:
        return OnGrid(self, tuple(int(each) for each in chosen), margin)

    def _like(self, values: Floats, subject: str, floor: float, *, differenced: bool) -> Grid:
        return Grid(
            values,
            axes=self._axes,
            scale=self.scale,
            **self._columns.pairing,
            subject=subject,
            metric=self._metric,
            floor=floor,
            judge=self._judge,
            differenced=differenced,
        )

    def _concentration(self, chosen: NDArray[np.intp]) -> tuple[str, ...]:
        """Describe how much of the map the hot cells hold, and how surely its peak is there."""
        positive = np.maximum(self._table.estimates, 0.0)
        if not positive.any():
            return ()
        share = positive[chosen].sum() / positive.sum()
        means, n = self._table.means, self.n_units
        rng = np.random.default_rng([self._current_judge().seed, n, 1])
        peaks = [
            int((rng.multinomial(n, np.full(n, 1.0 / n)) @ means).argmax())
            for _ in range(_STABILITY_RESAMPLES)
        ]
        stable = np.isin(peaks, chosen).mean()
        peak = f"the peak is among them in {stable:.0%} of resamples of {self._columns.unit}s"
        return (f"hot cells hold {share:.0%} of the positive effect; {peak}",)
