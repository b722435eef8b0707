"""Evidence where every unit has the same value, so that there is no spread to judge by."""

from __future__ import annotations

from dataclasses import dataclass

from causaltest.stats.distributions import SMALLEST


@dataclass(frozen=True)
class ExactValue:
    """All units agree to the numeric floor: the value itself decides, at the test's resolution.

    The interval is the value plus and minus the floor. A p-value is 1 / (resamples + 1), the
    smallest that the regular test could have given, or 1.
    """

    estimate: float
    floor: float
    resamples: int

    def p_above(self, bound: float) -> float:
        """P-value of the claim that the value lies above the bound."""
        return self._resolution if self.estimate - self.floor > bound else 1.0

    def p_below(self, bound: float) -> float:
        """P-value of the claim that the value does not lie above the bound."""
        return self._resolution if self.estimate + self.floor <= bound else 1.0

    def limits(self, alpha: float) -> tuple[float, float]:  # noqa: ARG002 - as all evidence
        """Give the value plus and minus the floor, whatever the level."""
        return self.estimate - self.floor, self.estimate + self.floor

    @property
    def _resolution(self) -> float:
        return 1.0 / (self.resamples + 1)


@dataclass(frozen=True)
class SameInAllUnits:
    """All n units have the same bounded value: others may exist that were not met.

    Of a share q of deviating units none is among n draws with probability (1 - q)^n. Deviating
    units lie at worst at `least` or `most`, which gives limits of non-zero width. For a rate of
    1 in every unit this is the Clopper-Pearson interval of n successes in n trials.
    """

    estimate: float
    n: int
    least: float
    most: float

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the mean lies above the bound."""
        return self._p(self.estimate - bound, self.estimate - self.least)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the mean lies below the bound."""
        return self._p(bound - self.estimate, self.most - self.estimate)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence limits with alpha / 2 on each side."""
        share = 1.0 - (alpha / 2.0) ** (1.0 / self.n)
        low = self.estimate - share * (self.estimate - self.least)
        return low, self.estimate + share * (self.most - self.estimate)

    def _p(self, distance: float, room: float) -> float:
        if distance <= 0.0:
            return 1.0
        # A share above 1 is out of reach: the bound lies beyond every possible value.
        share = min(distance / room, 1.0) if room > 0.0 else 1.0
        return max((1.0 - share) ** self.n, SMALLEST)
