"""Controls repeat a measurement with one thing changed, reproducibly, and refuse what cannot be."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from causaltest import Causal, Model, Pairs, interchange, logit_diff, recovery, zero_ablate
from causaltest.controls import twin
from causaltest.controls.pairings import same_answer_sources, shuffled_sources
from causaltest.controls.placebos import moved, placebos
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError, ModelError, PairError
from causaltest.interventions import add
from causaltest.pairs import Pair
from causaltest.sites import Site, block_output, embedding, mlp_activation, module
from causaltest.sites import head_attention_value_output as head

ROOT = Path(__file__).resolve().parents[1]
MOVER = head(2, 3, pos="end")


@pytest.fixture(scope="module")
def model() -> Model:
    """The default model: three blocks of four heads."""
    return Model.load(str(ROOT / "hypotheses" / "schoolbook"))


@pytest.fixture(scope="module")
def pronouns() -> Pairs:
    """She or he by the name; every other pair, of all templates."""
    pairs = Pairs.read(ROOT / "hypotheses" / "pairs" / "pronouns.jsonl", cluster="template")
    return pairs[::2]


@pytest.fixture(scope="module")
def instrument(model) -> Causal:
    """Measures on the default model."""
    return Causal(model)


@pytest.fixture(scope="module")
def mover(instrument, pronouns):
    """The head that brings the gender to the last token."""
    return instrument.effect(interchange(MOVER), on=pronouns, metric=recovery)


def sites_of(effects) -> list[str]:
    """The sites that effects were measured at."""
    return [effect.subject.split("(")[1].rstrip(")") for effect in effects]


def test_placebos_are_the_other_heads_and_equal_direct_measurements(instrument, mover, pronouns):
    """All eleven other heads are found, each once, with the numbers that effect() gives."""
    found = instrument.placebos(mover, k=11)
    expected = {
        str(head(layer, index, pos="end"))
        for layer in range(3)
        for index in range(4)
        if (layer, index) != (2, 3)
    }
    assert set(sites_of(found)) == expected
    for effect in found[:3]:
        site = Site.parse(sites_of([effect])[0])
        direct = instrument.effect(interchange(site), on=pronouns, metric=recovery)
        np.testing.assert_array_equal(effect.values, direct.values)


def test_placebos_are_drawn_reproducibly(model, pronouns, mover, instrument):
    """The draw follows from the intervention and the seed, in any process and order."""
    other = Causal(model)
    again = other.effect(interchange(MOVER), on=pronouns, metric=recovery)
    assert sites_of(other.placebos(again, k=5)) == sites_of(instrument.placebos(mover, k=5))
    seeds = {tuple(sites_of(instrument.placebos(mover, k=5, seed=seed))) for seed in range(4)}
    assert len(seeds) > 1


def test_too_few_sites_are_an_error_that_counts_them(instrument, mover):
    """Eleven other heads cannot be 39 controls, and nothing is run to find that out."""
    with pytest.raises(InterventionError) as caught:
        instrument.placebos(mover, k=39)
    assert str(caught.value) == (
        "39 controls were asked for, but interchange(head_attention_value_output[2.3]@end) has "
        "11 other places of its kind\n"
        "ask for fewer with k=, vary something else (site, layer, head, position), or name the "
        "sites: among=[...]"
    )


@pytest.mark.parametrize(
    "vary, expected",
    [
        ("layer", {head(0, 3, pos="end"), head(1, 3, pos="end")}),
        ("head", {head(2, 0, pos="end"), head(2, 1, pos="end"), head(2, 2, pos="end")}),
    ],
)
def test_one_thing_varies(model, pronouns, vary, expected):
    """`layer` keeps the head, `head` keeps the layer."""
    drawn, count = placebos(model, interchange(MOVER), pronouns, vary=vary)
    assert {each.sites[0] for each in drawn} == expected
    assert count == len(expected)


def test_other_positions_are_never_the_tested_token(instrument, model, pronouns):
    """Placebo positions exist in every prompt, differ from the tested one, and change something."""
    tested = interchange(block_output(0, pos="name"))
    drawn, count = placebos(model, tested, pronouns, vary="position")
    indices = {each.sites[0].pos for each in drawn}
    assert len(indices) == count
    for pair in pronouns:
        for prompt, side in ((pair.base, "base"), (pair.source, "source")):
            length = len(model.prompts.ids(prompt))
            (name,) = model.prompts.positions(Row.of(pair, side), "name")
            assert name - length not in indices
            assert all(-length <= index < 0 for index in indices)
    effect = instrument.effect(tested, on=pronouns, metric=recovery)
    (moved_on,) = instrument.placebos(effect, k=1, vary="position")
    assert moved_on.n_pairs == len(pronouns)


def test_inert_places_are_passed_over(instrument, pronouns):
    """Where base and source agree an interchange changes nothing, and is no match."""
    first = pronouns[0]
    tokens = instrument.model.prompts.ids(first.base)
    same = Pairs(
        [Pair(tokens, (*tokens[:-1], (tokens[-1] + 1) % 20), base_answer=1, source_answer=2)] * 1,
        name="late",
        cluster=None,
    )
    effect = instrument.effect(interchange(embedding(pos=-1)), on=same, metric=logit_diff)
    with pytest.raises(InterventionError, match=r"and at \d+ of them nothing changes"):
        instrument.placebos(effect, k=1, vary="position")


def test_directions_have_the_same_norm(model, pronouns):
    """Random directions keep site, norm and scale, and are uniform: no two alike."""
    vector = [0.0] * 63 + [3.0]
    tested = add(block_output(1, pos="end"), vector, scale=2.0)
    drawn, _ = placebos(model, tested, pronouns)
    several = [next(drawn) for _ in range(50)]
    assert all(each.sites == tested.sites and each.scale == 2.0 for each in several)
    norms = [each.vector.norm() for each in several]
    np.testing.assert_allclose(norms, 3.0, rtol=1e-6)
    directions = np.array([list(each.vector) for each in several]) / 3.0
    cosines = (directions @ directions.T)[np.triu_indices(50, 1)]
    # The cosine of random directions in d dimensions has variance 1 / d.
    assert abs(np.mean(cosines**2) - 1 / 64) < 3 * np.sqrt(2) / 64 / np.sqrt(len(cosines))


def test_neurons_are_replaced_by_other_neurons(model, pronouns):
    """A placebo for two neurons is two other neurons, in the same layer or another."""
    tested = zero_ablate(mlp_activation(1, pos="end", dims=(3, 17)))
    drawn, count = placebos(model, tested, pronouns, vary="layer")
    width = model.access(mlp_activation(1)).width
    assert count == 3 * (width - 2) * (width - 3) // 2
    for _ in range(30):
        (site,) = next(drawn).sites
        assert site.component == "mlp_activation"
        assert len(site.dims) == 2
        assert not {3, 17} & set(site.dims)


def test_several_sites_are_replaced_together(model, pronouns):
    """Two heads are replaced by two other heads, never by one of the tested."""
    tested = interchange(MOVER, head(2, 1, pos="end"))
    drawn, count = placebos(model, tested, pronouns)
    every = [frozenset(each.sites) for each in drawn]
    assert count == len(every) == len(set(every)) == 45
    assert all(len(each) == 2 and not each & set(tested.sites) for each in every)


def test_modules_are_replaced_by_modules_of_their_shape(pronouns):
    """A module's kin have its class and shapes; another shape is no match."""
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 8), torch.nn.ReLU()
    )
    drawn, count = placebos(Model(network), zero_ablate(module("0")), pronouns)
    assert ([each.sites[0].path for each in drawn], count) == (["1"], 1)


