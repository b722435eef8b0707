"""Adjusted p-values of refuted claims, with gates and without."""

from __future__ import annotations

import pytest

from causaltest.plugin.results import adjusted
from causaltest.records import Claim, Interval, Part

ONE = Interval(low=0.0, high=1.0, level=0.95)


def claim(name, verdict, p_refute, *, alpha=0.01, requires=(), family_size=3):
    """A claim of one part."""
    part = Part(
        statement="effect > 0.5", subject="effect", verdict=verdict, relation=">", bound=0.5,
        estimate=0.2, interval=ONE, adjusted_interval=ONE, p_support=1 - p_refute,
        p_refute=p_refute, alpha=alpha, n_pairs=20, n_units=20, unit="pair", method="hull",
        floor=0.0,
    )  # fmt: skip
    return Claim(
        id=name, claim=name, file="f.py", line=1, verdict=verdict, expected=verdict,
        outcome="passed", parts=(part,), deciding=0, family="f.py", family_size=family_size,
        p_support=1 - p_refute, p_refute=p_refute, requires=requires,
    )  # fmt: skip


def test_refuted_claims_behind_gates_are_adjusted_by_holm():
    """By weight alone, since gates pass nothing on to refutations: 3p, then 2p, then p."""
    claims = [
        claim("gate", "supported", 0.9, alpha=0.05),
        claim("a", "refuted", 0.001, alpha=0.025, requires=("gate",)),
        claim("b", "refuted", 0.004, alpha=0.025, requires=("gate",)),
    ]
    found = {each.id: each.p_adjusted for each in adjusted(claims, 0.05)}
    assert found["a"] == pytest.approx(3 * 0.001)
    assert found["b"] == pytest.approx(2 * 0.004)


def test_weights_count_and_so_do_hypotheses_that_were_not_run():
    """A hypothesis of half the level pays p / w * sum(w); one left out counts as p = 1."""
    gated = claim("a", "refuted", 0.001, alpha=0.05, requires=("gate",), family_size=2)
    (alone,) = adjusted([gated], 0.05, {"a": 0.25, "gate": 0.75})
    # The one not run takes the mean weight of those that did: 0.25 + 0.25 over 0.25.
    assert alone.p_adjusted == pytest.approx(0.002)
    both = adjusted(
        [claim("gate", "supported", 0.9, family_size=2), gated], 0.05, {"a": 0.25, "gate": 0.75}
    )
    assert both[1].p_adjusted == pytest.approx(0.004)


def test_without_a_correction_gates_pass_nothing_on():
    """Holm says what would have survived a correction: 2p, then p, also behind a gate."""
    claims = [
        claim("gate", "supported", 1 - 0.02, alpha=0.05, family_size=2),
        claim("a", "supported", 1 - 0.01, alpha=0.05, requires=("gate",), family_size=2),
    ]
    found = adjusted(claims, 0.05, {"gate": 0.5, "a": 0.5}, gated=False)
    assert [each.p_adjusted for each in found] == [pytest.approx(0.02), pytest.approx(0.02)]
    weighted = adjusted(claims, 0.05, {"gate": 0.8, "a": 0.2}, gated=False)
    assert [each.p_adjusted for each in weighted] == [pytest.approx(0.025), pytest.approx(0.025)]
