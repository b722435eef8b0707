"""Levels, resamples and what is refused before a model runs."""

import re

import pytest

from causaltest.errors import EvidenceError
from causaltest.stats import Judge, check_resolution
from causaltest.stats.judge import MOST_RESAMPLES


@pytest.mark.parametrize("family", [1, 7, 12, 100, 1000])
@pytest.mark.parametrize("parts", [1, 3])
def test_resamples_follow_the_level(family, parts):
    """B + 1 is at least 40 over the smallest level decided at, a multiple of 40, 10,000 or more."""
    judge = Judge(alpha_claim=0.05 / family, parts=parts)
    assert judge.resamples + 1 >= max(10_000, 40 * family * parts / 0.05 - 1e-6)
    assert (judge.resamples + 1) % 40 == 0
    assert judge.resamples + 1 <= max(10_000, 40 * family * parts / 0.05 + 40)


def test_families_of_a_thousand_are_decided():
    """A thousand hypotheses of five comparisons each pass; a hundred thousand do not."""
    check_resolution(0.05 / 1000, parts=5)
    with pytest.raises(EvidenceError) as error:
        check_resolution(0.05 / 100_000)
    assert str(error.value) == (
        "no verdict is possible at level 5e-07: it asks for 79,999,999 resamples, and "
        f"{MOST_RESAMPLES:,} are the most that are drawn\n"
        "a claim of 1 comparison needs a level of at least 1e-05; put fewer hypotheses into one "
        "file, or give this one more weight"
    )


def test_a_comparison_at_too_small_a_level_is_refused(effect_of):
    """The same error meets whoever compares without asking first."""
    effect = effect_of([0.1, 0.2, 0.3, 0.4, 0.5], judge=Judge(alpha_claim=1e-8))
    with pytest.raises(EvidenceError, match="no verdict is possible at level 1e-08"):
        _ = effect > 0.0


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"alpha": 0.0}, "alpha = 0.0: expected a level between 0 and 1"),
        ({"alpha_claim": 5}, "alpha_claim = 5: expected a level between 0 and 1"),
        ({"parts": 0}, "parts = 0: a claim has at least one comparison"),
        ({"seed": -1}, "seed = -1: expected a non-negative whole number"),
    ],
)
def test_impossible_judges_are_refused(wrong, message):
    """A judge cannot be made with a level, a number of parts or a seed that makes no sense."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Judge(**wrong)