@pytest.mark.parametrize(
    "vary, intervention, message",
    [
        ("sites", interchange(MOVER), "vary is 'sites'; did you mean 'site'?"),
        ("direction", interchange(MOVER), "adds no vector, so there is no other direction"),
    ],
)
def test_what_cannot_vary_is_refused(model, pronouns, vary, intervention, message):
    """An unknown `vary` names the nearest; a direction needs a vector."""
    with pytest.raises(InterventionError) as caught:
        placebos(model, intervention, pronouns, vary=vary)
    assert message in str(caught.value)


def test_the_identity_is_exactly_zero(instrument, mover):
    """Replacing the sites by their own activations changes nothing."""
    identity = instrument.identity(mover)
    assert np.abs(identity.values).max() <= 1e-5
    assert bool(abs(identity) < 0.01)
    assert bool(mover > identity)


def test_moved_goes_to_the_named_place(instrument, mover, pronouns):
    """The wrong layer is a plain effect there; the tested place is refused."""
    elsewhere = instrument.moved(mover, layer=0)
    direct = instrument.effect(interchange(head(0, 3, pos="end")), on=pronouns, metric=recovery)
    np.testing.assert_array_equal(elsewhere.values, direct.values)
    with pytest.raises(InterventionError, match="would edit a tested site again"):
        instrument.moved(mover, layer=2)
    with pytest.raises(InterventionError, match="say where to move it: layer=, head= or pos="):
        moved(interchange(MOVER))


