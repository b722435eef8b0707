"""Several sources: who reads which, in how many passes, and in what chain."""

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import causaltest.pyvene as pv
from causaltest.errors import InterventionError, SiteError


@pytest.fixture
def passes(network):
    """Return a list that grows with every block that runs, by its index."""
    seen = []
    blocks = list(network.transformer.h)
    # Not hooks of the blocks: those of the caller are silent while a network is explored.
    handle = register_module_forward_pre_hook(
        lambda module, _: seen.append(blocks.index(module)) if module in blocks else None
    )
    yield seen
    handle.remove()


def test_one_source_serves_all_sites_in_one_pass(network, inputs, passes):
    """Six sites of one source cost one pass, which ends at the last block that is read."""
    model = pv.IntervenableModel(
        [{"layer": layer, "component": name} for layer in (0, 1) for name in
         ("attention_output", "mlp_output", "block_output")], network
    )  # fmt: skip
    passes.clear()
    model(inputs(1), [inputs(2)], {"sources->base": 3})
    assert passes == [0, 1, 0, 1, 2]


def test_a_network_is_explored_once_until_its_modules_change(network, passes):
    """Wrapping a network again costs no pass; a module that is replaced is looked at again."""
    pv.IntervenableModel({"layer": 1}, network)
    assert passes
    passes.clear()
    pv.IntervenableModel({"layer": 2}, network)
    assert not passes
    network.transformer.h[0].mlp.c_fc = torch.nn.Linear(24, 96)
    pv.IntervenableModel({"layer": 2}, network)
    assert passes


def test_groups_have_any_names(network, inputs):
    """Names take sources in the order of their first appearance, as numbers do in theirs."""
    sources = [inputs(2), inputs(3)]
    answers = []
    for first, second in ((0, 1), ("early", "late")):
        model = pv.IntervenableModel(
            [{"layer": 0, "group_key": first}, {"layer": 2, "group_key": second},
             {"layer": 1, "component": "mlp_output", "group_key": first}], network
        )  # fmt: skip
        answers.append(model(inputs(1), sources, {"sources->base": 3})[1].logits)
    assert torch.equal(*answers)


def test_a_chain_takes_groups_of_several_sites(network, inputs):
    """A group of two sites edits as the two do in parallel with its edited source."""
    each = [
        {"layer": 0, "group_key": 0},
        {"layer": 1, "component": "mlp_output", "group_key": 1},
        {"layer": 1, "component": "attention_output", "group_key": 1},
    ]
    model = pv.IntervenableModel(pv.IntervenableConfig(each, mode="serial"), network)
    _, chained = model(
        inputs(1), [inputs(2), inputs(3)], {"source_0->source_1": 2, "source_1->base": 4}
    )
    first = pv.IntervenableModel(
        [each[0], {**each[1], "group_key": 1, "intervention_type": pv.CollectIntervention},
         {**each[2], "group_key": 2, "intervention_type": pv.CollectIntervention}], network
    )  # fmt: skip
    at, to = [[2]] * 3, [[4]] * 3
    (_, found), _ = first(
        inputs(3), [inputs(2), None, None], {"sources->base": ([at, None, None], [at, to, to])}
    )
    last = pv.IntervenableModel([{**one, "group_key": None} for one in each[1:]], network)
    _, expected = last(inputs(1), unit_locations={"base": 4}, source_representations=found)
    torch.testing.assert_close(chained.logits, expected.logits, rtol=1e-5, atol=1e-6)


def test_a_chain_with_a_missing_link_is_refused(network, inputs):
    """What would edit nothing is an error."""
    model = pv.IntervenableModel(
        pv.IntervenableConfig([{"layer": 0}, {"layer": 1}], mode="serial"), network
    )
    with pytest.raises(InterventionError, match="the source after it in the chain is missing"):
        model(inputs(1), [inputs(2), None])


