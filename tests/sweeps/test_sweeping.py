"""A sweep is what a loop of effects gives, under labels that say where, or a message."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from causaltest import (
    Circuit,
    Pair,
    Pairs,
    attention_output,
    block_output,
    embedding,
    head_attention_value_output,
    interchange,
    logit_diff,
    mean_ablate,
    mlp_activation,
    mlp_output,
    recovery,
    zero_ablate,
)
from causaltest.errors import InterventionError, MetricError, PairError, SiteError
from causaltest.pairs import Position
from causaltest.sites import head_attention_pattern

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_layers_by_positions_are_a_loop_of_effects(instrument, pronouns):
    """Every cell has the values, the scale and the bounds that effect() gives."""
    grid = instrument.sweep(block_output, positions=["name", "end"], on=pronouns, metric=recovery)
    assert grid.axes == {"layer": (0, 1, 2), "pos": ("name", "end")}
    for layer, pos in itertools.product(range(3), ["name", "end"]):
        alone = instrument.effect(
            interchange(block_output(layer, pos=pos)), on=pronouns, metric=recovery
        )
        cell = grid.mean_over(layer=layer, pos=pos)
        np.testing.assert_allclose(cell.values, alone.values, **CLOSE)
        np.testing.assert_allclose(cell.scale, alone.scale, **CLOSE)
        assert cell.units == alone.units
        assert cell.metric == alone.metric
        assert cell.floor == pytest.approx(alone.floor, rel=0.5, abs=1e-5)


def test_the_floor_covers_what_the_plan_is_off(instrument, pronouns):
    """Effects no larger than the plan's own inexactness, twice, count as 0."""
    grid = instrument.sweep(block_output, positions=["name", "end"], on=pronouns, metric=recovery)
    largest = float(instrument.model.run([pronouns[0]])[0].logits.abs().max())
    assert grid.plan.difference > 0
    assert grid.floor >= 2 * grid.plan.difference * largest / grid.scale.mean() * 0.999


def test_heads_at_one_position(instrument, pronouns):
    """Layers and heads default to all of them; a bare position is no axis."""
    grid = instrument.sweep(head_attention_value_output, positions="end", on=pronouns)
    assert grid.axes == {"layer": (0, 1, 2), "head": (0, 1, 2, 3)}
    one = instrument.effect(interchange(head_attention_value_output(2, 3, pos="end")), on=pronouns)
    np.testing.assert_allclose(grid.values[:, 2, 3], one.values, **CLOSE)
    assert "pos='end'" in grid.subject


def test_heads_by_positions_in_one_layer(instrument, pronouns):
    """One layer leaves heads and positions; a name of a component will do."""
    grid = instrument.sweep(
        "head_attention_value_output", layers=2, positions=["name", "end"], on=pronouns
    )
    assert grid.axes == {"head": (0, 1, 2, 3), "pos": ("name", "end")}
    one = instrument.effect(interchange(head_attention_value_output(2, 1, pos="end")), on=pronouns)
    np.testing.assert_allclose(grid.values[:, 1, 1], one.values, **CLOSE)


def test_components_are_an_axis(instrument, pronouns):
    """Several components stand beside each other."""
    grid = instrument.sweep([attention_output, mlp_output], positions="end", on=pronouns)
    assert grid.axes == {"component": ("attention_output", "mlp_output"), "layer": (0, 1, 2)}
    one = instrument.effect(interchange(mlp_output(1, pos="end")), on=pronouns)
    np.testing.assert_allclose(grid.values[:, 1, 1], one.values, **CLOSE)


def test_neurons_and_groups_of_them(instrument, pronouns):
    """Dims are an axis; a group has the name of its range."""
    groups = [range(128), range(128, 256), (3, 7)]
    grid = instrument.sweep(
        mlp_activation, layers=[0], positions="name", dims=groups, on=pronouns, metric=logit_diff
    )
    assert grid.axes == {"layer": (0,), "dims": ("0-127", "128-255", "3,7")}
    one = instrument.effect(
        interchange(mlp_activation(0, pos="name", dims=range(128, 256))), on=pronouns
    )
    np.testing.assert_allclose(grid.values[:, 0, 1], one.values, **CLOSE)


def test_layers_given_together_are_edited_together(instrument, pronouns):
    """A window of layers is one cell, with all its sites in one run."""
    grid = instrument.sweep(
        mlp_output, layers={"low": (0, 1), "high": 2}, positions="name", on=pronouns
    )
    assert grid.axes == {"layer": ("low", "high")}
    both = interchange(mlp_output(0, pos="name"), mlp_output(1, pos="name"))
    np.testing.assert_allclose(
        grid.values[:, 0], instrument.effect(both, on=pronouns).values, **CLOSE
    )


