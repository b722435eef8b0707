"""Several effects of the same pairs, taken one by one: claims that all of them meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.columns import Columns
from causaltest.stats.columnwise import constant_columns, hull_p
from causaltest.stats.conjunction import JointVerdict, every
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.operands import bound_of
from causaltest.stats.shown import Shown
from causaltest.stats.significance import UnitTable, unit_table
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]

_SHOWN = 64


class Each:
    """Effects taken one by one: a claim about them holds where it holds for every one.

    Each is judged by the hull at the claim's own level (intersection-union); refutation pays for
    their number. Of more than sixty-four, the verdict keeps the ones nearest to deciding it.

    Parameters
    ----------
    values
        Pairs x effects.
    names
        One name per effect.
    columns
        The pairs, their units and their common denominators; its values are not looked at.
    subject, metric, floor, judge
        As for `Effect`.
    noun
        What each of them is: `cell`, `component`, `step`, ...
    """

    __array_ufunc__ = None

    def __init__(
        self,
        values: Floats,
        names: Sequence[str],
        *,
        columns: Columns,
        subject: str,
        metric: str,
        floor: float,
        judge: Judge | Callable[[], Judge],
        noun: str,
    ) -> None:
        self.values = values
        self.names = tuple(names)
        self._columns = columns
        self._subject = subject
        self._metric = metric
        self._floor = floor
        self._judge = judge
        self._noun = noun
        self.shown: tuple[Shown, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<{len(self)} {self._noun}s of {self._subject}, one by one>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self._noun}s have no truth value; compare them with a bound that each must meet, "
            "e.g. `> 0.1`, or `abs(...) < 0.1`"
        )

    def __gt__(self, bound: object) -> JointVerdict:
        number = bound_of(bound, f"a {self._noun}'s effect")
        if number is None:
            return NotImplemented
        return self._decide(lambda effect: effect > number, {number: 1.0}, f"> {number:g}")

    def __lt__(self, bound: object) -> JointVerdict:
        number = bound_of(bound, f"a {self._noun}'s effect")
        if number is None:
            return NotImplemented
        return self._decide(lambda effect: effect < number, {number: -1.0}, f"< {number:g}")

    def __abs__(self) -> EachMagnitude:
        return EachMagnitude(self)

    def within(self, margin: float) -> JointVerdict:
        """Claim that every one lies within the margin; the same as `abs(...) < margin`.

        Raises
        ------
        EvidenceError
            If the margin is not above the numeric floor.
        """
        if margin <= self._floor:
            raise EvidenceError(
                f"a margin of {margin:g} is not above the numeric floor {self._floor:.3g}\n"
                "name the largest effect that would still be negligible"
            )
        sides = {-margin: 1.0, margin: -1.0}
        return self._decide(lambda effect: abs(effect) < margin, sides, f"within ±{margin:g}")

    def one(self, index: int, judge: Judge | None = None) -> Effect:
        """Return one of them as an effect."""
        return Effect(
            self.values[:, index],
            scale=self._columns.scale,
            **self._columns.pairing,
            subject=f"{self._subject} at {self.names[index]}",
            metric=self._metric,
            floor=self._floor,
            judge=judge or self._judge,
        )

    @cached_property
    def table(self) -> UnitTable:
        """Unit means of all of them."""
        return unit_table(self.values, self._columns, floor=self._floor, subject=self._subject)

    def _decide(
        self, claim: Callable[[Effect], Verdict], sides: dict[float, float], told: str
    ) -> JointVerdict:
        hidden: list[str] = []

        def members(shared: Judge) -> list[Verdict]:
            shown = list(range(len(self)))
            if len(self) > _SHOWN:
                shown, missing = self._extremes(shared, sides)
                hidden.append(f"{missing} of {len(self)} {self._noun}s are not supported")
            return [claim(self.one(i, shared)) for i in shown]

        verdict = every(
            members,
            count=len(self),
            judge=self._judge,
            statement=f"every {self._metric or 'effect'} {told} ({self._those()})",
            subject=f"{self._subject} at {self._those()}",
        )
        notes = (*verdict.notes, *hidden)
        return replace(verdict, notes=notes, shown=self.shown, _asked=[False])

    def _those(self) -> str:
        return self.names[0] if len(self) == 1 else f"{len(self)} {self._noun}s"

    def _extremes(self, judge: Judge, sides: dict[float, float]) -> tuple[list[int], int]:
        """Find those with the largest p for and the smallest against; count the unsupported."""
        table = self.table
        support, refute = np.zeros(len(self)), np.ones(len(self))
        for bound, side in sides.items():
            at = side * table.floor / table.scale_mean if abs(bound) <= self._floor else bound
            z = side * table.shifted(at)
            constant = constant_columns(z, table.floor)
            found = np.where(z.mean(axis=0) > 0.0, 0.0, 1.0)
            above, below = found, 1.0 - found
            if not constant.all():
                above[~constant], below[~constant] = hull_p(
                    z[:, ~constant], resamples=judge.resamples, seed=judge.seed
                )
            support, refute = np.maximum(support, above), np.minimum(refute, below)
        worst = np.argsort(-support, kind="stable")[: _SHOWN // 2]
        against = np.argsort(refute, kind="stable")[: _SHOWN // 2]
        missing = int((support > judge.alpha_claim / 2.0).sum())
        return sorted({*worst.tolist(), *against.tolist()}), missing


class EachMagnitude:
    """`abs(...)` of several effects: can be claimed to lie below a margin, one by one."""

    __array_ufunc__ = None

    def __init__(self, each: Each) -> None:
        self._each = each

    def __lt__(self, margin: object) -> JointVerdict:
        number = bound_of(margin, "abs(...)")
        if number is None:
            return NotImplemented
        return self._each.within(number)

    def __bool__(self) -> NoReturn:
        raise TypeError("magnitudes have no truth value; compare them: `abs(...) < 0.1`")
