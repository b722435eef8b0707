"""Dose-response on the default model and on one whose curve is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from causaltest import Causal, Model, Pairs, interchange, logit_diff, noise, recovery
from causaltest.errors import EvidenceError, InterventionError, MetricError
from causaltest.interventions import add, subtract
from causaltest.pairs import Pair
from causaltest.sites import block_output, module

ROOT = Path(__file__).resolve().parents[1]
EMBEDDING = module("0", pos="end")
VECTOR = [2.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def toy() -> Causal:
    """A network whose logits are its embedding: adding a vector adds it to the logits."""
    return Causal(torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(3))))


@pytest.fixture(scope="module")
def six() -> Pairs:
    """Six pairs, each its own unit."""
    return Pairs(
        [
            Pair((i % 2, i // 2), base_answer=0, source_answer=1, id=f"p{i}")
            for i in range(6)
        ],
        name="six",
        cluster=None,
    )  # fmt: skip


def test_each_value_is_the_change_that_effect_measures(toy, six):
    """Column by column the curve equals effects measured one by one; dose 0 is the base run."""
    curve = toy.dose_response(add(EMBEDDING, VECTOR), [4, 0, 1], on=six)
    assert curve.doses == (0.0, 1.0, 4.0)
    np.testing.assert_array_equal(curve.values[:, 0], np.zeros(6))
    for column, dose in ((1, 1.0), (2, 4.0)):
        one = toy.effect(add(EMBEDDING, VECTOR, scale=dose), on=six)
        np.testing.assert_array_equal(curve.values[:, column], one.values)
    # The logit of the base answer rises by 2 for each unit of dose, by hand.
    assert curve.slope.estimate == pytest.approx(2.0)


def test_subtract_and_functions_are_dosed_too(toy, six):
    """Subtracting falls as adding rises; a function says what a dose is, None leaves the run."""
    falling = toy.dose_response(subtract(EMBEDDING, VECTOR), [0, 1, 2], on=six)
    assert falling.slope.estimate == pytest.approx(-2.0)
    rising = toy.dose_response(
        lambda dose: add(EMBEDDING, [dose, 0.0, 0.0]) if dose else None, [0, 1, 2], on=six
    )
    assert rising.slope.estimate == pytest.approx(1.0)
    assert bool(rising.is_monotone(margin=0.1))
    assert rising.slope.metric == "slope of logit_diff"


def test_what_the_numbers_are_counted_in_is_noted(toy, six):
    """Report axes name logits for the curve and logits per dose for its slope."""
    curve = toy.dose_response(add(EMBEDDING, VECTOR), [0, 1, 2], on=six)
    assert toy.trail.unit_of(curve.slope.subject) == "logits per unit of dose"
    assert toy.trail.unit_of(curve.total.subject) == "logits"


@pytest.mark.parametrize(
    "doses, message",
    [
        ([0, 1], r"2 doses \(0, 1\) make no curve; at least 3 are needed"),
        ([], r"0 doses \(none\) make no curve"),
        ([0, 1, 1, 2], "dose 1 is given twice; each dose is measured once, so take it out"),
        ([0, 1, math.nan], r"a dose is nan; expected finite numbers, e\.g\. doses=\[0, 1, 2, 4\]"),
        ([0, 1, math.inf], "a dose is inf; expected finite numbers"),
        ([0, 1, "2"], "a dose is '2'; expected finite numbers"),
        ([0, 1, True], "a dose is True; expected finite numbers"),
    ],
)
def test_wrong_doses_are_refused(toy, six, doses, message):
    """Too few, twice the same, not finite, no numbers."""
    with pytest.raises(InterventionError, match=message):
        toy.dose_response(add(EMBEDDING, VECTOR), doses, on=six)


def test_what_has_no_dose_is_refused(toy, six):
    """An interchange has no strength; a function must give interventions; shares make no curve."""
    with pytest.raises(InterventionError, match=r"has no strength to vary; give add\(\.\.\.\)"):
        toy.dose_response(interchange(EMBEDDING), [0, 1, 2], on=six)
    with pytest.raises(InterventionError, match=r"expected an intervention such as add.*got 3"):
        toy.dose_response(3, [0, 1, 2], on=six)
    with pytest.raises(InterventionError, match=r"doses gave 0\.0 \(float\) for dose 0; expected"):
        toy.dose_response(lambda dose: dose, [0, 1, 2], on=six)
    with pytest.raises(MetricError, match="recovery is a share of the total effect"):
        toy.dose_response(add(EMBEDDING, VECTOR), [0, 1, 2], on=six, metric=recovery)
    with pytest.raises(InterventionError, match="changed no activation in any of 6 runs"):
        toy.dose_response(lambda _: add(EMBEDDING, [0.0, 0.0, 0.0]), [0, 1, 2], on=six)
    curve = toy.dose_response(add(EMBEDDING, VECTOR), [0, 1, 2], on=six)
    with pytest.raises(EvidenceError, match="is not above the numeric floor of a step"):
        curve.is_monotone(margin=0.0)


def test_a_steering_vector_of_the_default_model_has_a_monotone_curve():
    """The difference in means of the last residual stream steers the pronoun, more with more."""
    causal = Causal(Model.load(str(ROOT / "hypotheses" / "schoolbook")))
    pairs = Pairs.read(ROOT / "hypotheses" / "pairs" / "pronouns.jsonl", cluster="template")
    girls = [pair for pair in pairs if pair.base_answer == pairs[0].base_answer]
    everything = Pairs(girls, name="girls", cluster="template")
    templates = list(dict.fromkeys(everything.units))
    chosen, train = everything.split(by="template", test=templates[:4])
    site = block_output(2, pos="end")
    vector = causal.mean_difference(site, on=train)
    curve = causal.dose_response(add(site, vector), [0, 0.25, 0.5, 1.0], on=chosen)
    assert bool(curve.slope < -1)
    assert bool(curve.is_monotone(margin=0.2, decreasing=True))
    one = causal.effect(add(site, vector), on=chosen, metric=logit_diff)
    np.testing.assert_allclose(curve.values[:, -1], one.values, atol=1e-6)


def test_a_dose_can_be_the_strength_of_noise(toy, six):
    """Any family of interventions is a curve."""
    curve = toy.dose_response(
        lambda sd: noise(EMBEDDING, sd=sd, draws=1) if sd else None, [0, 1, 2], on=six
    )
    assert curve.values.shape == (6, 3)
