"""A difference with a standard error, judged by Student's t."""

from __future__ import annotations

from dataclasses import dataclass

from causaltest.stats.distributions import t_quantile, t_survival


@dataclass(frozen=True)
class Student:
    """Evidence about a difference whose error is known from `df` degrees of freedom.

    Examples
    --------
    >>> found = Student(estimate=2.0, error=0.5, df=9)
    >>> found.p_above(0.0) < 0.025
    True
    """

    estimate: float
    error: float
    df: float

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the difference lies above the bound."""
        return t_survival((self.estimate - bound) / self.error, self.df)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the difference lies below the bound."""
        return t_survival((bound - self.estimate) / self.error, self.df)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence limits."""
        reach = t_quantile(self.df, alpha / 2.0) * self.error
        return self.estimate - reach, self.estimate + reach
