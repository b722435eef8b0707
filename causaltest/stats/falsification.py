"""Searching for counterexamples, and rates of violations in independent draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from causaltest.errors import EvidenceError
from causaltest.stats.distributions import SMALLEST
from causaltest.stats.judge import Judge
from causaltest.stats.rate import Rate
from causaltest.stats.verdict import Interval, Sizes, Verdict


def draws_needed(rate: float, alpha: float = 0.05) -> int:
    """Count the independent draws without violation that show a rate to lie below a bound.

    (1 - rate)^n <= alpha / 2, as one side of a two-sided level.

    Parameters
    ----------
    rate
        Bound on the rate of violations, between 0 and 1.
    alpha
        Two-sided level of the claim.

    Raises
    ------
    EvidenceError
        If the rate is not between 0 and 1.

    Examples
    --------
    >>> [draws_needed(rate) for rate in (0.05, 0.01, 0.001)]
    [72, 368, 3688]
    """
    if not 0.0 < rate < 1.0:
        raise EvidenceError(f"a rate of violations lies between 0 and 1, the bound is {rate:g}")
    n = math.ceil(math.log(alpha / 2.0) / math.log1p(-rate) - 1e-9)
    # Rounding of logarithms must not give a draw too few.
    return n if (1.0 - rate) ** n <= alpha / 2.0 * (1.0 + 1e-12) else n + 1


def rate_of_draws(
    violated: ArrayLike,
    *,
    subject: str,
    generator: str,
    judge: Judge | Callable[[], Judge] = Judge,
) -> Rate:
    """Make a rate of violations from independent draws of a declared generator.

    Claim `rate < q`: it is decided by the exact binomial test. Draws of a property-testing search
    are no such draws (they favour small and odd values, and never repeat); use `Search`.

    Parameters
    ----------
    violated
        1 where the property was violated, 0 where it held; in the order drawn.
    subject
        What was tested, e.g. `logits unchanged by a trailing space`.
    generator
        What the draws come from, with its seed; the claim is about this distribution.
    judge
        As for `Effect`.

    Examples
    --------
    >>> rate = rate_of_draws([0] * 72, subject="same answer", generator="prompts, seed 0")
    >>> bool(rate < 0.05)
    True
    """
    values: list[float] = np.asarray(violated, dtype=np.float64).ravel().tolist()
    labels = tuple(f"draw {i}" for i in range(len(values)))
    return Rate(
        values,
        units=labels,
        unit="draw",
        pair_ids=labels,
        pair_set=(generator, ""),
        subject=f"violations of {subject}",
        judge=judge,
    )


@dataclass(frozen=True, eq=False, repr=False)
class SearchVerdict(Verdict):
    """What a search says: refuted by one example, or not falsified; never supported."""

    def explain(self) -> list[str]:
        """Say what was found."""
        return [self.statement, self.subject, *self.notes][:5]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.statement}>"


@dataclass(frozen=True)
class Search:
    """A search for a counterexample, e.g. by a property-testing library.

    Parameters
    ----------
    examples
        Number of examples tried.
    subject
        What was tested.
    counterexample
        The example found, shrunk, in words; None where none was found.
    judge
        As for `Effect`.

    Raises
    ------
    EvidenceError
        If no example was tried.

    Examples
    --------
    >>> Search(200, subject="logits unchanged by a trailing space").verdict()
    <inconclusive: not falsified in 200 examples>
    """

    examples: int
    subject: str
    counterexample: str | None = None
    judge: Judge | Callable[[], Judge] = Judge

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise EvidenceError(f"{self.subject}: no example was tried, so nothing was tested")

    def verdict(self) -> SearchVerdict:
        """Refuted with the counterexample, else inconclusive: a search is no sample."""
        now = self.judge if isinstance(self.judge, Judge) else self.judge()
        found = self.counterexample is not None
        count = f"{self.examples:,} example{'s' if self.examples != 1 else ''}"
        statement = f"falsified within {count}" if found else f"not falsified in {count}"
        note = (
            f"counterexample: {self.counterexample}"
            if found
            else "a search shows no rate: draw independently (rate_of_draws) to bound it"
        )
        values = (1.0,) if found else (0.0,)
        return SearchVerdict(
            name="refuted" if found else "inconclusive",
            statement=statement,
            subject=self.subject,
            relation="<",
            bound=0.0,
            # Counterexamples found; nothing is known of their rate.
            estimate=values[0],
            interval=Interval(0.0, 1.0, 1.0 - now.alpha),
            adjusted_interval=Interval(0.0, 1.0, 1.0 - now.alpha_claim),
            p_support=1.0,
            p_refute=SMALLEST if found else 1.0,
            alpha_claim=now.alpha_claim,
            n_pairs=self.examples,
            n_units=self.examples,
            unit="example",
            method=f"search over {count}",
            floor=0.0,
            pairs_needed=None,
            sizes=Sizes(),
            values=values,
            units=("search",),
            pair_ids=("search",),
            pair_set=("", ""),
            notes=(note,),
            over=f"search over {count}",
            parts=now.parts,
            _observe=now.observe,
        )
