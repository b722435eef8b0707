"""What a verdict rests on, in words."""

import pytest

from causaltest.records import Interval, Part
from causaltest.report.reasons import why


def part(p_refute, interval):
    """An inconclusive comparison with > 0.5."""
    return Part(
        statement="effect > 0.5", subject="effect", verdict="inconclusive", relation=">", bound=0.5,
        estimate=0.3, interval=interval, adjusted_interval=interval, p_support=0.9,
        p_refute=p_refute, alpha=0.05, n_pairs=20, n_units=20, unit="pair", method="hull",
        floor=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "p_refute, high, told",
    [
        (0.01, 0.4, "lies outside the claim, but not at the level left for refuting this"),
        (0.04, 0.6, "reaches across the bound"),
    ],
)
def test_an_interval_beyond_the_bound_does_not_reach_across_it(p_refute, high, told):
    """Several comparisons share the level of refutation, so one beyond may be inconclusive."""
    assert told in why(part(p_refute, Interval(low=0.1, high=high, level=0.95)))
