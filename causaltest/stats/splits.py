"""Discovery and confirmation: what was learned or chosen on some units is not judged on them."""

from __future__ import annotations

from collections.abc import Iterable

from causaltest.errors import EvidenceError


def check_unseen(used: Iterable[str], judged: Iterable[str], *, what: str, unit: str) -> None:
    """Refuse to judge something on units that it was fitted to or chosen on.

    Parameters
    ----------
    used
        Units (cluster labels, or pair ids where each pair is its own unit) that fitting, tuning
        or choosing has looked at.
    judged
        Units of the measurement that the claim is about.
    what
        What was fitted or chosen, e.g. `2 cells chosen by grid.significant()`.
    unit
        What the units are, e.g. `template`.

    Raises
    ------
    EvidenceError
        If the two have a unit in common.

    Examples
    --------
    >>> check_unseen(["a", "b"], ["c", "d"], what="an alignment", unit="template")
    """
    seen = sorted(set(used) & set(judged))
    if seen:
        count = f"{len(seen)} {unit}s were" if len(seen) != 1 else f"1 {unit} was"
        raise EvidenceError(
            f"{what} cannot be judged on the data it rests on: {count} used for it, e.g. "
            f"{seen[0]!r}\nsplit the pairs first (pairs.split(by=..., test=...)), fit or choose on "
            "one part and judge on the other"
        )
