"""Mistakes that pyvene answers obscurely: here each says what is wrong and what to do."""

import re

import pytest
import torch
from torch import nn

import causaltest.pyvene as pv
from causaltest.errors import InterventionError, SiteError

KEY = "layer_1_comp_block_output_unit_pos_nunit_1#0"


def model_of(network, *representations, **more):
    """Return a model."""
    return pv.IntervenableModel(pv.IntervenableConfig(list(representations), **more), network)


@pytest.mark.parametrize(
    "representation, message",
    [
        ({"component": "mlp"}, "unknown component 'mlp'; did you mean 'mlp_output'?"),
        (
            {"component": "transformer.h[0].outptu"},
            "cannot read 'transformer.h[0].outptu' as a site",
        ),
        ({"component": "h[0].output"}, "GPT2LMHeadModel has no module 'h.0'"),
        ({"layer": 99}, "block_output[99] does not exist: GPT2LMHeadModel has layers 0-2"),
        (
            {"component": "head_query_output"},
            "unit 'pos' does not fit head_query_output: heads are addressed by 'h' or 'h.pos'",
        ),
        ({"unit": "h"}, "unit 'h' does not fit block_output: it has no heads"),
        ({"layr": 3}, "unknown field 'layr' of a representation; did you mean 'layer'?"),
        ({"moe_key": 1}, "block_output: moe_key=1 has no meaning here"),
        (
            {"intervention_type": pv.LowRankRotatedSpaceIntervention},
            "LowRankRotatedSpaceIntervention needs low_rank_dimension, the number of directions",
        ),
        ({"intervention_type": nn.Linear}, f"{KEY}: Linear is no subclass of"),
    ],
)
def test_wrong_representations_are_refused(network, representation, message):
    """A representation that does not fit the model says why, with the nearest name."""
    with pytest.raises((SiteError, InterventionError)) as caught:
        pv.IntervenableModel({"layer": 1, **representation}, network)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "locations, message",
    [
        (
            {"sources->base": 77},
            "block_output[1]: position 77 does not exist: row 0 has 6 tokens",
        ),
        ({"sources->base": -7}, "block_output[1]: position -7 does not exist: row 0 has 6 tokens"),
        (
            {"source->base": 3},
            "unknown key 'source->base' of unit_locations; did you mean 'sources->base'?",
        ),
        (
            {"base": 3},
            f"{KEY}: VanillaIntervention needs a source, but unit_locations say nothing of where",
        ),
        (
            {"sources->base": 3, "base": 3},
            "unit_locations has both 'sources->base' and 'base'; give one",
        ),
        (
            {"sources->base": ([[[3], [3, 4], [5]]], [[[3], [3], [3]]])},
            "unit_locations['sources->base', source, 0] has rows of 1, 2 units",
        ),
        ({"sources->base": "end"}, "unit_locations['sources->base'] is 'end'; expected indices"),
    ],
)
def test_wrong_locations_are_refused(network, inputs, locations, message):
    """Locations that do not fit say what was given and what there is."""
    with pytest.raises((SiteError, InterventionError)) as caught:
        model_of(network, {"layer": 1})(inputs(1), [inputs(2)], locations)
    assert str(caught.value).startswith(message)


def test_locations_of_one_intervention_are_refused_for_two(network, inputs):
    """Each intervention has its own entry."""
    places = [[[3]] * 3]
    with pytest.raises(InterventionError) as caught:
        model_of(network, {"layer": 0}, {"layer": 1})(
            inputs(1), [inputs(2)], {"sources->base": (places, places)}
        )
    assert str(caught.value) == (
        "unit_locations['sources->base', source]: locations for 1 interventions, but there are 2; "
        "give one entry for each, None to skip one"
    )


