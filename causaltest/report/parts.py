"""What a part of a claim is about: the part that decides, what it is counted in."""

from __future__ import annotations

from causaltest.records import Claim, Part
from causaltest.report.text import visible

# Metrics that are all shares of a total may stand on one axis.
_SCALES = {
    "recovery": "fraction",
    "accuracy": "fraction",
    "faithfulness": "fraction",
    "necessity": "fraction",
    "incompleteness": "fraction",
    "minimality": "fraction",
    "logit_diff": "logits",
}


def deciding_part(claim: Claim) -> Part | None:
    """Find the part whose numbers stand for the claim.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    Part or None
        The deciding part; the last part where none is named; None without parts.
    """
    if not claim.parts:
        return None
    return claim.parts[-1 if claim.deciding is None else claim.deciding]


def scale_of(part: Part) -> str:
    """Say what a part is counted in; things counted differently never share an axis.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        The part's `scale`, or the one its metric's name implies.
    """
    if part.scale:
        return part.scale
    metric = part.subject.lstrip("(|-").partition(" of ")[0].strip()
    return _SCALES.get(metric, metric) or "effect"


def counted(part: Part) -> str:
    """Name what a part's values are: pairs, or units where their means alone are kept.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        A noun in the singular.
    """
    means = len(part.values) == part.n_units < part.n_pairs
    return (visible(part.unit) or "unit") if means else "pair"
