"""Double dissociation and interaction: four effects, one claim."""

import numpy as np
import pytest

from causaltest.errors import EvidenceError, PairError
from causaltest.stats import Judge
from causaltest.stats.dissociation import double_dissociation, interaction, joint_over_sum


def noisy(effect_of, mean, seed, **more):
    """Return an effect around a mean."""
    return effect_of(np.random.default_rng(seed).normal(mean, 0.2, 30), **more)


@pytest.mark.parametrize(
    "own_a, a_on_b, b_on_a, own_b, name",
    [
        (1.0, 0.0, 0.0, 1.0, "supported"),
        (1.0, 0.9, 0.0, 1.0, "refuted"),
        (1.0, 0.0, -0.9, 1.0, "refuted"),
        (1.0, 0.0, 0.0, 0.1, "refuted"),
        (1.0, 0.2, 0.0, 1.0, "inconclusive"),
    ],
)
def test_all_four_cells_count(own_a, a_on_b, b_on_a, own_b, name, effect_of):
    """Harm to the other task refutes as surely as no harm to the own one."""
    cells = [noisy(effect_of, mean, i) for i, mean in enumerate((own_a, a_on_b, b_on_a, own_b))]
    assert double_dissociation(*cells, at_least=0.5, margin=0.2).name == name


def test_it_is_one_observed_claim(effect_of):
    """The session hears one verdict with four members."""
    seen = []
    judge = Judge(observe=seen.append)
    cells = [noisy(effect_of, mean, i, judge=judge) for i, mean in enumerate((1, 0, 0, 1))]
    claim = double_dissociation(*cells, at_least=0.5, margin=0.2)
    assert claim
    assert seen == [claim]
    assert len(claim.members) == 4
    assert claim.statement == "own effects > 0.5, others within ±0.2"


def test_margins_above_the_bound_are_refused(effect_of):
    """No effect may be both large enough and negligible."""
    cells = [noisy(effect_of, mean, i) for i, mean in enumerate((1, 0, 0, 1))]
    with pytest.raises(EvidenceError, match="no effect both counts and does not"):
        double_dissociation(*cells, at_least=0.2, margin=0.5)


def test_backups_show_as_interaction(effect_of):
    """Each head alone is backed up by the other; only together they matter."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1.0, 30)
    a = effect_of(0.1 + difficulty, subject="logit_diff of a")
    b = effect_of(0.1 - difficulty, subject="logit_diff of b")
    both = effect_of(1.0 + rng.normal(0, 0.1, 30), subject="logit_diff of both")
    found = interaction(both, a, b)
    assert found > 0.5
    assert found.values == pytest.approx(both.values - a.values - b.values)
    assert (found > 0.5).statement == "interaction in logit_diff > 0.5"
    assert found.subject == "interaction of logit_diff of a and logit_diff of b"
    assert joint_over_sum(both, a, b) == pytest.approx(both.estimate / 0.2)
    assert abs(interaction(a + b, a, b)) < 0.01


def test_interactions_need_the_same_pairs_and_two_parts(effect_of):
    """One part alone, or other pairs, are refused."""
    with pytest.raises(EvidenceError, match="at least two interventions alone, got 1"):
        interaction(noisy(effect_of, 1, 0), noisy(effect_of, 1, 1))
    with pytest.raises(PairError, match="same pairs on both sides"):
        interaction(noisy(effect_of, 1, 0), noisy(effect_of, 1, 1), effect_of([1.0] * 6))
