"""Control over the hypotheses of a family: weighted Bonferroni and Holm, q-values."""

from __future__ import annotations

from collections.abc import Sequence


def bonferroni(alpha: float, weight: float, weights: Sequence[float]) -> float:
    """Share of a family's level that falls to one hypothesis.

    Parameters
    ----------
    alpha
        Level of the family.
    weight
        Weight of this hypothesis, positive.
    weights
        Weights of all hypotheses of the family, this one among them.

    Examples
    --------
    >>> round(bonferroni(0.05, 2.0, [2.0, 1.0, 1.0]), 6)
    0.025
    """
    if weight <= 0.0 or any(other <= 0.0 for other in weights):
        raise ValueError("weights of hypotheses are positive")
    return alpha * weight / sum(weights)


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Holm-adjusted p-values, weighted where weights are given, in the order given.

    Give either all `p_support` or all `p_refute` of a family and compare the result with half
    the family's two-sided level, as the unadjusted p-values are.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, section 4.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    m = len(p_values)
    shares = [1.0] * m if weights is None else list(weights)
    if len(shares) != m:
        raise ValueError(f"{m} p-values, but {len(shares)} weights")
    if any(share <= 0.0 for share in shares):
        raise ValueError("weights of hypotheses are positive")
    order = sorted(range(m), key=lambda i: p_values[i] / shares[i])
    adjusted = [1.0] * m
    left, highest = sum(shares), 0.0
    for i in order:
        highest = max(highest, min(1.0, p_values[i] / shares[i] * left))
        adjusted[i] = highest
        left -= shares[i]
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Q-values: the smallest false discovery rate at which each would count as a discovery.

    Source: Benjamini and Hochberg (1995), Controlling the false discovery rate, J. R. Stat.
    Soc. B 57. Valid under independence and positive regression dependence.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    m = len(p_values)
    q_values = [1.0] * m
    lowest = 1.0
    for rank, i in zip(range(m, 0, -1), sorted(range(m), key=lambda i: -p_values[i]), strict=True):
        lowest = min(lowest, p_values[i] * m / rank)
        q_values[i] = lowest
    return q_values
