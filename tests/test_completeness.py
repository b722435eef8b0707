"""Completeness and minimality on the default model, against scores of runs made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from causaltest import Causal, Circuit, Model, Pairs, logit_diff, zero_ablate
from causaltest.engine.run import score
from causaltest.errors import EvidenceError, InterventionError
from causaltest.sites import head_attention_value_output as head
from causaltest.sites import mlp_output

ROOT = Path(__file__).resolve().parents[1]
HEADS = [head(layer, index, pos="end") for layer in (1, 2) for index in range(4)]
CIRCUIT = Circuit(head(2, 3, pos="end"), head(1, 3, pos="end"))
OUTSIDE = Circuit(*HEADS) - CIRCUIT


@pytest.fixture(scope="module")
def instrument() -> Causal:
    """Measures on the default model."""
    return Causal(Model.load(str(ROOT / "hypotheses" / "schoolbook")))


@pytest.fixture(scope="module")
def pronouns() -> Pairs:
    """She or he by the name; every other pair, of all templates."""
    return Pairs.read(ROOT / "hypotheses" / "pairs" / "pronouns.jsonl", cluster="template")[::2]


def scored(instrument, pairs, sites) -> np.ndarray:
    """The logit difference with sites ablated to zero, from the engine itself."""
    if not sites:
        return np.array([logit_diff(output) for output in instrument.model.run(list(pairs))])
    return np.array(score(instrument.model, zero_ablate(*sites), pairs, logit_diff).values)


def test_incompleteness_is_the_difference_written_out(instrument, pronouns):
    """F(C without K) - F(M without K) over F(M) - F(nothing), for nothing and each component."""
    found = instrument.incompleteness(CIRCUIT, among=HEADS, on=pronouns, ablation=zero_ablate)
    whole = scored(instrument, pronouns, ()) - scored(instrument, pronouns, HEADS)
    for name, taken in [("nothing", ())] + [(str(site), (site,)) for site in CIRCUIT]:
        parted = scored(instrument, pronouns, [*OUTSIDE, *taken]) - scored(
            instrument, pronouns, taken
        )
        means = [
            np.mean([np.mean(values[[i for i, u in enumerate(pronouns.units) if u == unit]])
                     for unit in sorted(set(pronouns.units))])
            for values in (parted, whole)
        ]  # fmt: skip
        assert found.effects[name] == pytest.approx(means[0] / means[1], rel=1e-6)
    assert found.estimate == pytest.approx(max(map(abs, found.effects.values())))
    assert (found < 5.0).name == "supported"


def test_edges_are_shown_and_measure_nothing(instrument, pronouns):
    """Every claim about a circuit shows its edges, with the numbers of the set of its members."""
    early, late = head(1, 3, pos="end"), head(2, 3, pos="end")
    drawn = Circuit(*CIRCUIT, edges=[(early, late, "v"), (late, "logits")])
    some = {"among": HEADS, "on": pronouns, "ablation": zero_ablate}
    for name in ("faithfulness", "necessity", "incompleteness", "minimality"):
        plain, named = (getattr(instrument, name)(each, **some) for each in (CIRCUIT, drawn))
        assert named.estimate == plain.estimate
        shown, silent = (
            (each > -9.0 if name == "minimality" else each < 9.0).shown[0].edges
            for each in (named, plain)
        )
        assert shown == ((str(early), str(late), "v"), (str(late), "logits", ""))
        assert silent == ()


def test_minimality_is_the_drop_by_each_component(instrument, pronouns):
    """F(C without K) - F(C without K and v), with K empty or as declared."""
    mover, other = head(2, 3, pos="end"), head(1, 3, pos="end")
    found = instrument.minimality(CIRCUIT, among=HEADS, on=pronouns, ablation=zero_ablate)
    kept = scored(instrument, pronouns, OUTSIDE)
    whole = scored(instrument, pronouns, ()) - scored(instrument, pronouns, HEADS)
    drop = kept - scored(instrument, pronouns, OUTSIDE + mover)
    units = np.array(pronouns.units)
    ratio = [
        np.mean([values[units == unit].mean() for unit in sorted(set(units))])
        for values in (drop, whole)
    ]
    assert found.effects[str(mover)] == pytest.approx(ratio[0] / ratio[1], rel=1e-6)
    beside = instrument.minimality(
        CIRCUIT, among=HEADS, on=pronouns, ablation=zero_ablate, beside={mover: [other]}
    )
    drop = scored(instrument, pronouns, OUTSIDE + other) - scored(instrument, pronouns, HEADS)
    by_hand = np.mean([drop[units == unit].mean() for unit in sorted(set(units))])
    assert beside.effects[str(mover)] == pytest.approx(by_hand / ratio[1], rel=1e-6)
    assert "minimality (zero_ablate, logit_diff)" in (found > 0.01).subject


def test_random_subsets_are_the_same_in_every_run(instrument, pronouns):
    """As many different subsets as asked for, drawn from the seed."""

    def names(seed):
        return tuple(
            instrument.incompleteness(
                HEADS[:5], among=HEADS, on=pronouns, ablation=zero_ablate, subsets=6, seed=seed
            ).effects
        )  # fmt: skip

    assert len(set(names(0))) == 6
    assert names(0) == names(0)
    assert set(names(0)) != set(names(1))


def test_subsets_searched_on_these_units_are_refused(instrument, pronouns):
    """What was chosen by its effects is judged on other templates."""
    with pytest.raises(EvidenceError, match="subsets chosen by their effects"):
        instrument.incompleteness(CIRCUIT, among=HEADS, on=pronouns, chosen_on=pronouns)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"subsets": [[HEADS[0]]]}, r"of a subset is not in the circuit"),
        ({"subsets": []}, "subsets is empty; name at least one part of the circuit"),
        ({"subsets": [[], []]}, "the subset nothing is given twice; take it out"),
        ({"subsets": 0}, "subsets is 0; a circuit of 2 sites has 1 to 4 subsets"),
        ({"subsets": 5}, "subsets is 5; a circuit of 2 sites has 1 to 4 subsets"),
    ],
)
def test_wrong_subsets_are_refused(instrument, pronouns, settings, message):
    """Not within the circuit, none, twice the same, more than there are."""
    with pytest.raises(InterventionError, match=message):
        instrument.incompleteness(CIRCUIT, among=HEADS, on=pronouns, **settings)


def test_wrong_sets_beside_a_component_are_refused(instrument, pronouns):
    """A set beside a component holds other components of the circuit."""
    mover = head(2, 3, pos="end")
    with pytest.raises(InterventionError, match="which is no component of the circuit"):
        instrument.minimality(CIRCUIT, among=HEADS, on=pronouns, beside={HEADS[0]: []})
    with pytest.raises(InterventionError, match=r"out before .*; expected other components"):
        instrument.minimality(CIRCUIT, among=HEADS, on=pronouns, beside={mover: [mover]})
    with pytest.raises(InterventionError, match="the circuit is everything considered"):
        instrument.minimality(HEADS, among=HEADS, on=pronouns)


@pytest.mark.parametrize("claim", ["faithfulness", "necessity", "minimality", "incompleteness"])
def test_one_place_under_two_names_is_refused(instrument, pronouns, claim):
    """A member is not left intact where another site takes a part of it with it."""
    member = head(2, 3, pos="end")
    among = [member, head(2, 3), mlp_output(0, pos="end")]
    told = (
        "head_attention_value_output[2.3] and head_attention_value_output[2.3]@end of among= are "
        "the same place in part, e.g. at token 4 of the base prompt of pair pronouns/0: where one "
        "is ablated and the other left intact, neither would be\nname each place by one site"
    )
    with pytest.raises(InterventionError, match=re.escape(told)):
        getattr(instrument, claim)([member], among=among, on=pronouns)
