"""Causal tracing against runs with hooks written by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from causaltest import (
    block_output,
    embedding,
    interchange,
    mlp_output,
    noise,
    probability,
    recovery,
    zero_ablate,
)
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError
from causaltest.sweeps.tracing import windows

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def by_hand(model, pair, *, corrupt, restore):
    """Return P(base answer) with the embedding at the name zeroed and block outputs restored."""
    network, prompts = model.network, model.prompts
    ids = torch.tensor([prompts.ids(pair.base)])
    (name,) = prompts.positions(Row.of(pair, "base"), "name")
    blocks = network.transformer.h
    kept = {}

    def keep(layer):
        return lambda _m, _i, out: kept.__setitem__(layer, _first(out).detach().clone())

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    with torch.no_grad():
        network(ids)
    for handle in handles:
        handle.remove()

    def broken(_m, _i, out):
        out = out.clone()
        out[0, name] = 0
        return out

    def put(layer, token):
        def hook(_m, _i, out):
            new = _first(out).clone()
            new[0, token] = kept[layer][0, token]
            return (new, *out[1:]) if isinstance(out, tuple) else new

        return hook

    handles = []
    if corrupt:
        handles.append(network.transformer.wte.register_forward_hook(broken))
    for layer, pos in restore:
        (token,) = prompts.positions(Row.of(pair, "base"), pos)
        handles.append(blocks[layer].register_forward_hook(put(layer, token)))
    with torch.no_grad():
        logits = network(ids).logits[0, -1].double()
    for handle in handles:
        handle.remove()
    return float(torch.softmax(logits, -1)[prompts.answer_id(pair.base, pair.base_answer, pair)])


def _first(out):
    return out[0] if isinstance(out, tuple) else out


def test_restoring_one_state_as_by_hand(instrument, schoolbook, pronouns):
    """Corrupt the name's embedding, put one clean state back: what comes back of the answer."""
    pairs = pronouns[:3]
    grid = instrument.trace(
        on=pairs,
        corrupt=zero_ablate(embedding(pos="name")),
        positions=["name", "end"],
        metric=probability,
    )
    for row, pair in enumerate(pairs):
        corrupted = by_hand(schoolbook, pair, corrupt=True, restore=[])
        for layer in range(3):
            for column, pos in enumerate(["name", "end"]):
                back = by_hand(schoolbook, pair, corrupt=True, restore=[(layer, pos)])
                assert grid.values[row, layer, column] == pytest.approx(back - corrupted, abs=1e-5)


def test_shares_are_of_what_the_corruption_took(instrument, pronouns):
    """Recovery is 1 where everything is restored and 0 where nothing is."""
    grid = instrument.trace(on=pronouns, corrupt="name", positions=["name", "end"], draws=2)
    table = grid.estimate
    assert table[2, 1] == pytest.approx(1.0, abs=1e-3)
    assert table[2, 0] == pytest.approx(0.0, abs=1e-3)
    assert grid.mean_over(layer=0, pos="name") > 0.8
    raw = instrument.effect(
        noise(embedding(pos="name"), sd=_spread(instrument, pronouns) * 3, draws=2), on=pronouns
    )
    np.testing.assert_allclose(grid.scale, -raw.values, **CLOSE)


def _spread(instrument, pairs):
    network = instrument.model.network
    vectors = []
    for pair in pairs:
        ids = instrument.model.prompts.ids(pair.base)
        (token,) = instrument.model.prompts.positions(Row.of(pair, "base"), "name")
        vectors.append(network.transformer.wte.weight[ids[token]].detach().double())
    return float(torch.stack(vectors).flatten().std())


def test_the_source_prompt_as_corruption_is_patching_backwards(instrument, pronouns):
    """Without noise the source prompt is run and base states are restored: sweeps on swapped."""
    traced = instrument.trace(on=pronouns, positions=["name", "end"])
    swapped = pronouns.swapped()
    for layer, pos in [(0, "name"), (1, "end"), (2, "end")]:
        alone = instrument.effect(
            interchange(block_output(layer, pos=pos)), on=swapped, metric=recovery
        )
        cell = traced.mean_over(layer=layer, pos=pos)
        assert cell.estimate == pytest.approx(alone.estimate, abs=1e-5)
        assert cell.pair_set == (pronouns.name, pronouns.sha256)


def test_other_metrics_ask_for_the_clean_answer(instrument, pronouns):
    """With the source prompt run, the probability is still that of the base answer."""
    traced = instrument.trace(on=pronouns, positions=["end"], layers=[2], metric=probability)
    clean = instrument.model.run(list(pronouns))
    sources = instrument.model.run([Row.of(pair, "source") for pair in pronouns])

    def chance(output, pair):
        answer = instrument.model.prompts.answer_id(pair.base, pair.base_answer, pair)
        return float(torch.softmax(output.at().double(), -1)[answer])

    # Restoring the last state at the end restores the whole answer.
    wanted = [chance(a, p) - chance(b, p) for a, b, p in zip(clean, sources, pronouns, strict=True)]
    np.testing.assert_allclose(traced.values[:, 0, 0], wanted, **CLOSE)


def test_windows_restore_layers_together(instrument, pronouns):
    """A window around each layer, cut off at the ends, is one intervention."""
    grid = instrument.trace(
        mlp_output, on=pronouns, corrupt="name", positions=["name"], window=2, draws=1
    )
    assert grid.axes == {"layer": (0, 1, 2), "pos": ("name",)}
    assert windows(3, 2) == {0: range(1), 1: range(2), 2: range(1, 3)}
    # figure 2 of the paper: ten layers, as max(0, l - 5) to min(L, l + 5)
    assert all(
        window == range(max(0, layer - 5), min(48, layer + 5))
        for layer, window in windows(48, 10).items()
    )


def test_the_corruption_is_on_the_trail(instrument, pronouns):
    """The report says how far the corruption moved the metric."""
    instrument.trace(on=pronouns, positions=["end"])
    assert any("the source prompt moves logit_diff from" in note for note in instrument.trail.notes)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"corrupt": 3}, "corrupt is 3; expected the name of a position, an intervention"),
        ({"corrupt": "name", "level": 0}, "level is 0; expected a positive multiple"),
        ({"window": 0}, "window is 0; expected a number of layers from 1"),
        ({"window": 3, "layers": [1]}, "window= is around every layer; leave layers= out"),
        (
            {"window": 4},
            "window is 4, but there are 3 layers: every window would hold them all",
        ),
        (
            {"corrupt": "name", "level": "3"},
            "level is '3'; expected a positive multiple of the embeddings' standard deviation",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused(instrument, pronouns, given, message):
    """Each message names the value and what is expected."""
    with pytest.raises(InterventionError, match=re.escape(message)):
        instrument.trace(on=pronouns, positions=["end"], **given)


def test_labelled_sites_are_restored_where_they_are(instrument, pronouns):
    """A mapping says itself where each site is, so positions= may be left out."""
    grid = instrument.trace({"early": block_output(0, pos="name")}, on=pronouns)
    by_layer = instrument.trace(block_output, layers=[0, 1], positions=["name"], on=pronouns)
    np.testing.assert_allclose(grid.values[:, 0], by_layer.values[:, 0, 0], rtol=1e-4, atol=1e-4)
