"""Gradient estimates: exact where all is linear, autograd by hand, and no evidence for claims."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from causaltest import (
    Causal,
    Pair,
    Pairs,
    block_output,
    embedding,
    head_attention_value_output,
    interchange,
    logit_diff,
    mlp_output,
    module,
    recovery,
    zero_ablate,
)
from causaltest.engine.prompts import Row
from causaltest.errors import EvidenceError, InterventionError, MetricError, PairError


def test_estimates_are_exact_in_a_linear_network(linear, digits):
    """The change of a linear function is its gradient times the change of its argument."""
    cells = {
        "embedding": module("embed", pos=0),
        "first": module("first", pos=2),
        "zero": zero_ablate(module("first", pos=1)),
        "two": interchange(module("first", pos=0)) + interchange(module("embed", pos=1)),
    }
    measures = Causal(linear)
    found = measures.attribution(cells, on=digits, verify=0)
    exact = measures.sweep(cells, on=digits)
    np.testing.assert_allclose(found.values, exact.values, rtol=1e-5, atol=1e-5)
    assert not found.exact.any()
    assert str(found.verification) == "no cell was computed exactly"


def test_estimates_are_the_gradient_of_the_base_run(instrument, schoolbook, pronouns):
    """Autograd written out: the gradient at a block's output, times source minus base."""
    pairs = pronouns[:3]
    found = instrument.attribution(block_output, positions=["name"], on=pairs, verify=0)
    prompts, network = schoolbook.prompts, schoolbook.network
    for index, pair in enumerate(pairs):
        (name,) = prompts.positions(Row.of(pair, "base"), "name")
        kept = {}

        def hook(_m, _i, out, layer, kept=kept):
            out = out[0] if isinstance(out, tuple) else out
            out.retain_grad()
            kept[layer] = out

        blocks = network.transformer.h
        handles = [
            block.register_forward_hook(lambda m, i, o, k=k: hook(m, i, o, k))
            for k, block in enumerate(blocks)
        ]
        embedded = network.transformer.wte(torch.tensor([prompts.ids(pair.base)]))
        embedded = embedded.detach().requires_grad_()
        logits = network(inputs_embeds=embedded).logits[0, -1].double()
        for handle in handles:
            handle.remove()
        answers = [
            prompts.answer_id(pair.base, a, pair) for a in (pair.base_answer, pair.source_answer)
        ]
        (logits[answers[0]] - logits[answers[1]]).backward()
        for layer in range(3):
            site = block_output(layer, pos="name")
            there = schoolbook.read(site, [Row.of(pair, "source")])[site][0][0]
            change = there - kept[layer][0, name].detach()
            wanted = float(kept[layer].grad[0, name] @ change)
            assert found.values[index, layer, 0] == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    network.zero_grad()