def test_same_answer_sources_have_the_answer_and_keep_the_scale(instrument, model, mover, pronouns):
    """A girl's name from another story brings no `he`, on the scale of the tested effect."""
    same = instrument.same_answer(mover)
    np.testing.assert_array_equal(same.scale, mover.scale)
    assert same.pair_ids == mover.pair_ids
    assert bool(abs(same) < 0.2)
    assert bool(mover - same > 0.3)
    exchanged = same_answer_sources(model, interchange(MOVER), pronouns)
    answers = {pair.base: pair.base_answer for pair in pronouns}
    for before, after in zip(pronouns, exchanged, strict=True):
        assert after.base == before.base
        assert after.source != before.base
        assert answers[after.source] == before.base_answer


def test_shuffled_sources_are_those_of_other_pairs(model, mover, instrument, pronouns):
    """Each source belongs to another pair, and its positions came with it."""
    named = interchange(block_output(0, pos="name"))
    exchanged = shuffled_sources(model, named, pronouns)
    assert exchanged == shuffled_sources(model, named, pronouns)
    own = {pair.source: pair for pair in pronouns}
    for before, after in zip(pronouns, exchanged, strict=True):
        assert after.source != before.source
        assert after.positions["name"].source == own[after.source].positions["name"].source
    assert instrument.shuffled(mover).pair_set == mover.pair_set


def test_sources_cannot_be_exchanged_where_none_is_read(instrument, pronouns):
    """An ablation reads no source; a set of one pair has no other."""
    ablated = instrument.effect(zero_ablate(MOVER), on=pronouns)
    with pytest.raises(InterventionError, match="takes nothing from the source"):
        instrument.same_answer(ablated)
    alone = instrument.effect(interchange(MOVER), on=pronouns[:1])
    with pytest.raises(PairError, match=r"no other pair of pronouns.* has another source"):
        instrument.shuffled(alone)


def test_another_task_is_another_pair_set(instrument, mover, pronouns):
    """The same edit is measured on the other task; the effect's own set is refused."""
    other = Pairs.read(ROOT / "hypotheses" / "pairs" / "agreement.jsonl", cluster="template")[:16]
    assert instrument.on_task(mover, other).pair_set[0].startswith("agreement")
    with pytest.raises(PairError, match="is the pair set of the effect itself"):
        instrument.on_task(mover, pronouns)


