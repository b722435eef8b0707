"""A hypothesis while it runs: what it asked so far, and at what level it is judged."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from causaltest.plugin import source
from causaltest.plugin.source import Span

if TYPE_CHECKING:
    from causaltest.experiment import Causal
    from causaltest.records import VerdictName
    from causaltest.registration import Status
    from causaltest.stats import Verdict

_NOTHING_LEFT = 1_000_000
"""More shares than any resamples resolve."""


@dataclass
class Hearing:
    """One hypothesis while it runs.

    Parameters
    ----------
    alpha
        Level at which it is decided.
    comparisons
        Comparisons written in its asserts.
    loops
        Whether an assert stands in a loop, so that their number is not known beforehand.
    seed
        Seed of its resamples.
    family_size
        Hypotheses in its family.
    passed_on
        How many times larger its level is than without what its gates passed on.
    causal
        The instrument it measures with; None where a suite brings its own.
    code
        The body of its test; None where it is not known.
    verdicts
        Verdicts whose truth was asked, in order.
    """

    alpha: float
    comparisons: int
    loops: bool
    seed: int
    family_size: int
    causal: Causal | None
    passed_on: float = 1.0
    code: types.CodeType | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    name: VerdictName = "not run"
    deciding: int | None = None
    error: str = ""
    status: Status | None = None
    """How the claim stands to the lock file, where there is one."""

    _places: list[tuple[Span | None, int | None]] = field(default_factory=list)
    """Of the test: where each verdict was made, and the line it was asked from, if it can be told.
    """

    def listener(self) -> Callable[[Verdict], None]:
        """Return what takes in the verdict of the comparison that is made right now."""
        here = self._frame()
        made = None if here is None else source.span_at(here.f_code, here.f_lasti)

        def hear(verdict: Verdict) -> None:
            asking = self._frame()
            self.verdicts.append(verdict)
            self._places.append((made, None if asking is None else asking.f_lineno))

        return hear

    def _frame(self) -> types.FrameType | None:
        """Return the frame of the test."""
        frame = sys._getframe(1)  # noqa: SLF001 - as logging finds who called
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return frame

    def asked_in(self, alternative: source.Alternative) -> bool:
        """Whether a verdict is one alternative of several, or may be.

        One that is made beside them, in the same assert, is none.
        """
        whole = alternative.whole
        return any(
            any(part.holds(made) for part in alternative.parts)
            if made is not None and whole.holds(made)
            else line is None or whole.start[0] <= line <= whole.end[0]
            for made, line in self._places
        )

    @property
    def parts(self) -> int:
        """Share of the error rate for refuting the comparison asked next: one in so many.

        What gates pass on is for support only: a gate that is true is not used up by its own
        support, so that refutations of its dependants would come on top of its own.
        """
        return math.ceil(self.shares(len(self.verdicts)) * self.passed_on - 1e-9)

    def shares(self, index: int) -> float:
        """Return in how many shares the error rate is cut for one comparison to get one.

        Of comparisons whose number is known, each gets an equal share. Else the j-th gets
        6 / (pi j)^2, which add up to 1 however many there are. One that is asked beyond those
        that are written finds nothing left: it can be supported, but refuted by certainty only.
        """
        if self.loops:
            return math.pi**2 / 6 * (index + 1) ** 2
        return self.comparisons if index < self.comparisons else _NOTHING_LEFT