def test_any_interventions_by_label(instrument, pronouns):
    """A mapping names its cells, of interventions, sites and circuits."""
    pair = Circuit(mlp_output(0, pos="end"), mlp_output(1, pos="end"))
    cells = {
        "no attention": zero_ablate(attention_output(2, pos="end")),
        "stream": block_output(1, pos="name"),
        "circuit": pair,
    }
    grid = instrument.sweep(cells, on=pronouns)
    assert grid.axes == {"cell": ("no attention", "stream", "circuit")}
    for label, edit in zip(
        cells,
        [cells["no attention"], interchange(cells["stream"]), interchange(*pair)],
        strict=True,
    ):
        alone = instrument.effect(edit, on=pronouns)
        np.testing.assert_allclose(grid.mean_over(cell=label).values, alone.values, **CLOSE)


def test_ablations_are_swept_as_well(instrument, pronouns):
    """Any maker of interventions is swept."""
    grid = instrument.sweep(mlp_output, positions="end", on=pronouns, intervention=mean_ablate)
    one = instrument.effect(mean_ablate(mlp_output(2, pos="end")), on=pronouns)
    np.testing.assert_allclose(grid.values[:, 2], one.values, **CLOSE)


def test_every_token_where_prompts_are_of_one_length(instrument, even):
    """All positions are labelled by index."""
    grid = instrument.sweep(block_output, layers=[0, 1], positions="all", on=even)
    assert grid.axes["pos"] == tuple(range(6))
    one = instrument.effect(interchange(block_output(1, pos=5)), on=even)
    np.testing.assert_allclose(grid.values[:, 1, 5], one.values, **CLOSE)


def test_embeddings_have_positions_only(instrument, pronouns):
    """The axis of layers is left out where there is none."""
    grid = instrument.sweep(embedding, positions=["name", "end"], on=pronouns, metric=recovery)
    assert grid.axes == {"pos": ("name", "end")}
    assert grid.estimate[0] == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(SiteError, match=r"embedding has no layers; sweep it by itself"):
        instrument.sweep(embedding, layers=[0], on=pronouns)


def test_attention_patterns_are_swept(instrument, even):
    """Patterns by head, at the last token's row, are components like others."""
    grid = instrument.sweep(head_attention_pattern, positions="end", on=even, metric=recovery)
    site = head_attention_pattern(2, 1, pos="end")
    one = instrument.effect(interchange(site), on=even, metric=recovery)
    np.testing.assert_allclose(grid.values[:, 2, 1], one.values, **CLOSE)


def test_what_was_done_is_on_the_trail(instrument, pronouns):
    """The ledger, the unit and the plan are kept for the report."""
    grid = instrument.sweep(block_output, positions=["name", "end"], on=pronouns, metric=recovery)
    assert {entry.site for entry in instrument.trail.edits} >= {"block_output[1]@name"}
    assert any("sweep of block_output" in note for note in instrument.trail.notes)
    assert instrument.trail.unit_of(grid.mean_over(layer=1, pos="name").subject) == "fraction"
    assert str(grid.plan).splitlines()[0].startswith(("growing", "batched", "loop"))


# Placebos


def test_placebos_of_positions_are_other_tokens(instrument, pronouns):
    """Each pair is edited at another token than the tested one, behind the first difference."""
    grid = instrument.sweep(block_output, positions=["name"], on=pronouns, metric=recovery)
    placebo = instrument.sweep(
        block_output, positions=["name"], on=pronouns, metric=recovery, placebo="pos"
    )
    assert placebo.axes == grid.axes
    prompts = instrument.model.prompts
    index, pair = 5, pronouns[5]
    (name,) = prompts.positions(_base(pair), "name")
    others = {
        token: instrument.effect(
            interchange(block_output(0, pos=token)), on=pronouns[index : index + 1]
        ).values[0]
        for token in range(name + 1, len(prompts.ids(pair.base)))
    }
    found = -placebo.values[index, 0, 0]
    assert min(abs(found - value) for value in others.values()) < 1e-4
    difference = grid.against(placebo)
    assert (0, "name") in difference.significant().cells


def test_placebos_of_sources_have_the_same_answer(instrument, pronouns):
    """The source is that of another pair with the base's own answer; the scale stays."""
    given = {"positions": ["name", "end"], "on": pronouns, "metric": recovery}
    grid = instrument.sweep(block_output, **given)
    placebo = instrument.sweep(block_output, placebo="source", **given)
    np.testing.assert_array_equal(placebo.scale, grid.scale)
    pair = pronouns[3]
    donors = [other for other in pronouns if other.base_answer == pair.base_answer]
    changed = [
        Pair(
            pair.base,
            other.base,
            pair.base_answer,
            pair.source_answer,
            positions={"name": Position(pair.positions["name"].base, other.positions["name"].base)},
        )
        for other in donors
        if other.base != pair.base
    ]
    alone = Pairs(changed, name="each donor", cluster=None)
    edit = interchange(block_output(0, pos="name"))
    values = -instrument.effect(edit, on=alone).values
    assert np.abs(values - placebo.values[3, 0, 0]).min() < 1e-4
    assert (0, "name") in grid.against(placebo).significant().cells


def _base(pair):
    from causaltest.engine.prompts import Row

    return Row.of(pair, "base")


