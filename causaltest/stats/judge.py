"""The levels at which a comparison is decided, and how many resamples and units they ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causaltest.errors import EvidenceError

if TYPE_CHECKING:
    from causaltest.stats.verdict import Verdict

FEWEST_RESAMPLES = 9_999
MOST_RESAMPLES = 3_999_999
"""Enough for five comparisons in each of 1,000 hypotheses at a family level of .05."""
MOST_FOR_PARTS = 399_999
"""To which comparisons in one claim may raise them; five may raise them fivefold in any case."""
FEWEST_UNITS = 5
"""Below five units no interval for a mean keeps its level on skewed data."""
ADVISED_UNITS = 10


@dataclass(frozen=True)
class Judge:
    """How a comparison is decided; the test session supplies it.

    Parameters
    ----------
    alpha
        Level of the run: the unadjusted interval covers 1 - alpha.
    alpha_claim
        Two-sided level that multiplicity leaves to this claim; the verdict is decided here.
    parts
        Comparisons in the claim. All must hold, so support keeps `alpha_claim`
        (intersection-union test); any may fail, so refutation gets `alpha_claim / parts`.
    seed
        Seed of the resamples, derived from the run's seed and the claim's name.
    observe
        Called once with each verdict whose truth is asked.

    Raises
    ------
    ValueError
        If a level lies outside (0, 1), `parts` is below 1 or `seed` is negative.

    Examples
    --------
    >>> Judge(alpha_claim=0.05 / 20).resamples
    15999
    """

    alpha: float = 0.05
    alpha_claim: float = 0.05
    parts: int = 1
    seed: int = 0
    observe: Callable[[Verdict], None] | None = None

    def __post_init__(self) -> None:
        for name, level in (("alpha", self.alpha), ("alpha_claim", self.alpha_claim)):
            if not 0.0 < level < 1.0:
                raise ValueError(f"{name} = {level!r}: expected a level between 0 and 1")
        if self.parts < 1:
            raise ValueError(f"parts = {self.parts!r}: a claim has at least one comparison")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed!r}: expected a non-negative whole number")

    @property
    def resamples(self) -> int:
        """Resamples that the levels of this judge ask for.

        Many comparisons in one claim do not multiply them without end: past a point a comparison
        can still be supported, but no longer refuted by the resamples alone.
        """
        check_resolution(self.alpha_claim)
        whole = resamples_asked(self.alpha, self.alpha_claim)
        asked = resamples_asked(self.alpha, self.alpha_claim / self.parts)
        return max(FEWEST_RESAMPLES, min(asked, max(5 * (whole + 1) - 1, MOST_FOR_PARTS)))


def resamples_asked(*levels: float) -> int:
    """Count the resamples B such that B + 1 is at least 40 over each level, a multiple of 40."""
    return 40 * math.ceil(1.0 / min(levels) - 1e-9) - 1


def units_advised(alpha: float) -> int:
    """Units below which a mean of skewed effects is decided wrongly too often for its level.

    From so many on, verdicts on exponential data that point away from the long tail and that are
    not doubted (`Verdict.doubt`) are wrong about twice as often as the level says at most. Read
    off simulations; see calibration check C39.

    Parameters
    ----------
    alpha
        Two-sided level at which a claim is decided.

    Examples
    --------
    >>> [units_advised(level) for level in (0.05, 0.01, 0.0025, 0.05 / 1000)]
    [10, 10, 23, 57]
    """
    return max(ADVISED_UNITS, math.ceil(20.0 * math.log10(1.0 / alpha) - 30.0))


def check_resolution(alpha_claim: float, *, parts: int = 1) -> None:
    """Refuse a level that resampling cannot resolve; call it before a model runs.

    Parameters
    ----------
    alpha_claim
        Two-sided level of one claim after the correction for its family.
    parts
        Comparisons in the claim.

    Raises
    ------
    EvidenceError
        If more than 3,999,999 resamples would be needed.

    Examples
    --------
    >>> check_resolution(0.05 / 1000)
    """
    asked = resamples_asked(alpha_claim / parts)
    if asked > MOST_RESAMPLES:
        raise EvidenceError(
            f"no verdict is possible at level {alpha_claim / parts:.3g}: it asks for {asked:,} "
            f"resamples, and {MOST_RESAMPLES:,} are the most that are drawn\n"
            f"a claim of {parts} comparison{'s' if parts > 1 else ''} needs a level of at least "
            f"{40 * parts / (MOST_RESAMPLES + 1):.3g}; put fewer hypotheses into one file, "
            "or give this one more weight"
        )