def test_integrated_gradients_add_up_to_the_whole_effect(instrument, even):
    """At the embeddings the average gradient times the change is the total effect."""
    cells = {"all tokens": embedding()}
    total = instrument.effect(interchange(embedding()), on=even).estimate
    errors = [
        abs(
            float(instrument.attribution(cells, on=even, steps=steps, verify=0).estimate[0] - total)
        )
        for steps in (1, 16, 64)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.03 * abs(total)


def test_the_strongest_cells_are_computed_exactly(instrument, pronouns):
    """They have the values of a sweep, and the correlation with the estimates is told."""
    found = instrument.attribution(
        head_attention_value_output, positions="end", on=pronouns, metric=recovery, verify=4
    )
    exact = instrument.sweep(
        head_attention_value_output, positions="end", on=pronouns, metric=recovery
    )
    assert found.exact.sum() == 4
    assert found.exact[2, 3]
    np.testing.assert_allclose(
        found.values[:, found.exact], exact.values[:, found.exact], rtol=1e-4
    )
    guessed = (found.estimates.mean(axis=0) / found.scale.mean())[found.exact]
    wanted = np.corrcoef(guessed, exact.values.mean(axis=0)[found.exact])[0, 1]
    assert found.verification.correlation == pytest.approx(wanted, abs=1e-3)
    assert "4 cells exact" in repr(found)
    assert any("gradient estimates; 4 cells" in note for note in instrument.trail.notes)


def test_estimates_are_no_evidence(instrument, pronouns):
    """Exact cells that were named can be claimed; nothing that rests on an estimate can."""
    found = instrument.attribution(
        head_attention_value_output, positions="end", on=pronouns, metric=recovery, verify=2
    )
    assert found.mean_over(layer=2, head=3) > 0.5
    for claim in (
        lambda: found.mean_over(layer=0, head=0),
        lambda: found.mean_over(layer=2),
        lambda: found.every({"layer": 2}),
        lambda: found.localised({"layer": 2, "head": 3}),
        found.significant,
        lambda: found.known_small(0.1),
        lambda: found.largest,
        lambda: found.against(found),
    ):
        with pytest.raises(EvidenceError, match="gradient estimates, and no verdict can"):
            claim()


def test_cells_chosen_by_estimates_are_claimed_on_other_units(instrument, pronouns):
    """The verified cells were chosen on these units; on others they can be claimed."""
    train, test = pronouns[:8], pronouns[8:]
    found = instrument.attribution(
        head_attention_value_output, positions="end", on=train, metric=recovery, verify=1
    )
    with pytest.raises(EvidenceError):
        found.mean_over(found.verified)
    fresh = instrument.sweep(head_attention_value_output, positions="end", on=test, metric=recovery)
    assert fresh.mean_over(found.strongest(1)) > 0.3


def test_metrics_of_ones_own_have_gradients_where_they_give_tensors(instrument, pronouns):
    """A function of tensors is differentiated; one that gives a float is refused."""

    def mine(output, pair):
        answer = output.answer_id(pair.base_answer)
        return output.at()[answer] - output.at()[output.answer_id(pair.source_answer)]

    def bare(output, pair):
        return float(mine(output, pair).detach())

    given = {"positions": "name", "on": pronouns[:4], "verify": 0}
    np.testing.assert_allclose(
        instrument.attribution(mlp_output, metric=mine, **given).values,
        instrument.attribution(mlp_output, metric=logit_diff, **given).values,
        rtol=1e-4,
        atol=1e-5,
    )
    with pytest.raises(MetricError, match=r"bare has no gradient: it gives a float"):
        instrument.attribution(mlp_output, metric=bare, **given)


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"steps": 0}, InterventionError, "steps is 0; expected a number from 1"),
        ({"verify": -1}, InterventionError, "verify is -1; expected a number of cells from 0"),
        ({"verify": 2.5}, InterventionError, "verify is 2.5; expected a number of cells from 0"),
        (
            {"steps": 3, "intervention": zero_ablate},
            InterventionError,
            "reads no source, so no inputs lie between",
        ),
    ],
)
def test_what_cannot_be_estimated_is_refused(instrument, pronouns, given, error, message):
    """Each message names the value and what is expected."""
    with pytest.raises(error, match=re.escape(message)):
        instrument.attribution(mlp_output, positions="end", on=pronouns, **given)


def test_inputs_of_unequal_length_have_no_way_between(instrument, pronouns):
    """Integrated gradients need base and source token by token."""
    longer = Pairs(
        [Pair("Rachel went home because", "John went home early because", " she", " he")],
        name="uneven",
        cluster=None,
    )
    with pytest.raises(PairError, match="differ in pair"):
        instrument.attribution(mlp_output, positions="end", on=longer, steps=3)


def test_a_data_frame_says_which_cells_are_exact(instrument, pronouns):
    """Estimates and exact effects stand side by side under one name, so rows say which is which."""
    grid = instrument.attribution(mlp_output, positions=["name", "end"], on=pronouns, verify=2)
    table = grid.to_pandas()
    assert table["exact"].sum() == 2
    assert list(table["exact"]) == grid.exact.ravel().tolist()
    whole = instrument.sweep(mlp_output, positions=["name", "end"], on=pronouns)
    assert "exact" not in whole.to_pandas()
    chosen = table["exact"].to_numpy()
    np.testing.assert_allclose(
        table["estimate"][chosen], whole.estimate.ravel()[chosen], rtol=1e-4, atol=1e-5
    )
