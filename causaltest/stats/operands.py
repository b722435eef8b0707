"""What may stand beside a measurement: bounds are read, everything else is refused with words."""

from __future__ import annotations

import math
import numbers

from causaltest.errors import EvidenceError


def bound_of(other: object, kind: str) -> float | None:
    """Read a bound; None leaves the comparison to the other operand.

    Raises
    ------
    EvidenceError
        If the bound is not finite.
    TypeError
        If it is no number.
    """
    if not isinstance(other, bool) and isinstance(other, numbers.Real):
        bound = float(other)
        if not math.isfinite(bound):
            raise EvidenceError(
                f"the bound is {bound}; {article(kind)} compares with a finite number"
            )
        return bound
    if _everyday(other):
        raise TypeError(
            f"{article(kind)} compares with a number or with another measurement of the same "
            f"pairs, not with {type(other).__name__} {str(other)[:40]!r}"
        )
    return None


def refuse_sum(other: object, kind: str) -> None:
    """Refuse to add or subtract everyday values, with words.

    Raises
    ------
    TypeError
        If `other` is a number, a string, an array or the like.
    """
    if _everyday(other):
        raise TypeError(
            f"{article(kind)} and {article(type(other).__name__)} do not add up; "
            "put numbers into the bound, e.g. `assert a - b > 0.1`"
        )


def metric_of(subject: str) -> str:
    """Read the metric off a subject such as `recovery of interchange(...)`."""
    metric, of, _ = subject.partition(" of ")
    return metric if of else ""


def article(kind: str) -> str:
    """Return a noun with its article; a call, such as abs(effect), needs none."""
    if "(" in kind:
        return kind
    return f"an {kind}" if kind[0] in "aeiAEI" else f"a {kind}"


def _everyday(other: object) -> bool:
    """Whether a class can know nothing about effects; others may bring their own comparison."""
    return type(other).__module__.partition(".")[0] in {"builtins", "numpy", "torch"}
