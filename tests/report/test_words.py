"""Sentences of the report that rest on numbers."""

import msgspec
import pytest

from causaltest.records import Interval, Part
from causaltest.report import words
from causaltest.report.strip import strip
from causaltest.report.words import why


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


def test_means_of_units_are_not_called_pairs(sample):
    """Where only unit means are kept, the values are units; one value a pair are pairs."""
    part = sample.claims[0].parts[0]
    assert words.counted(part) == "pair"
    means = msgspec.structs.replace(part, values=part.values[:12], units=part.units[::2])
    assert words.counted(means) == "template"
    assert strip(means).title.startswith("12 templates of recovery")
    alone = msgspec.structs.replace(part, n_units=24)
    assert words.counted(alone) == "pair"