def test_negative_positions_count_from_the_end_of_each_row(network, inputs):
    """-1 is the last token that is no padding; a place in the padding is refused."""
    base = inputs(1)
    base["attention_mask"][0, 4:] = 0
    model = model_of(network, {"layer": 1, "intervention_type": pv.ZeroIntervention})
    seen = model_of(
        network,
        {"layer": 1, "intervention_type": pv.ZeroIntervention},
        {"layer": 1, "intervention_type": pv.CollectIntervention},
    )
    places = [[[-1]] * 3, [[0, 1, 2, 3]] * 3]
    (_, (found,)), _ = seen(base, unit_locations={"base": places})
    assert found[0, 3].abs().sum() == 0
    assert found[1, 3].abs().sum() > 0
    with pytest.raises(SiteError) as caught:
        model(base, unit_locations={"base": 5})
    assert str(caught.value) == (
        "block_output[1]: position 5 of row 0 is padding; its tokens are 0-3"
    )


def test_lengths_that_differ_are_refused(network, inputs):
    """Without locations base and source must be of one length."""
    with pytest.raises(InterventionError) as caught:
        model_of(network, {"layer": 1})(inputs(1), [inputs(2, 3, 8)])
    assert str(caught.value) == (
        "block_output[1]: the source gives 8 units and base takes 6; give unit_locations of "
        "equally many, or prompts of equal length"
    )


def test_another_number_of_units_than_the_basis_is_refused(network, inputs):
    """One basis over two units and the same basis at each are told apart."""
    model = model_of(
        network, {"layer": 1, "low_rank_dimension": 2,
                  "intervention_type": pv.LowRankRotatedSpaceIntervention}
    )  # fmt: skip
    places = [[[1, 3]] * 3]
    with pytest.raises(InterventionError) as caught:
        model(inputs(1), [inputs(2)], {"sources->base": (places, places)})
    assert str(caught.value) == (
        "block_output[1]: LowRankRotatedSpaceIntervention got 2 units, but max_number_of_units=1\n"
        "for one basis over all of them set max_number_of_units=2; for the same basis at each of "
        "them pass an instance with keep_last_dim=True"
    )


def test_a_rotation_of_the_full_width_is_refused(network, inputs):
    """It gives the source whatever the rotation."""
    model = model_of(network, {"layer": 1, "intervention_type": pv.RotatedSpaceIntervention})
    with pytest.raises(InterventionError) as caught:
        model(inputs(1), [inputs(2)], {"sources->base": 3})
    assert str(caught.value) == (
        "RotatedSpaceIntervention: all 24 of 24 rotated dims would be interchanged, which gives "
        "the source whatever the rotation\nchoose fewer: low_rank_dimension=k, "
        "set_interchange_dim(k) or subspaces="
    )


def test_one_source_serves_an_interchange_beside_a_collect(network, inputs):
    """The collecting intervention leaves it alone; a source of its own is refused."""
    model = model_of(
        network, {"layer": 1}, {"layer": 2, "intervention_type": pv.CollectIntervention}
    )
    (_, (found,)), _ = model(inputs(1), [inputs(2)], {"sources->base": 3})
    assert found.shape == (3, 1, 24)
    with pytest.raises(InterventionError, match="CollectIntervention takes no source; give None"):
        model(inputs(1), [inputs(2), inputs(2)], {"sources->base": 3})


class Twice(nn.Module):
    """A network that uses one layer twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


def test_a_module_that_runs_twice_is_refused():
    """Which of its calls is meant must be said."""
    model = pv.IntervenableModel(
        {"component": "layer.output", "intervention_type": pv.ZeroIntervention}, Twice()
    )
    with pytest.raises(InterventionError) as caught:
        model({"x": torch.randn(2, 4)})
    assert str(caught.value) == (
        "ZeroIntervention() did not happen as declared: layer ran 2 times in one forward pass of "
        "Twice\nEach edit must happen exactly once; unit='t' addresses one of the calls by its "
        "number; else choose a module that runs once"
    )


def test_gradients_flow_under_relu():
    """Two trained layers on ReLU activations get gradients; nothing is changed in place."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network

        def forward(self, x):
            return self.net(x)

    each = {"intervention_type": pv.LowRankRotatedSpaceIntervention, "low_rank_dimension": 2}
    model = pv.IntervenableModel(
        [{**each, "component": f"net[{layer}].output"} for layer in (0, 2)], Named()
    )
    model.enable_model_gradients()
    _, out = model({"x": torch.randn(3, 4)}, [{"x": torch.randn(3, 4)}])
    out.sum().backward()
    assert len(model.get_trainable_parameters()) == 6
    assert all(each.grad is not None for each in model.get_trainable_parameters())


