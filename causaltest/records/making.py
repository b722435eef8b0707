"""Records of what figures show, made of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from causaltest.errors import EvidenceError
from causaltest.records.figures import (
    Axis,
    CircuitGraph,
    CircuitNode,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Limits,
    Map,
    Shown,
)

if TYPE_CHECKING:
    from causaltest.stats import Grid, Judge, Verdict
    from causaltest.stats.shown import AmongControls, OfCircuit, OnCurve, OnGrid, Watched
    from causaltest.stats.significance import Significance

MOST_CELLS = 10_000
"""Cells of a map that a record keeps; four numbers each."""

Scale = Callable[[str], str]
"""Says what a subject is counted in."""


def shown_by(verdicts: Sequence[Verdict], judge: Judge, scale_of: Scale) -> Shown | None:
    """Record what the figures of a claim show beside the numbers of its comparisons.

    Parameters
    ----------
    verdicts
        The claim's comparisons.
    judge
        How the claim was decided.
    scale_of
        Says what a subject is counted in; empty where unknown.

    Returns
    -------
    Shown or None
        None where there is nothing beside the numbers.
    """
    from causaltest.stats.shown import AmongControls, OfCircuit, OnCurve, OnGrid, Watched

    every = [(each, verdict) for verdict in verdicts for each in verdict.shown]
    grids = [(each, verdict) for each, verdict in every if isinstance(each, OnGrid)]
    curves = {id(each.curve): each for each, _ in every if isinstance(each, OnCurve)}
    circuits = [each for each, _ in every if isinstance(each, OfCircuit)]
    found = Shown(
        maps=_maps(grids, judge, scale_of),
        curves=tuple(_curve(each, judge, scale_of) for each in curves.values()),
        controls=tuple(
            _controls(each, scale_of) for each, _ in every if isinstance(each, AmongControls)
        ),
        paths=tuple(
            path
            for each, verdict in every
            if isinstance(each, Watched) and (path := _path(each, verdict, scale_of)) is not None
        ),
        circuits=tuple(dict.fromkeys(map(_circuit, _largest(circuits)))),
    )
    return None if found == Shown() else found


def map_of(
    grid: Grid,
    found: Significance | None,
    *,
    cells: Iterable[int] = (),
    margin: float | None = None,
    scale: str = "",
) -> Map:
    """Record a grid of effects.

    Parameters
    ----------
    grid
        The grid.
    found
        Which cells differ from 0; None where nothing can tell.
    cells
        Flat indices of the cells that a claim names.
    margin
        Cells whose limits lie within it are known to be small.
    scale
        What the effects are counted in, where the grid does not know.

    Examples
    --------
    >>> import numpy as np
    >>> from causaltest.stats import Grid
    >>> names = [f"pair {i}" for i in range(12)]
    >>> grid = Grid(np.ones((12, 2)), axes={"layer": [0, 1]}, units=names, pair_ids=names)
    >>> map_of(grid, grid.significant()).estimates
    (1.0, 1.0)
    """
    exact: Any = getattr(grid, "exact", None)
    known: dict[str, Any] = {}
    if found is not None:
        known = {
            "low": limits(found.lower.ravel().tolist()),
            "high": limits(found.upper.ravel().tolist()),
            "p_adjusted": tuple(found.p_adjusted.ravel().tolist()),
            "level": found.level,
            "method": found.method,
        }
    named = tuple(cells)
    estimates = tuple(grid.estimate.ravel().tolist())
    return Map(
        subject=grid.subject,
        axes=tuple(
            Axis(name, tuple(_label(each) for each in labels)) for name, labels in grid.axes.items()
        ),
        estimates=estimates,
        metric=grid.metric,
        scale=str(getattr(grid, "counted_in", "")) or scale,
        named=named if len(named) < len(estimates) else (),
        margin=margin,
        exact=None if exact is None else tuple(map(int, exact.ravel().nonzero()[0])),
        remark="" if exact is None else str(getattr(grid, "verification", "")),
        n_pairs=grid.n_pairs,
        n_units=grid.n_units,
        unit=grid.unit,
        **known,
    )


def limits(values: Iterable[float]) -> Limits:
    """Write infinite limits as None.

    Examples
    --------
    >>> limits([0.5, float("inf")])
    (0.5, None)
    """
    return tuple(value if math.isfinite(value) else None for value in values)


def _label(label: object) -> str:
    return str(label)


def _maps(
    shown: Sequence[tuple[OnGrid, Verdict]], judge: Judge, scale_of: Scale
) -> tuple[Map, ...]:
    """Record each grid once, with all the cells that are named."""
    by_grid: dict[int, list[tuple[OnGrid, Verdict]]] = {}
    for each, verdict in shown:
        by_grid.setdefault(id(each.grid), []).append((each, verdict))
    made: list[Map] = []
    for members in by_grid.values():
        grid = members[0][0].grid
        if grid.estimate.size > MOST_CELLS:
            continue
        cells = sorted({cell for each, _ in members for cell in each.cells})
        margins = [each.margin or _margin(each, verdict) for each, verdict in members]
        margin = next((each for each in margins if each), None)
        found = _significance(grid, judge)
        scale = scale_of(grid.subject) or scale_of(members[0][1].subject)
        made.append(map_of(grid, found, cells=cells, margin=margin, scale=scale))
    return tuple(made)


def _margin(shown: OnGrid, verdict: Verdict) -> float | None:
    """Give the bound of a claim about one mean of cells: what lies below it does not matter."""
    alone = sum(type(each) is type(shown) for each in verdict.shown) == 1
    size = abs(verdict.bound)
    return size if alone and size > verdict.floor else None


def _significance(grid: Grid, judge: Judge) -> Significance | None:
    exact: Any = getattr(grid, "exact", None)
    if exact is not None and not exact.all():
        return None
    try:
        return grid.significant(judge=judge)
    except EvidenceError:
        return None


def _curve(shown: OnCurve, judge: Judge, scale_of: Scale) -> DoseCurve:
    curve = shown.curve
    fit = curve.isotonic
    known: dict[str, Any] = {}
    try:
        band = curve.band(judge)
    except EvidenceError:
        pass
    else:
        known = {"low": limits(band.low), "high": limits(band.high), "level": band.level}
    return DoseCurve(
        subject=curve.subject,
        doses=fit.doses,
        means=fit.means,
        isotonic=fit.isotonic,
        scale=scale_of(curve.subject),
        n_pairs=len(curve.values),
        n_units=curve.n_units,
        unit=curve.unit,
        **known,
    )


def _controls(shown: AmongControls, scale_of: Scale) -> ControlStrip:
    measured = shown.measured
    interval = measured.interval
    return ControlStrip(
        subject=measured.subject,
        kind=shown.kind,
        estimate=measured.estimate,
        low=interval.low,
        high=interval.high,
        level=interval.level,
        controls=shown.controls,
        test=shown.test,
        scale=scale_of(measured.subject),
        placebo_p=shown.placebo_p,
    )


def _path(shown: Watched, verdict: Verdict, scale_of: Scale) -> EvidencePath | None:
    """Record a path of e-values or limits; None where the bound is beyond all values."""
    from causaltest.stats.betting import Betting

    region = shown.region
    facts: dict[str, Any] = {
        "subject": verdict.subject,
        "relation": region.relation,
        "bound": verdict.bound,
        "looks": shown.looks,
        "available": shown.available,
        "unit": verdict.unit,
        "scale": scale_of(verdict.subject),
        "level": 1.0 - verdict.alpha_claim,
    }
    evidence = shown.evidence
    if not isinstance(evidence, Betting):
        first, low, high = evidence.path(verdict.alpha_claim)
        return EvidencePath(first=first, low=limits(low), high=limits(high), **facts)
    ends = [end for end in (region.low, region.high) if math.isfinite(end)]
    if any(not evidence.low < end < evidence.high for end in ends):
        return None
    above = None if math.isinf(region.low) else evidence.path(region.low)
    below = None if math.isinf(region.high) else evidence.path(region.high)
    pairs = [(above[0], above[1])] if above else []
    pairs += [(below[1], below[0])] if below else []
    # A claim of two sides is supported by the weaker of both, and refuted by the stronger.
    supporting = [min(each) for each in zip(*(up for up, _ in pairs), strict=True)]
    refuting = [max(each) for each in zip(*(down for _, down in pairs), strict=True)]
    return EvidencePath(
        first=1,
        supporting=tuple(each / math.log(10.0) for each in supporting),
        refuting=tuple(each / math.log(10.0) for each in refuting),
        supported_at=math.log10(2.0 / verdict.alpha_claim),
        refuted_at=math.log10(2.0 * verdict.parts / verdict.alpha_claim),
        **facts,
    )


def _largest(circuits: Sequence[OfCircuit]) -> list[OfCircuit]:
    """Leave out circuits that are part of another among the same components."""
    return [
        each
        for each in circuits
        if not any(
            other.among == each.among and set(each.members) < set(other.members)
            for other in circuits
        )
    ]


def _circuit(shown: OfCircuit) -> CircuitGraph:
    added = dict(zip(shown.members, shown.effects, strict=False)) if shown.effects else {}
    members = set(shown.members)
    return CircuitGraph(
        tuple(
            CircuitNode(
                name=each.name,
                component=each.component,
                layer=each.layer,
                head=each.head,
                position=each.position,
                member=each in members,
                effect=added.get(each),
            )
            for each in shown.among
        ),
        shown.edges,
    )
