"""P-values of placebos: the test of the claims, on what nothing is claimed of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causaltest.stats import Controls, Effect
from causaltest.stats.placebos import placebo_p

NAMES = [f"pair {i}" for i in range(24)]
TEMPLATES = [f"t{i % 12}" for i in range(24)]


def test_they_are_those_of_the_difference_from_the_others():
    """On normal data they are a little above those of a t-test on the same differences."""
    values = np.random.default_rng(3).normal(0.0, 1.0, (24, 8))
    found = placebo_p(values, NAMES, NAMES)
    oracle = sorted(
        stats.ttest_1samp(
            values[:, k] - np.delete(values, k, axis=1).mean(axis=1), 0.0, alternative="greater"
        ).pvalue
        for k in range(8)
    )
    assert all(p >= t - 1e-12 for p, t in zip(found, oracle, strict=True))
    assert np.allclose(found, oracle, atol=0.03)


def test_units_are_averaged_first():
    """Twelve templates of two pairs each are twelve values, as for the claim."""
    values = np.random.default_rng(4).normal(0.0, 1.0, (24, 6))
    means = (values[:12] + values[12:]) / 2.0
    names = sorted(f"t{i}" for i in range(12))
    order = [int(name[1:]) for name in names]
    alone = placebo_p(means[order], names, names)
    assert placebo_p(values, TEMPLATES, NAMES) == pytest.approx(alone)


def test_the_other_direction_has_the_other_p_values():
    """Both directions add up to 1 or a little more, placebo by placebo."""
    values = np.random.default_rng(5).normal(0.0, 1.0, (24, 9))
    up = placebo_p(values, NAMES, NAMES)
    down = placebo_p(values, NAMES, NAMES, upwards=False)
    turned = placebo_p(-values, NAMES, NAMES)
    assert down == pytest.approx(turned, abs=0.02)
    assert all(1.0 - 1e-9 <= a + b <= 1.08 for a, b in zip(up, reversed(down), strict=True))


def ends(rng, spread: float, times: int) -> float:
    """Share of p-values below .05 or above .95, of placebos whose true effects have this spread."""
    found: list[float] = []
    for _ in range(times):
        sites = rng.normal(0.0, spread, 10)
        found += placebo_p(rng.normal(0.0, 1.0, (50, 10)) + sites, range_names(50), range_names(50))
    return float(np.mean([p < 0.05 or p > 0.95 for p in found]))


def range_names(count: int) -> list[str]:
    """Name so many pairs."""
    return [f"p{i}" for i in range(count)]


def test_they_are_uniform_for_placebos_that_are_alike_and_pile_up_for_others():
    """A tenth lies in the outer tenth; where sites differ by .3 of the noise, two fifths do."""
    rng = np.random.default_rng(6)
    assert 0.07 <= ends(rng, 0.0, 200) <= 0.1 + 2 * (0.1 * 0.9 / 2000) ** 0.5
    assert ends(rng, 0.3, 60) > 0.3


def test_what_cannot_be_told_has_no_p_value():
    """Placebos that equal the others within the floor, four units, or two placebos."""
    values = np.random.default_rng(7).normal(0.0, 1.0, (24, 3))
    same = np.tile(values[:, :1], (1, 5))
    assert placebo_p(same, NAMES, NAMES) == ()
    assert placebo_p(same + 1e-9 * values[:, :1], NAMES, NAMES, floor=1e-6) == ()
    assert placebo_p(values[:4], NAMES[:4], NAMES[:4]) == ()
    assert placebo_p(values[:, :2], NAMES, NAMES) == ()


def test_a_claim_beside_controls_carries_them():
    """They come with the comparison, in its direction, whatever the order of the pairs."""
    rng = np.random.default_rng(8)
    draws = rng.normal(0.0, 1.0, (39, 24))

    def effect(values, order=range(24)):
        return Effect(
            [values[i] for i in order],
            units=[TEMPLATES[i] for i in order],
            pair_ids=[NAMES[i] for i in order],
            unit="template",
        )

    mixed = rng.permutation(24).tolist()
    controls = Controls([effect(each, mixed) for each in draws])
    subject = effect(rng.normal(3.0, 1.0, 24))
    (above,) = (subject > controls).shown
    (below,) = (subject < controls).shown
    assert len(above.placebo_p) == 39
    assert above.placebo_p == pytest.approx(
        placebo_p(draws.T, TEMPLATES, NAMES, seed=subject.judge.seed)
    )
    assert below.placebo_p == pytest.approx(
        placebo_p(draws.T, TEMPLATES, NAMES, upwards=False, seed=subject.judge.seed)
    )