def test_placebos_of_sources_do_nothing_where_the_edit_cannot(instrument, even):
    """Before the first other token of a pair, edit less placebo is 0; behind it, it is not."""
    given = {"positions": "all", "layers": [0, 1], "on": even, "metric": logit_diff}
    grid = instrument.sweep(block_output, **given)
    placebo = instrument.sweep(block_output, placebo="source", **given)
    tokens = instrument.model.prompts.ids
    for index, pair in enumerate(even):
        both = zip(tokens(pair.base), tokens(pair.source), strict=True)
        first = next(at for at, (one, other) in enumerate(both) if one != other)
        assert first > 0
        assert (placebo.values[index, :, :first] == 0).all()
        assert (grid.against(placebo).values[index, :, :first] == 0).all()
    assert (placebo.values[..., -1] != 0).any()


def test_placebos_of_heads_are_other_heads_of_the_layer(instrument, pronouns):
    """Each value is that of another head of the same layer, for the same pair."""
    given = {"positions": "end", "on": pronouns}
    grid = instrument.sweep(head_attention_value_output, **given)
    placebo = instrument.sweep(head_attention_value_output, placebo="head", **given)
    for pair, layer, head in itertools.product(range(4), range(3), range(4)):
        others = np.delete(grid.values[pair, layer], head)
        off = np.abs(others - placebo.values[pair, layer, head])
        assert off.min() < 1e-5  # of logits about 10, in other batches
    again = instrument.sweep(head_attention_value_output, placebo="head", **given)
    np.testing.assert_array_equal(again.values, placebo.values)
    assert list(grid.against(placebo).significant(direction="below")) == [(2, 3)]


# Messages


@pytest.mark.parametrize(
    "given, error, message",
    [
        (
            {"component": "block_ouput"},
            SiteError,
            "cannot sweep 'block_ouput'; did you mean 'block_output'?",
        ),
        (
            {"component": block_output(0)},
            SiteError,
            "block_output[0] is one site; sweep its component, causal.sweep(block_output, ...)",
        ),
        (
            {"component": "expert_output"},
            SiteError,
            "expert_output has experts, which are no axis of a sweep; give a mapping of labels",
        ),
        ({"component": []}, SiteError, "a sweep needs a component"),
        (
            {"component": [block_output, "block_output"]},
            SiteError,
            "names a component twice: block_output, block_output",
        ),
        ({"component": block_output, "heads": [0]}, SiteError, "block_output has no heads"),
        (
            {"component": [block_output, head_attention_value_output]},
            SiteError,
            "head_attention_value_output has heads and block_output has none; sweep them apart",
        ),
        ({"component": block_output, "layers": [1, 1]}, SiteError, "layers has 1 twice"),
        ({"component": block_output, "layers": []}, SiteError, "layers is empty"),
        ({"component": block_output, "layers": [7]}, SiteError, "7"),
        (
            {"component": block_output, "layers": 1, "positions": "end"},
            SiteError,
            "has one cell: measure it with causal.effect(...)",
        ),
        (
            {"component": block_output, "positions": "all"},
            PairError,
            "have 5, 6, 7, 8, 9, 10 tokens",
        ),
        (
            {"component": {"a": block_output(0)}, "layers": [0]},
            SiteError,
            "layers= has no meaning for a mapping",
        ),
        ({"component": {}}, InterventionError, "there is no cell to sweep"),
        (
            {"component": {"a": 3}},
            InterventionError,
            "cell 'a' is 3 (int); expected an intervention such as interchange(site), or a site",
        ),
        (
            {"component": block_output, "positions": "end", "placebo": "pos"},
            InterventionError,
            "placebo='pos' draws other tokens than positions=",
        ),
        (
            {"component": block_output, "intervention": zero_ablate, "placebo": "source"},
            InterventionError,
            "takes nothing from a source, so placebo='source' changes nothing",
        ),
        (
            {"component": block_output, "positions": "end", "placebo": "head"},
            InterventionError,
            "placebo is 'head', but the sweep has the axes layer",
        ),
        (
            {"component": block_output, "layers": [0], "placebo": "layer", "positions": "name"},
            InterventionError,
            "axis 'layer' has one label; a placebo needs another",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(instrument, pronouns, given, error, message):
    """Each message names the value and what to do."""
    with pytest.raises(error, match=re.escape(message)):
        instrument.sweep(on=pronouns, **given)


def test_a_grid_has_no_truth(instrument, pronouns):
    """Asking a map for its truth names the claims."""
    grid = instrument.sweep(block_output, positions="end", on=pronouns)
    with pytest.raises(TypeError, match="a grid has no truth value"):
        bool(grid)


def test_labels_that_do_not_exist_are_refused(instrument, pronouns):
    """The axes are named as the arguments say, in the singular."""
    grid = instrument.sweep(block_output, positions=["name", "end"], on=pronouns)
    with pytest.raises(MetricError, match="no axis 'position'"):
        grid.mean_over(position="name")