def test_a_chain_counts_from_the_end_of_the_source_that_it_edits(network, inputs):
    """A negative place is that of the padded source that is edited, not of base."""
    base, first, second = inputs(1), inputs(2), inputs(3)
    second["attention_mask"][:, 4:] = 0
    each = [{"layer": 0}, {"layer": 1}]
    model = pv.IntervenableModel(pv.IntervenableConfig(each, mode="serial"), network)
    answers = [
        model(base, [first, second], {"source_0->source_1": (2, place), "source_1->base": 3})
        for place in (-1, 3)
    ]
    assert torch.equal(*(each[1].logits for each in answers))


def test_a_chain_writes_a_text(network, inputs):
    """The prompt of a text is edited by the end of a chain, whose sources are plain passes."""
    base, first, second = inputs(1), inputs(2), inputs(3)
    each = [{"layer": 0}, {"layer": 1}]
    model = pv.IntervenableModel(pv.IntervenableConfig(each, mode="serial"), network)
    places = {"source_0->source_1": (1, 2), "source_1->base": (3, 5)}
    options = {
        "max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "eos_token_id": None,
        "return_dict_in_generate": True, "output_logits": True,
    }  # fmt: skip
    _, text = model.generate(base, [first, second], places, intervene_on_prompt=True, **options)
    _, plain = model(base, [first, second], places)
    torch.testing.assert_close(text.logits[0], plain.logits[:, -1], rtol=1e-4, atol=1e-5)


def test_attention_weights_never_pass_for_edited(network, inputs):
    """B10: a component that cannot be edited is refused when the model is wrapped, or is edited."""
    each = {"layer": 1, "component": "attention_weight", "intervention_type": pv.ZeroIntervention}
    with pytest.raises(SiteError, match="'attention_weight': say attention_pattern, of shape"):
        pv.IntervenableModel(each, network)


def test_attention_patterns_are_collected_and_edited(network, inputs):
    """Patterns are the network's own, and without one a head mixes nothing."""
    base = inputs(1)
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    wanted = network(**base, output_attentions=True).attentions[1]
    network.set_attn_implementation(before)
    collect = pv.CollectIntervention(embed_dim=24)
    model = pv.IntervenableModel(
        {"layer": 1, "component": "attention_pattern", "intervention": collect}, network
    )
    ((_, (found,)), _) = model(base)
    assert torch.allclose(found.unflatten(-1, (4, 6)).transpose(1, 2), wanted, atol=1e-6)
    outputs = [
        pv.IntervenableModel(
            {
                "layer": 1, "component": component, "unit": "h.pos",
                "intervention": pv.ZeroIntervention(embed_dim=6),
            },
            network,
        )(base, unit_locations={"base": [[[[2]] * 3, [[5]] * 3]]})[1].logits
        for component in ("head_attention_pattern", "head_attention_value_output")
    ]  # fmt: skip
    assert torch.allclose(*outputs, atol=1e-5)
    assert network.config._attn_implementation == before


def test_attention_patterns_of_other_keys_are_refused(network, inputs):
    """Padded rows, sources of another length, and keys that a mask hides are errors."""
    each = {
        "layer": 1, "component": "attention_pattern",
        "intervention": pv.VanillaIntervention(embed_dim=24),
    }  # fmt: skip
    model = pv.IntervenableModel(each, network)
    padded = inputs(1)
    padded["attention_mask"][0, 4:] = 0
    with pytest.raises(InterventionError, match="must be of equal length; these have 4 to 6"):
        model(padded, [inputs(2)], {"sources->base": 2})
    with pytest.raises(InterventionError, match="24 in base, but 32 in the source; give prompts"):
        model(inputs(1), [inputs(2, 3, 8)], {"sources->base": 2})
    with pytest.raises(InterventionError, match=r"reaches a key \(number 2\) that the mask hides"):
        model(inputs(1), [inputs(2)], {"sources->base": (4, 1)})
