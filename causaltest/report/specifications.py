"""Specification curves: the same hypothesis under every choice that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causaltest.records import Claim, Results, ordered
from causaltest.report import numbers
from causaltest.report.axes import axis_range
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.figures import SHAPES
from causaltest.report.palette import LIGHT, colour_of
from causaltest.report.parts import deciding_part, scale_of
from causaltest.report.text import cut, visible

FEWEST = 2
_COLUMN, _MOST = 22, 200


def specification_figures(results: Results) -> list[Figure]:
    """Draw every hypothesis of several specifications as a curve, one figure for each scale.

    Parameters
    ----------
    results
        The run's results.
    """
    groups: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in ordered(results.claims):
        part = deciding_part(claim)
        if claim.specification is None or part is None or claim.estimate is None:
            continue
        key = (claim.specification.of, claim.model, scale_of(part))
        groups.setdefault(key, []).append(claim)
    several = len({claim.model for claim in results.claims if claim.model}) > 1
    return [
        _figure(claims, scale, model if several else "")
        for (_, model, scale), claims in groups.items()
        if len(claims) >= FEWEST
    ]


def _figure(claims: Sequence[Claim], scale: str, model: str) -> Figure:
    shown = sorted(claims, key=lambda claim: (claim.estimate or 0.0, claim.id))[:_MOST]
    inside = sum(_inside(claim) for claim in claims)
    held = sum(claim.verdict == "supported" for claim in claims)
    first = claims[0]
    sentence = visible(first.claim.partition(" [")[0]).rstrip(".")
    on = f", on {visible(model)}" if model else ""
    registered = [claim for claim in claims if _is_registered(claim)]
    verb = "is" if held == 1 else "are"
    named = (
        "The registered specification is ringed and stands on a dotted line."
        if registered
        else "None of them is the registered one."
    )
    bound = numbers.typeset(numbers.bound_text(first.relation, first.bound or 0.0))
    share = numbers.percent(inside / len(claims))
    caption = (
        f"{len(claims)} specifications of the same hypothesis, by effect; below each, what was "
        f"chosen. {inside} of {len(claims)} estimates ({share}) lie where the claim is true "
        f"({bound}), {held} {verb} supported. {named} Specifications share their data, so that "
        "they are no independent replications."
    )
    rows = [
        [
            *_choices(claim).values(),
            *map(numbers.typeset, _shown(claim)),
            claim.verdict + (", registered" if _is_registered(claim) else ""),
        ]
        for claim in shown
    ]
    heads = [*_choices(first), "estimate", "interval", "verdict"]
    return figure_of(
        _chart(shown, scale),
        f"Specification curve: {sentence}{on}",
        f"{inside} of {len(claims)} specifications lie in the claimed region.",
        caption=numbers.typeset(caption),
        numbers=rows_of(heads, rows),
        scale=scale,
        claims=len(claims),
    )


def _is_registered(claim: Claim) -> bool:
    return claim.specification is not None and claim.specification.registered


def _choices(claim: Claim) -> dict[str, str]:
    if claim.specification is None:
        return {}
    chosen = claim.specification.choices
    return {visible(name): cut(visible(value), 24) for name, value in chosen.items()}


def _shown(claim: Claim) -> tuple[str, str]:
    if claim.estimate is None or claim.interval is None:
        return "", ""
    return numbers.estimate_and_interval(claim.estimate, claim.interval)


def _inside(claim: Claim) -> bool:
    estimate, bound = claim.estimate or 0.0, claim.bound or 0.0
    if claim.relation == "within":
        return abs(estimate) < bound
    return estimate > bound if claim.relation == ">" else estimate < bound


def _rows(shown: Sequence[Claim]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, claim in enumerate(shown):
        interval = claim.interval
        chosen = ", ".join(f"{name} {value}" for name, value in _choices(claim).items())
        told = f"{chosen}: {number(claim.estimate)}, {claim.verdict}"
        rows.append(
            {
                "index": index,
                "estimate": claim.estimate,
                "low": interval.low if interval else claim.estimate,
                "high": interval.high if interval else claim.estimate,
                "colour": colour_of(claim.verdict),
                "shape": SHAPES.get(claim.verdict, "square"),
                "registered": _is_registered(claim),
                "told": numbers.typeset(told),
            }
        )
    return rows


def _chart(shown: Sequence[Claim], scale: str) -> Any:
    import altair

    rows = _rows(shown)
    bounds = {c.bound for c in shown if c.bound is not None}
    bounds |= {-c.bound for c in shown if c.bound is not None and c.relation == "within"}
    low, high = axis_range(
        [value for row in rows for value in (row["low"], row["high"])], [*bounds]
    )
    x = altair.X(
        "index:Q",
        axis=None,
        scale=altair.Scale(domain=[-0.7, len(rows) - 0.3], nice=False),
    )
    domain = altair.Scale(domain=[low, high], nice=False, zero=False)
    y = altair.Y("estimate:Q", scale=domain, title=visible(scale))
    colour = altair.Color("colour:N", scale=None)
    base = altair.Chart(altair.Data(values=rows)).encode(x=x)
    edges = altair.Chart(altair.Data(values=[{"bound": bound} for bound in sorted(bounds)]))
    width = max(200, _COLUMN * len(rows))
    registered = base.transform_filter("datum.registered").mark_rule(
        stroke=LIGHT["control"], strokeDash=[2, 3]
    )
    curve = altair.layer(
        edges.mark_rule(stroke=LIGHT["muted"], strokeDash=[5, 4]).encode(
            y=altair.Y("bound:Q", scale=domain, title=visible(scale))
        ),
        registered,
        base.mark_rule(strokeWidth=2).encode(
            y=altair.Y("low:Q", scale=domain, title=visible(scale)), y2="high:Q", color=colour
        ),
        base.transform_filter("datum.registered")
        .mark_point(size=330, stroke=LIGHT["text"], strokeWidth=1.5, opacity=1)
        .encode(y=y),
        base.mark_point(filled=True, size=90, opacity=1, aria=True).encode(
            y=y, color=colour, shape=altair.Shape("shape:N", scale=None), description="told:N"
        ),
    ).properties(width=width, height=180)
    return altair.vconcat(curve, _matrix(shown, x, registered, width), spacing=8)


def _matrix(shown: Sequence[Claim], x: Any, registered: Any, width: int) -> Any:
    """Draw what was chosen in each specification."""
    import altair

    options: dict[str, None] = {}
    cells: list[dict[str, Any]] = []
    for index, claim in enumerate(shown):
        for name, value in _choices(claim).items():
            options[f"{name}: {value}"] = None
            cells.append({"index": index, "option": f"{name}: {value}"})
    order = sorted(options)
    y = altair.Y(
        "option:N",
        sort=order,
        title=None,
        axis=altair.Axis(grid=True, domain=False, labelLimit=260),
    )
    chosen = altair.Chart(altair.Data(values=cells)).mark_point(
        shape="square", filled=True, size=60, color=LIGHT["text"], opacity=1
    )
    drawn = altair.layer(registered, chosen.encode(x=x, y=y))
    return drawn.properties(width=width, height=18 * len(order))
