"""The p-values of a run together: the single best check of whether its tests do what they say."""

from __future__ import annotations

import math
from typing import Any

from causaltest.records import Results
from causaltest.report import numbers
from causaltest.report.drawing import Figure, figure_of, rows_of
from causaltest.report.palette import LIGHT

FEWEST = 20
"""Below so many p-values a histogram shows nothing but chance."""
_BINS = 20
_KOLMOGOROV = 1.358
"""Asymptotic 95 % point of the Kolmogorov statistic."""


def p_values(results: Results) -> list[float]:
    """List the p-values of support of the claims that were decided, before any correction.

    Parameters
    ----------
    results
        The run's results.
    """
    decided = ("supported", "refuted", "inconclusive")
    return sorted(
        claim.p_support
        for claim in results.claims
        if claim.verdict in decided and claim.p_support is not None
    )


def too_few(results: Results) -> str:
    """Say why there is no figure; empty where there is one.

    Parameters
    ----------
    results
        The run's results.
    """
    count = len(p_values(results))
    if count >= FEWEST:
        return ""
    have = numbers.plural(count, "p-value")
    return (
        f"The run has {have}; their distribution is drawn from {FEWEST} on, since that of fewer "
        "shows nothing but chance."
    )


def health_figure(results: Results) -> Figure | None:
    """Draw the p-values of a run as a histogram and against uniform ones.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    Figure or None
        None where there are too few.
    """
    values = p_values(results)
    if len(values) < FEWEST:
        return None
    low, high = sum(p < 0.05 for p in values), sum(p > 0.95 for p in values)
    chance = len(values) * 0.05
    caption = (
        f"{len(values):,} p-values for the claims, before correction. Were every effect exactly at "
        "its bound and the tests exact, bars would be level with the line and dots inside the "
        f"band. A pile at 0 ({low} below 0.05; {chance:.3g} by chance alone) are claims that hold, "
        f"one at 1 ({high} above 0.95) claims that are false: both are healthy. Suspect a heap "
        "just below 0.05 with few beyond it, which chosen claims leave, and one in the middle, "
        "which tests leave that decide too little."
    )
    counts = _counts(values)
    rows = [
        [f"{index / _BINS:.2f} to {(index + 1) / _BINS:.2f}", str(count)]
        for index, count in enumerate(counts)
    ]
    return figure_of(
        _chart(values, counts),
        f"The {len(values):,} p-values of the run: histogram, and against uniform ones",
        f"{low} of {len(values)} lie below 0.05, {high} above 0.95.",
        caption=caption,
        numbers=rows_of(["p", "claims"], rows),
        claims=len(values),
    )


def _counts(values: list[float]) -> list[int]:
    counts = [0] * _BINS
    for p in values:
        counts[min(int(p * _BINS), _BINS - 1)] += 1
    return counts


def _chart(values: list[float], counts: list[int]) -> Any:
    import altair

    n = len(values)
    bars = [
        {"from": index / _BINS, "to": (index + 1) / _BINS, "count": count, "none": 0}
        | {"told": f"{numbers.plural(count, 'claim')} from {index / _BINS:.2f}"}
        for index, count in enumerate(counts)
    ]
    unit = altair.Scale(domain=[0, 1], nice=False)
    histogram = altair.layer(
        altair.Chart(altair.Data(values=bars))
        .mark_rect(fill=LIGHT["dot"], stroke=LIGHT["paper"], strokeWidth=1, aria=True)
        .encode(
            x=altair.X("from:Q", scale=unit, title="p for the claim"),
            x2="to:Q",
            y=altair.Y("none:Q", title="claims"),
            y2="count:Q",
            description="told:N",
        ),
        altair.Chart(altair.Data(values=[{"level": n / _BINS}]))
        .mark_rule(stroke=LIGHT["text"], strokeDash=[5, 4])
        .encode(y=altair.Y("level:Q", title="claims")),
    ).properties(width=300, height=190)
    reach = _KOLMOGOROV / math.sqrt(n)
    ends = [{"x": x, "low": max(0.0, x - reach), "high": min(1.0, x + reach)} for x in _grid(reach)]
    dots = [{"x": (index + 0.5) / n, "p": p} for index, p in enumerate(values)]
    across = altair.X("x:Q", scale=unit, title="expected, were all uniform")
    against = altair.layer(
        altair.Chart(altair.Data(values=ends))
        .mark_area(color=LIGHT["line"])
        .encode(x=across, y=altair.Y("low:Q", scale=unit, title="p for the claim"), y2="high:Q"),
        altair.Chart(altair.Data(values=[{"x": 0, "p": 0}, {"x": 1, "p": 1}]))
        .mark_line(stroke=LIGHT["text"], strokeDash=[5, 4], strokeWidth=1)
        .encode(x=across, y=altair.Y("p:Q", scale=unit, title="p for the claim")),
        altair.Chart(altair.Data(values=dots))
        .mark_point(filled=True, size=22, color=LIGHT["link"], opacity=1)
        .encode(x=across, y=altair.Y("p:Q", scale=unit, title="p for the claim")),
    ).properties(width=230, height=190)
    return altair.hconcat(histogram, against, spacing=36)


def _grid(reach: float) -> list[float]:
    """Return the places at which the band bends."""
    return sorted({0.0, min(reach, 1.0), max(1.0 - reach, 0.0), 1.0})
