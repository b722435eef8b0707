"""Claims of several comparisons: what all of them must show, and what one alone can refute."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causaltest.errors import EvidenceError, Inconclusive
from causaltest.stats import Judge
from causaltest.stats.conjunction import all_of, every, rejudged

VALUES = [0.9, 1.1, 0.7, 1.3, 1.0, 0.8, 1.2, 1.0, 0.95, 1.05, 0.85, 1.15]


def test_all_must_hold(effect_of):
    """Supported where each is, refuted where one is, else inconclusive."""
    effect = effect_of(VALUES)
    assert all_of(effect > 0.5, effect < 1.5)
    assert all_of(effect > 0.5, effect > 2.0).name == "refuted"
    assert not all_of(effect > 0.5, effect > 2.0)
    with pytest.raises(Inconclusive):
        assert all_of(effect > 0.5, effect > 1.0)


def test_the_words_name_what_does_not_hold(effect_of):
    """The explanation shows the deciding comparison and lists those that do not hold."""
    a, b = effect_of(VALUES, subject="logit_diff of a"), effect_of(VALUES, subject="recovery of b")
    lines = all_of(a > 0.5, b > 2.0, a < 1.0).explain()
    assert lines[0] == "refuted: 1.000 is not > 2"
    assert lines[1] == "recovery of b"
    assert lines[2] == "1 of 3 comparisons hold, not: recovery of b; logit_diff of a"
    assert len(lines) <= 5
    held = all_of(a > 0.5, b > 0.2)
    assert held.statement == "logit_diff > 0.5 and recovery > 0.2"
    assert held.explain()[2] == "all 2 comparisons hold; the weakest is shown"
    assert held.unsupported == ()


@settings(max_examples=30)
@given(st.lists(st.integers(-4, 12).map(lambda k: k / 4), min_size=1, max_size=5))
def test_p_values_combine(effect_of, bounds):
    """Support is the largest p, refutation the smallest times their number; order is no matter."""
    effect = effect_of(VALUES)
    parts = [effect > bound for bound in bounds]
    found, turned = all_of(*parts), all_of(*reversed(parts))
    assert found.p_support == max(each.p_support for each in parts)
    assert found.p_refute == min(1.0, len(parts) * min(each.p_refute for each in parts))
    assert (found.name, found.p_support, found.estimate) == (
        turned.name,
        turned.p_support,
        turned.estimate,
    )
    assert (found.name == "supported") == all(each.name == "supported" for each in parts)


def test_one_observation_for_the_claim(effect_of):
    """The session hears of the claim, not of its comparisons, and once."""
    seen = []
    effect = effect_of(VALUES, judge=Judge(observe=seen.append))
    claim = all_of(effect > 0.5, effect < 1.5)
    assert claim
    assert claim
    assert seen == [claim]
    failing, holding = effect > 2.0, effect > 0.5
    refuted = all_of(holding, failing)
    assert not refuted
    # A failed assertion is explained by asking its parts: they are not claims of their own.
    assert not failing
    assert seen == [claim, refuted]


def test_refutation_pays_for_the_number_of_comparisons(effect_of):
    """A comparison refuted alone at .05 is not refuted as one of ten."""
    effect = effect_of([value - 0.96 + 0.02 * i for i, value in enumerate(VALUES)])
    bound = effect.interval.high + 1e-3
    assert (effect > bound).name == "refuted"
    assert all_of(*[effect > bound] * 10).name == "inconclusive"


def test_resamples_follow_the_number_of_comparisons(effect_of):
    """A claim built of 300 comparisons can be refuted: it takes the resamples for it."""
    effect = effect_of(VALUES)
    verdict = every(
        lambda shared: [rejudged(effect, shared) > 3.0],
        count=300,
        judge=Judge(),
        statement="all above 3",
        subject="300 effects",
    )
    assert "239,999 resamples" in verdict.method
    assert verdict.name == "refuted"
    assert verdict.parts == 1


def test_nothing_to_combine():
    """An empty claim is refused."""
    with pytest.raises(EvidenceError, match="combines comparisons"):
        all_of()