@pytest.mark.parametrize("kind", ["SigmoidMask", "function"])
def test_half_precision_is_kept(network, inputs, kind):
    """Single-precision results of a mask or a function go back into a bf16 activation."""
    network.to(torch.bfloat16)
    if kind == "function":
        each = {"intervention": lambda base, source: base.float() + source.float()}
    else:
        each = {"intervention_type": pv.SigmoidMaskIntervention}
    _, out = model_of(network, {"layer": 1, **each})(inputs(1), [inputs(2)], {"sources->base": 3})
    assert out.logits.dtype == torch.bfloat16


def test_key_value_heads_are_counted(script, inputs):
    """A head that a grouped component does not have is refused with those there are."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=44, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    model = model_of(
        LlamaForCausalLM(config), {"layer": 1, "component": "head_key_output", "unit": "h.pos"}
    )
    places = [[[[3]] * 3, [[1]] * 3]]
    with pytest.raises(SiteError, match="has key-value heads 0-1"):
        model(inputs(1), [inputs(2)], {"sources->base": (places, places)})


def test_a_model_can_be_printed(network):
    """Printing names every intervention."""
    model = model_of(network, {"layer": 1})
    assert str(model) == (
        f"IntervenableModel(GPT2LMHeadModel, parallel)\n    {KEY}: VanillaIntervention()"
    )
    assert "layer=1" in repr(model.config)


def test_other_mistakes_say_what_is_wrong(network, inputs):
    """Sources, groups, modes and stored activations that do not fit are refused by name."""
    two = [{"layer": 0}, {"layer": 1}]
    model = model_of(network, *two)
    with pytest.raises(InterventionError, match="3 sources for 2 interventions; give one for each"):
        model(inputs(1), [inputs(2)] * 3)
    with pytest.raises(InterventionError, match="unknown key 'x'"):
        model(inputs(1), source_representations={"x": torch.zeros(24)})
    with pytest.raises(InterventionError, match="base is a Tensor; expected the model's keyword"):
        model(inputs(1)["input_ids"])
    with pytest.raises(InterventionError, match="group_key is set on 1 of 2 representations"):
        model_of(network, {"layer": 0, "group_key": 0}, {"layer": 1})
    with pytest.raises(InterventionError, match="group_keys are \\[1, 2\\]; numbers say which"):
        model_of(network, {"layer": 0, "group_key": 1}, {"layer": 1, "group_key": 2})
    with pytest.raises(InterventionError, match="mode is 'serail'; did you mean 'serial'\\?"):
        pv.IntervenableConfig(two, mode="serail")
    with pytest.raises(InterventionError, match=r"there is no intervention 'layer\.7\.block"):
        model.interventions["layer.7.block_output"]
    with pytest.raises(InterventionError, match="unit_locations has no 'source_1->base'"):
        model_of(network, *two, mode="serial")(
            inputs(1), [inputs(2)] * 2, {"source_0->source_1": 3}
        )


@pytest.mark.parametrize(
    "name, message",
    [
        ("create_gru", "has no 'create_gru': make the network, e.g. by transformers'"),
        ("type_to_module_mapping", "components are found by the structure of the network; address"),
        ("GET_LOC", "write the locations: {'base': [[[head]], [[position]]]} for unit 'h.pos'"),
        ("VanilaIntervention", "has no 'VanilaIntervention'; did you mean 'VanillaIntervention'?"),
    ],
)
def test_names_that_are_not_here_say_what_to_write(name, message):
    """Functions that make networks, and other names of pyvene, are refused with what to do."""
    with pytest.raises(AttributeError, match=re.escape(message)):
        getattr(pv, name)
