"""Numbers as readers expect them: the same decimals side by side, never a p of zero."""

from __future__ import annotations

import math
import re

from causaltest.records import Interval


def decimals(estimate: float, low: float, high: float) -> int | None:
    """Choose the decimals that an estimate and its interval share.

    Parameters
    ----------
    estimate, low, high
        The numbers shown together.

    Returns
    -------
    int or None
        Decimals after the point: about four digits in all, and one more for a narrow interval.
        None for numbers that need powers of ten.

    Examples
    --------
    >>> decimals(0.62, 0.55, 0.69), decimals(41.0, 32.0, 50.0), decimals(3e-7, 1e-7, 4e-7)
    (3, 2, None)
    """
    largest = max(abs(estimate), abs(low), abs(high))
    if largest == 0:
        return 3
    if largest < 1e-3 or largest >= 1e5:
        return None
    usual = 3 if largest < 10 else max(0, 3 - math.floor(math.log10(largest)))
    width = high - low
    # One digit more where it tells the ends of a narrow interval apart; more would be false.
    return usual + 1 if 10**-usual <= width * 10 and width < 20 * 10**-usual else usual


def signed(value: float, places: int | None) -> str:
    """Format a number with its sign.

    Parameters
    ----------
    value
        The number.
    places
        Decimals, or None for powers of ten.

    Returns
    -------
    str
        e.g. `+0.620` or `-3.1e-07`.

    Examples
    --------
    >>> signed(0.62, 3), signed(-3.1e-7, None)
    ('+0.620', '-3.10e-07')
    """
    return f"{value:+.2e}" if places is None else f"{value:+.{places}f}"


def estimate_and_interval(estimate: float, interval: Interval) -> tuple[str, str]:
    """Format an estimate and its interval with the same decimals.

    Parameters
    ----------
    estimate
        The estimate.
    interval
        Its interval.

    Returns
    -------
    tuple of str
        The estimate, and `[low, high]`.

    Examples
    --------
    >>> estimate_and_interval(0.62, Interval(0.55, 0.69, 0.95))
    ('+0.620', '[+0.550, +0.690]')
    """
    places = decimals(estimate, interval.low, interval.high)
    low, high = signed(interval.low, places), signed(interval.high, places)
    return signed(estimate, places), f"[{low}, {high}]"


def interval_text(interval: Interval) -> str:
    """Format an interval alone.

    Parameters
    ----------
    interval
        The interval.

    Returns
    -------
    str
        `[low, high]`.

    Examples
    --------
    >>> interval_text(Interval(0.55, 0.69, 0.95))
    '[+0.550, +0.690]'
    """
    return estimate_and_interval(interval.low, interval)[1]


def plain(value: float) -> str:
    """Format a number that somebody wrote, such as a bound, as it was written.

    Parameters
    ----------
    value
        The number.

    Returns
    -------
    str
        The number with at most six digits.

    Examples
    --------
    >>> plain(0.5), plain(-4.0)
    ('0.5', '-4')
    """
    return f"{value:g}"


def bound_text(relation: str, bound: float, *, ascii_only: bool = False) -> str:
    """Format the bound of a claim with its relation.

    Parameters
    ----------
    relation
        `>`, `<` or `within`.
    bound
        The bound, or the margin of `within`.
    ascii_only
        Write `+-` for the plus-minus sign.

    Returns
    -------
    str
        e.g. `> 0.5` or `within ±0.1`.

    Examples
    --------
    >>> bound_text(">", 0.5), bound_text("within", 0.1)
    ('> 0.5', 'within ±0.1')
    """
    if relation == "within":
        return f"within {'+-' if ascii_only else '±'}{plain(bound)}"
    return f"{relation} {plain(bound)}"


def p_text(p: float) -> str:
    """Format a p-value: exact to three digits, never zero.

    Parameters
    ----------
    p
        The p-value.

    Returns
    -------
    str
        e.g. `0.0213` or `< 0.001`.

    Examples
    --------
    >>> p_text(0.02134), p_text(2e-5), p_text(1.0)
    ('0.0213', '< 0.001', '1.000')
    """
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if p < 0.1 else f"{p:.3f}"


def percent(level: float) -> str:
    """Format a level of confidence as a percentage without needless digits.

    Parameters
    ----------
    level
        The level, between 0 and 1.

    Returns
    -------
    str
        e.g. `95 %` or `99.58 %`.

    Examples
    --------
    >>> percent(0.95), percent(1 - 0.05 / 12)
    ('95 %', '99.58 %')
    """
    # Near 1 the digits after the nines are the ones that matter.
    places = 2 if level < 0.9999 else 4
    return f"{100 * level:.{places}f}".rstrip("0").rstrip(".") + " %"


def typeset(text: str) -> str:
    """Set minus signs as wide as plus signs, and keep numbers with their percent sign.

    Parameters
    ----------
    text
        Numbers, and words of ours between them.

    Returns
    -------
    str
        The text with U+2212 for each hyphen that is a minus, for pages and figures.

    Examples
    --------
    >>> typeset("[-0.7, +2e-07], template-wise")
    '[−0.7, +2e−07], template-wise'
    """
    text = re.sub(r"(?<![^\s\[(])-(?=\d)|(?<=\de)-(?=\d)", "−", text)
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def plural(number: int, noun: str) -> str:
    """Count things in words.

    Parameters
    ----------
    number
        How many.
    noun
        The noun in the singular.

    Returns
    -------
    str
        e.g. `1 claim` or `1,200 claims`.

    Examples
    --------
    >>> plural(1, "claim"), plural(1200, "claim"), plural(2, "hypothesis")
    ('1 claim', '1,200 claims', '2 hypotheses')
    """
    if number == 1:
        return f"1 {noun}"
    many = noun[:-2] + "es" if noun.endswith("sis") else f"{noun}s"
    return f"{number:,} {many}"
