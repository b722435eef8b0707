"""Counterexamples and rates of violations: a search refutes, only draws support."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from causaltest.errors import EvidenceError, Inconclusive
from causaltest.stats import Judge
from causaltest.stats.falsification import Search, draws_needed, rate_of_draws

SUBJECT = "logits unchanged by a trailing space"


@given(st.floats(1e-4, 0.9), st.sampled_from([0.05, 0.01, 0.001]))
def test_draws_needed_are_the_fewest(rate, alpha):
    """With that many draws and no violation scipy's exact test reaches the level, not with less."""
    n = draws_needed(rate, alpha)
    assert stats.binomtest(0, n, rate, "less").pvalue <= alpha / 2 * (1 + 1e-9)
    if n > 1:
        assert stats.binomtest(0, n - 1, rate, "less").pvalue > alpha / 2 * (1 - 1e-9)


def test_draws_decide_a_rate():
    """Seventy-two draws without violation support a rate below 5 %, seventy-one do not."""
    assert rate_of_draws([0] * 72, subject=SUBJECT, generator="g") < 0.05
    assert (rate_of_draws([0] * 71, subject=SUBJECT, generator="g") < 0.05).name == "inconclusive"
    many = rate_of_draws([1] * 20 + [0] * 80, subject=SUBJECT, generator="prompts, seed 3")
    verdict = many < 0.05
    assert verdict.name == "refuted"
    assert verdict.subject == f"violations of {SUBJECT}"
    assert verdict.pair_set == ("prompts, seed 3", "")
    theirs = stats.binomtest(20, 100).proportion_ci(0.95, "exact")
    assert (verdict.interval.low, verdict.interval.high) == pytest.approx((theirs.low, theirs.high))


def test_a_search_never_supports():
    """Without a counterexample the claim stays open, and says how long was searched."""
    seen = []
    verdict = Search(1_000, SUBJECT, judge=Judge(observe=seen.append)).verdict()
    with pytest.raises(Inconclusive) as caught:
        bool(verdict)
    assert str(caught.value).splitlines() == [
        "not falsified in 1,000 examples",
        SUBJECT,
        "a search shows no rate: draw independently (rate_of_draws) to bound it",
    ]
    assert seen == [verdict]
    assert verdict.p_support == 1.0


def test_one_counterexample_refutes():
    """The shrunk example is part of the verdict."""
    verdict = Search(17, SUBJECT, counterexample="'When Mary ' moves by 0.3").verdict()
    assert not verdict
    assert verdict.explain() == [
        "falsified within 17 examples",
        SUBJECT,
        "counterexample: 'When Mary ' moves by 0.3",
    ]


def test_refusals():
    """Impossible rates and searches that did not run are refused."""
    with pytest.raises(EvidenceError, match="between 0 and 1, the bound is 1"):
        draws_needed(1.0)
    with pytest.raises(EvidenceError, match="no example was tried, so nothing was tested"):
        Search(0, SUBJECT)