@pytest.mark.parametrize("weights", ["shuffled", "untrained"])
def test_a_twin_knows_nothing_and_the_model_stays(instrument, model, pronouns, weights):
    """The twin has the same shapes, other weights, chance accuracy; the model keeps its hash."""
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    other = instrument.twin(weights)
    after = other.model.network.state_dict()
    assert {name: value.shape for name, value in after.items()} == {
        name: value.shape for name, value in before.items()
    }
    key = next(name for name in before if name.endswith("attn.c_attn.weight"))
    if weights == "shuffled":
        torch.testing.assert_close(after[key].flatten().sort()[0], before[key].flatten().sort()[0])
    assert not torch.equal(after[key], before[key])
    assert all(torch.equal(model.network.state_dict()[name], before[name]) for name in before)
    assert other.accuracy(on=pronouns).estimate < 0.5
    assert twin(model, weights).sha256 == other.model.sha256
    assert twin(model, weights, seed=1).sha256 != other.model.sha256


def test_twins_leave_the_global_stream_alone(model):
    """Making a twin draws nothing from torch's own generator."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    twin(model, "untrained")
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_twin_is_refused(model):
    """The nearest name is offered, and a module without an initialisation is named."""
    with pytest.raises(ModelError, match="weights is 'shufled'; did you mean 'shuffled'"):
        twin(model, "shufled")

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.own = torch.nn.Parameter(torch.ones(2))

    with pytest.raises(ModelError, match=r"0 \(Fixed\) has parameters but no reset_parameters"):
        twin(Model(torch.nn.Sequential(Fixed()), name="odd"), "untrained")


def test_only_an_effect_of_this_causal_has_controls(instrument, mover, model):
    """Differences and effects of another instrument do not say what they were measured by."""
    with pytest.raises(InterventionError, match=r"Give what effect\(\), accuracy\(\), faithful"):
        instrument.placebos(-mover, k=1)
    with pytest.raises(InterventionError, match="was not measured under an intervention by"):
        Causal(model).identity(mover)
    with pytest.raises(InterventionError, match="k is 0; expected a number of controls from 1"):
        instrument.placebos(mover, k=0)


def test_origins_are_forgotten_with_their_effects(model, pronouns):
    """Keeping origins keeps no effect alive."""
    fresh = Causal(model)
    effect = fresh.effect(interchange(MOVER), on=pronouns)
    assert len(fresh._origins) == 1
    del effect
    gc.collect()
    assert len(fresh._origins) == 0


def test_an_effect_beats_controls_or_does_not(instrument, pronouns, mover):
    """The mover beats all other heads; a random direction does not beat others of its norm."""
    stream = np.random.default_rng(3)
    weaker = instrument.placebos(mover, k=11)
    beaten = instrument.controls(mover, k=11, test="prediction")
    assert len(beaten) == 11
    assert repr(beaten).startswith("<11 random sites: mean ")
    assert bool(mover > beaten)
    with pytest.raises(AssertionError):
        assert weaker[0] > beaten
    width = instrument.model.access(MOVER).width
    drawn = stream.standard_normal(width)
    random = instrument.effect(add(MOVER, drawn.tolist()), on=pronouns)
    controls = instrument.controls(random, k=39)
    assert repr(controls).startswith("<39 random directions of the same norm: mean ")
    with pytest.raises(AssertionError):
        assert random > controls


def test_controls_at_the_default_number_need_enough_sites(instrument, mover):
    """The default of 39 is refused by name where a model has only 11 other heads."""
    with pytest.raises(InterventionError, match="39 controls were asked for"):
        instrument.controls(mover)


@pytest.fixture(scope="module")
def share(instrument, pronouns):
    """How often the head's interchange gives the other pronoun."""
    last = interchange(block_output(2, pos="end"))
    return instrument.accuracy(last, on=pronouns)


