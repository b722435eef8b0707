"""The p-values of a run together: the single best check of whether its tests do what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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


def placebo_p_values(results: Results) -> list[float]:
    """List the p-values of the placebos of all claims that were compared with controls.

    Parameters
    ----------
    results
        The run's results.
    """
    strips = [strip for claim in results.claims if claim.shown for strip in claim.shown.controls]
    return sorted(p for strip in strips for p in strip.placebo_p)


def too_few(results: Results) -> str:
    """Say why the p-values of the claims are not drawn; empty where they are.

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
    """Draw the p-values of a run as a histogram and against uniform ones, those of placebos too.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    Figure or None
        None where there are too few of both.
    """
    claims, placebos = p_values(results), placebo_p_values(results)
    # Placebos of one claim share its pairs, so no band for independent values is drawn for them.
    drawn = [
        each
        for each in (
            _Values("claim", claims, _of_claims(claims), band=True),
            _Values("placebo", placebos, _of_placebos(placebos), band=False),
        )
        if len(each.values) >= FEWEST
    ]
    if not drawn:
        return None
    few = too_few(results) if len(claims) < FEWEST else ""
    rows = [
        [f"{index / _BINS:.2f} to {(index + 1) / _BINS:.2f}"]
        + [str(_counts(each.values)[index]) for each in drawn]
        for index in range(_BINS)
    ]
    named = " and ".join(f"{len(each.values):,} of {each.what}s" for each in drawn)
    return figure_of(
        _chart(drawn),
        f"The p-values of the run, {named}: histogram, and against uniform ones",
        " ".join(_description(each) for each in drawn),
        caption=" ".join([*(each.caption for each in drawn), *([few] if few else [])]),
        numbers=rows_of(["p", *(f"{each.what}s" for each in drawn)], rows),
        claims=len(claims),
    )


@dataclass(frozen=True)
class _Values:
    """P-values that are drawn together."""

    what: str
    values: list[float]
    caption: str
    band: bool


def _description(drawn: _Values) -> str:
    low, high = _ends(drawn.values)
    of = f"{len(drawn.values)} {drawn.what}s"
    return f"{low} of {of} lie below 0.05, {high} above 0.95."


def _ends(values: list[float]) -> tuple[int, int]:
    return sum(p < 0.05 for p in values), sum(p > 0.95 for p in values)


def _of_claims(values: list[float]) -> str:
    low, high = _ends(values)
    chance = len(values) * 0.05
    return (
        f"{len(values):,} p-values for the claims, before correction. Were every effect exactly at "
        "its bound and the tests exact, bars would be level with the line and dots inside the "
        f"band. A pile at 0 ({low} below 0.05; {chance:.3g} by chance alone) are claims that hold, "
        f"one at 1 ({high} above 0.95) claims that are false: both are healthy. Suspect a heap "
        "just below 0.05 with few beyond it, which chosen claims leave, and one in the middle, "
        "which tests leave that decide too little."
    )


def _of_placebos(values: list[float]) -> str:
    low, high = _ends(values)
    chance = len(values) * 0.05
    return (
        f"{len(values):,} p-values of placebos, of which nothing is claimed: each control against "
        "the others of its claim, pair by pair. They should be uniform, level with the line. A "
        f"pile at both ends ({low} below 0.05 and {high} above 0.95; {chance:.3g} each by chance "
        "alone) shows that controls differ among themselves: pairs alone would call any of them "
        "special, and what speaks for a claim is its rank among them."
    )


def _counts(values: list[float]) -> list[int]:
    counts = [0] * _BINS
    for p in values:
        counts[min(int(p * _BINS), _BINS - 1)] += 1
    return counts


def _chart(drawn: Sequence[_Values]) -> Any:
    import altair

    rows = [altair.hconcat(_histogram(each), _against(each), spacing=36) for each in drawn]
    return rows[0] if len(rows) == 1 else altair.vconcat(*rows, spacing=24)


def _histogram(drawn: _Values) -> Any:
    import altair

    bars = [
        {"from": index / _BINS, "to": (index + 1) / _BINS, "count": count, "none": 0}
        | {"told": f"{numbers.plural(count, drawn.what)} from {index / _BINS:.2f}"}
        for index, count in enumerate(_counts(drawn.values))
    ]
    counted = altair.Y("none:Q", title=f"{drawn.what}s")
    return altair.layer(
        altair.Chart(altair.Data(values=bars))
        .mark_rect(fill=LIGHT["dot"], stroke=LIGHT["paper"], strokeWidth=1, aria=True)
        .encode(
            x=altair.X("from:Q", scale=_unit(), title=f"p for the {drawn.what}"),
            x2="to:Q",
            y=counted,
            y2="count:Q",
            description="told:N",
        ),
        altair.Chart(altair.Data(values=[{"level": len(drawn.values) / _BINS}]))
        .mark_rule(stroke=LIGHT["text"], strokeDash=[5, 4])
        .encode(y=altair.Y("level:Q", title=f"{drawn.what}s")),
    ).properties(width=300, height=190)


def _against(drawn: _Values) -> Any:
    import altair

    n = len(drawn.values)
    reach = _KOLMOGOROV / math.sqrt(n)
    ends = [{"x": x, "low": max(0.0, x - reach), "high": min(1.0, x + reach)} for x in _grid(reach)]
    dots = [{"x": (index + 0.5) / n, "p": p} for index, p in enumerate(drawn.values)]
    across = altair.X("x:Q", scale=_unit(), title="expected, were all uniform")
    up = f"p for the {drawn.what}"
    band = (
        altair.Chart(altair.Data(values=ends))
        .mark_area(color=LIGHT["line"])
        .encode(x=across, y=altair.Y("low:Q", scale=_unit(), title=up), y2="high:Q")
    )
    layers = [
        altair.Chart(altair.Data(values=[{"x": 0, "p": 0}, {"x": 1, "p": 1}]))
        .mark_line(stroke=LIGHT["text"], strokeDash=[5, 4], strokeWidth=1)
        .encode(x=across, y=altair.Y("p:Q", scale=_unit(), title=up)),
        altair.Chart(altair.Data(values=dots))
        .mark_point(filled=True, size=22, color=LIGHT["link"], opacity=1)
        .encode(x=across, y=altair.Y("p:Q", scale=_unit(), title=up)),
    ]
    return altair.layer(*([band] if drawn.band else []), *layers).properties(width=230, height=190)


def _unit() -> Any:
    import altair

    return altair.Scale(domain=[0, 1], nice=False)


def _grid(reach: float) -> list[float]:
    """Return the places at which the band bends."""
    return sorted({0.0, min(reach, 1.0), max(1.0 - reach, 0.0), 1.0})
