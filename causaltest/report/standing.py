"""What stands beside the word of a verdict: its mark, and what was expected."""

from __future__ import annotations

from causaltest.records import Claim, VerdictName
from causaltest.report.numbers import p_text

MARKS: dict[VerdictName, str] = {
    "supported": "✓",
    "refuted": "✗",
    "inconclusive": "?",
    "exploratory": "~",
    "error": "!",
    "not run": "–",
}
"""The sign that stands beside the word of each verdict, never instead of it."""


def expectation(claim: Claim) -> str:
    """Say how the verdict compares with the one the test announces, where that is not supported.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        e.g. `refuted, as expected`; empty for claims that expect to be supported.
    """
    if claim.expected == "supported":
        return ""
    if claim.expected == claim.verdict:
        return f"{claim.verdict}, as expected"
    return f"expected {claim.expected}"


def standing(claim: Claim) -> str:
    """Say what a reader must know beside a claim's verdict.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        What was expected, whether it was registered after the fact or changed, or an exploratory
        claim's q-value; empty for most claims.
    """
    if claim.verdict != "exploratory":
        frozen = claim.registration if claim.registration in ("post-hoc", "changed") else ""
        return "; ".join(text for text in (expectation(claim), frozen) if text)
    if claim.q_value is None:
        return "exploratory"
    return f"exploratory, q = {p_text(claim.q_value)}".replace("= <", "<")


def p_shown(claim: Claim) -> str:
    """Write the adjusted p of a claim, or the q of an exploratory one.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        A dash where it has neither.
    """
    if claim.q_value is not None:
        return f"q {p_text(claim.q_value)}"
    return "–" if claim.p_adjusted is None else p_text(claim.p_adjusted)