def test_controls_of_a_rate_are_rates_measured_in_the_same_way(instrument, share, pronouns):
    """Placebos, moved sites, exchanged sources and other tasks equal direct measurements."""
    elsewhere = instrument.moved(share, layer=0)
    direct = instrument.accuracy(interchange(block_output(0, pos="end")), on=pronouns)
    np.testing.assert_array_equal(elsewhere.values, direct.values)
    assert elsewhere.subject == direct.subject == "accuracy of interchange(block_output[0]@end)"
    plain = instrument.accuracy(on=pronouns, expect="source_answer")
    np.testing.assert_array_equal(instrument.identity(share).values, plain.values)
    assert {each.kind for each in instrument.placebos(share, k=2)} == {"rate"}
    # The base's own answer is put in, so that the source's is not given.
    assert instrument.same_answer(share).estimate < 0.1
    assert share.estimate > 0.9
    assert instrument.shuffled(share).kind == "rate"
    other = pronouns[: len(pronouns) // 2]
    assert instrument.on_task(share, other).n_pairs == len(other)


def test_a_rate_beats_its_controls_or_does_not(instrument, pronouns):
    """`rate > causal.controls(rate, k=39)`: the rank among placebos and the paired difference."""
    heads = [head(layer, index, pos=pos) for layer in range(3) for index in range(4)
             for pos in (-1, -2, -3, -4)]  # fmt: skip
    three = interchange(*(head(2, index, pos="end") for index in (0, 2, 3)))
    rate = instrument.accuracy(three, on=pronouns)
    controls = instrument.controls(rate, k=39, among=heads[:40])
    verdict = rate > controls
    assert len(controls) == 39
    ranked, paired = verdict.members
    reach = sum(each >= rate.estimate for each in controls.estimates)
    assert ranked.p_support == pytest.approx((1 + reach) / 40)
    mean = np.mean([each.values for each in instrument.placebos(rate, k=39, among=heads[:40])], 0)
    units = np.array(pronouns.units)
    by_hand = np.mean([(rate.values - mean)[units == unit].mean() for unit in sorted(set(units))])
    assert paired.estimate == pytest.approx(by_hand)
    with pytest.raises(AssertionError):
        assert instrument.placebos(rate, k=1, among=heads[:40])[0] > controls


def test_controls_of_a_circuit_are_random_circuits_of_its_size(instrument, pronouns):
    """Each is scored as the circuit is, and none is the circuit itself."""
    heads = [head(layer, index, pos="end") for layer in range(3) for index in range(4)]
    circuit = [head(2, 3, pos="end"), head(1, 3, pos="end")]
    settings = {"among": heads, "on": pronouns, "ablation": zero_ablate}
    for name in ("faithfulness", "necessity"):
        ratio = getattr(instrument, name)(circuit, **settings)
        controls = instrument.controls(ratio, k=39)
        assert repr(controls).startswith("<39 random circuits of the same size: mean ")
        again = instrument.controls(ratio, k=39)
        np.testing.assert_array_equal(controls.estimates, again.estimates)
        first = controls._measured[0]
        drawn = first.subject.partition(" of ")[2].partition(" among ")[0].split(", ")
        assert len(drawn) == 2
        direct = getattr(instrument, name)(map(Site.parse, drawn), **settings)
        assert direct.estimate == pytest.approx(first.estimate)
        assert instrument.on_task(ratio, pronouns[::2]).n_pairs == len(pronouns[::2])
    reach = sum(each >= ratio.estimate for each in controls.estimates)
    assert (ratio > controls).members[0].p_support == pytest.approx((1 + reach) / 40)


def test_circuits_have_no_other_controls(instrument, pronouns):
    """What repeats one intervention is refused for a circuit, with the controls there are."""
    heads = [head(2, index, pos="end") for index in range(4)]
    ratio = instrument.necessity(heads[:2], among=heads, on=pronouns)
    for control in ("identity", "same_answer", "shuffled", "placebos"):
        with pytest.raises(
            InterventionError, match=rf"{control}\(\) repeats one intervention, and"
        ):
            getattr(instrument, control)(ratio)
    with pytest.raises(InterventionError, match="but there are 5 other circuits of 2 among 4"):
        instrument.controls(ratio, k=39)
    with pytest.raises(InterventionError, match="leave out vary= and among="):
        instrument.controls(ratio, k=5, vary="layer")


def test_a_plain_accuracy_has_no_controls(instrument, pronouns):
    """Without an intervention there is nothing to vary."""
    with pytest.raises(InterventionError, match="was not measured under an intervention by"):
        instrument.controls(instrument.accuracy(on=pronouns))
