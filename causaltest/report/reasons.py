"""What a verdict rests on, and what would change it."""

from __future__ import annotations

from statistics import NormalDist

from causaltest.records import Part
from causaltest.report.numbers import interval_text, p_text, percent, plural
from causaltest.report.text import visible


def why(part: Part) -> str:
    """Say what the verdict of a part rests on.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        One sentence.
    """
    interval = part.adjusted_interval
    shown = f"{interval_text(interval)} ({percent(interval.level)})"
    p = f"p = {p_text(part.p_support)} for, p = {p_text(part.p_refute)} against"
    p = p.replace("= <", "<")
    low, high = _claim_region(part)
    if part.verdict == "supported" and low <= interval.low and interval.high <= high:
        return f"The interval at the deciding level, {shown}, lies inside the claim; {p}."
    if part.verdict == "refuted" and (interval.high <= low or interval.low >= high):
        return f"The interval at the deciding level, {shown}, lies outside the claim; {p}."
    if part.verdict == "inconclusive":
        outside = part.p_refute <= part.alpha / 2.0
        where = (
            "lies outside the claim, but not at the level left for refuting this comparison"
            if outside
            else "reaches across the bound"
        )
        return f"The interval at the deciding level, {shown}, {where}; {p}."
    return f"The interval at the deciding level is {shown}; {p}, one-sided."


def what_would_change(part: Part) -> str:
    """Say which bounds these data would support, and how many pairs would settle the claim.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        One or two sentences.
    """
    if part.verdict == "exploratory":
        return "It is exploratory: it suggests what to test on fresh data and decides nothing."
    low, high = part.adjusted_interval.low, part.adjusted_interval.high
    if part.relation == "within":
        inner = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
        outer = max(abs(low), abs(high))
        text = f"The same data support any margin above {outer:.3g}"
        text += f" and refute any below {inner:.3g}." if inner else " and refute none."
    else:
        supported, refuted = (low, high) if part.relation == ">" else (high, low)
        below, above = ("below", "above") if part.relation == ">" else ("above", "below")
        text = (
            f"The same data support any bound {below} {supported:.3g} "
            f"and refute any {above} {refuted:.3g}."
        )
    if part.verdict == "inconclusive":
        settled = settled_by(part)
        text += f" {settled[0].upper()}{settled[1:]}. {detectable(part)}".rstrip()
    return text


def detectable(part: Part) -> str:
    """Say which effect these pairs would have shown, whatever they did show.

    Parameters
    ----------
    part
        An inconclusive part.

    Returns
    -------
    str
        One sentence: the smallest effect that is supported with 80 % power at this spread, or the
        smallest margin within which an effect of 0 is. Empty where the interval has no width.

    Examples
    --------
    >>> from causaltest.records import Interval, Part
    >>> wide, half = Interval(0.304, 0.696, 0.95), Interval(0.402, 0.598, 0.6827)
    >>> part = Part(
    ...     "effect > 0.4",
    ...     "effect",
    ...     "inconclusive",
    ...     ">",
    ...     0.4,
    ...     0.5,
    ...     half,
    ...     wide,
    ...     p_support=0.16,
    ...     p_refute=0.84,
    ...     alpha=0.05,
    ...     n_pairs=24,
    ...     n_units=12,
    ...     unit="template",
    ...     method="hull",
    ...     floor=0.0,
    ... )
    >>> detectable(part)
    'An effect of 0.68 or more would be supported by as many pairs with 80 % power.'
    """
    interval, normal = part.adjusted_interval, NormalDist()
    z = normal.inv_cdf((1 + interval.level) / 2)
    below, above = part.estimate - interval.low, interval.high - part.estimate
    if below <= 0 or above <= 0:
        return ""
    if part.relation == "within":
        # Both bounds have to be cleared, each with 90 %.
        reach = max(below, above) * (1 + normal.inv_cdf(0.9) / z)
        return f"An effect of 0 would be shown to lie within ±{reach:.2g} with 80 % power."
    reach = (below if part.relation == ">" else above) * (1 + normal.inv_cdf(0.8) / z)
    effect = part.bound + (reach if part.relation == ">" else -reach)
    which = "more" if part.relation == ">" else "less"
    return (
        f"An effect of {effect:.2g} or {which} would be supported by as many pairs with 80 % power."
    )


def settled_by(part: Part | None) -> str:
    """Say what would settle an inconclusive part.

    Parameters
    ----------
    part
        The part, or None where nothing was measured.

    Returns
    -------
    str
        A phrase without a full stop.
    """
    if part is None or part.pairs_needed is None:
        unit = part.unit if part is not None and part.unit not in ("", "pair") else "pair"
        return f"more {visible(unit)}s or a bound farther from the estimate would settle it"
    pairs = plural(part.pairs_needed, "pair")
    return f"about {pairs} would settle it (80 % power at this spread)"


def _claim_region(part: Part) -> tuple[float, float]:
    """Give the interval of effects for which the claim is true."""
    if part.relation == "within":
        return -part.bound, part.bound
    return (part.bound, float("inf")) if part.relation == ">" else (float("-inf"), part.bound)
