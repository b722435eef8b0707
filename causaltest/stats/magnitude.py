"""The absolute value of an effect, which can be claimed to be negligible."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from causaltest.errors import EvidenceError
from causaltest.stats.decision import Region
from causaltest.stats.operands import bound_of
from causaltest.stats.verdict import Verdict

if TYPE_CHECKING:
    from causaltest.stats.measured import Measured


class Magnitude:
    """`abs(effect)`: can be claimed to lie below a margin, and nothing else."""

    __array_ufunc__ = None

    def __init__(
        self, measured: Measured, name: str, decide: Callable[[Region, float, str], Verdict]
    ) -> None:
        self._measured = measured
        self._name = name
        self._decide = decide

    def __repr__(self) -> str:
        return f"abs({self._measured!r})"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "abs(effect) has no truth value; compare it with a margin, "
            "e.g. `assert abs(effect) < 0.1`"
        )

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("abs(effect) never equals a value exactly; claim `abs(effect) < 0.1`")

    __hash__ = object.__hash__

    def __lt__(self, margin: object) -> Verdict:
        bound = bound_of(margin, "abs(effect)")
        if bound is None:
            return NotImplemented
        floor = self._measured.floor
        if bound <= floor:
            told = f"the numeric floor {floor:.3g}" if floor else "0"
            raise EvidenceError(
                f"abs(effect) < {bound:g} cannot be decided: the margin is not above {told}\n"
                "name the largest effect that would still be negligible"
            )
        statement = f"-{bound:g} < {self._name} < {bound:g}"
        return self._decide(Region(-bound, bound), bound, statement)

    def __gt__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`abs(effect) > margin` does not say which way; "
            "name the direction: `effect > margin` or `effect < -margin`"
        )

    def __ge__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`abs(effect) >= margin` does not say which way; "
            "name the direction: `effect > margin` or `effect < -margin`"
        )

    def __le__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`abs(effect) <= margin` cannot be claimed, since data cannot tell it from `<`; "
            "write `abs(effect) < margin`"
        )
