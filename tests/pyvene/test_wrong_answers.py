"""What pyvene gets wrong without a word: here it raises, or gives the right numbers."""

import pytest
import torch
from torch import nn

import causaltest.pyvene as pv
from causaltest.errors import CausaltestError, InterventionError, SiteError


def patched(network, base, source, layer, edits):
    """Return logits with the source's block output at (row, base place, source place)."""
    block = network.transformer.h[layer]
    seen = []

    def read(_module, _args, output):
        seen.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    def write(_module, _args, output):
        tensor = (output[0] if isinstance(output, tuple) else output).clone()
        for row, to, come in edits:
            tensor[row, to] = seen[0][row, come]
        return (tensor, *output[1:]) if isinstance(output, tuple) else tensor

    with torch.no_grad():
        handle = block.register_forward_hook(read)
        network(**source)
        handle.remove()
        handle = block.register_forward_hook(write)
        logits = network(**base).logits
        handle.remove()
    return logits


def vanilla(network, layer=1, **more):
    """Return a model with an interchange of a block's output."""
    return pv.IntervenableModel({"layer": layer, "component": "block_output", **more}, network)


def test_locations_for_one_row_are_refused_for_four(network, inputs):
    """B1: pyvene gives every row the first source row's activation."""
    with pytest.raises(InterventionError) as caught:
        vanilla(network)(inputs(1, 4), [inputs(2, 4)], {"sources->base": ([[[3]]], [[[3]]])})
    assert str(caught.value) == (
        "unit_locations['sources->base', source, 0] is written for 1 rows, but base has 4; give a "
        "list for each row, or one int for all of them"
    )


def test_an_int_location_does_not_stick(network, inputs):
    """B2: after a call with an int, each row still has its own position."""
    model = vanilla(network)
    base, source = inputs(1), inputs(2)
    model(base, [source], {"sources->base": 3})
    places = [[[1], [5], [0]]]
    _, after = model(base, [source], {"sources->base": (places, places)})
    expected = patched(network, base, source, 1, [(0, 1, 1), (1, 5, 5), (2, 0, 0)])
    torch.testing.assert_close(after.logits, expected, rtol=1e-5, atol=1e-6)


def test_each_row_changes_its_own_dims(network, inputs):
    """B3: subspaces of rows are not united."""
    rows = 2
    model = vanilla(network)
    collect = pv.IntervenableModel(
        [{"layer": 1, "component": "block_output"},
         {"layer": 1, "component": "block_output", "intervention_type": pv.CollectIntervention}],
        network,
    )  # fmt: skip
    plain = pv.IntervenableModel({"layer": 1, "intervention_type": pv.CollectIntervention}, network)
    base, source = inputs(1, rows), inputs(2, rows)
    dims = [[0, 1], [2, 3]]
    (_, (edited,)), _ = collect(base, [source, None], {"sources->base": 3}, subspaces=[dims, None])
    (_, (before,)), _ = plain(base, unit_locations={"base": 3})
    changed = (edited != before)[:, 0].nonzero().tolist()
    assert changed == [[0, 0], [0, 1], [1, 2], [1, 3]]
    with pytest.raises(InterventionError, match="subspaces for 1 rows, but base has 2"):
        model(base, [source], {"sources->base": 3}, subspaces=[[[0, 1]]])


@pytest.mark.parametrize("units", [1, 2])
def test_boundless_takes_batches_and_units(network, inputs, units):
    """B4: a boundless rotation equals its formula for several rows and units."""
    model = vanilla(
        network,
        intervention_type=pv.BoundlessRotatedSpaceIntervention,
        max_number_of_units=units,
    )
    (each,) = model.interventions.values()
    base, source = torch.randn(3, 24 * units), torch.randn(3, 24 * units)
    rotation = each.rotate_layer.weight
    index = torch.arange(24.0 * units)
    mask = torch.sigmoid(index / 50) * torch.sigmoid((0.5 * 24 * units - index) / 50)
    expected = ((1 - mask) * (base @ rotation) + mask * (source @ rotation)) @ rotation.T
    torch.testing.assert_close(each(base, source), expected, rtol=1e-5, atol=1e-5)
    places = [[list(range(units))] * 3]
    _, after = model(inputs(1), [inputs(2)], {"sources->base": (places, places)})
    assert after.logits.isfinite().all()


def test_several_positions_are_collected_whole(network, inputs):
    """B5: three positions give (rows, 3, width), the numbers of a plain hook."""
    model = pv.IntervenableModel({"layer": 1, "intervention_type": pv.CollectIntervention}, network)
    (_, (found,)), _ = model(inputs(1), unit_locations={"base": [0, 2, 4]})
    with torch.no_grad():
        states = network(**inputs(1), output_hidden_states=True).hidden_states
    assert torch.equal(found, states[2][:, [0, 2, 4]])
    (_, (everything,)), _ = model(inputs(1))
    assert torch.equal(everything, states[2])


def test_missing_sources_are_an_error(network, inputs):
    """B6: an interchange without a source is not a clean run."""
    with pytest.raises(InterventionError) as caught:
        vanilla(network)(inputs(1), unit_locations={"base": 3})
    assert str(caught.value) == (
        "layer_1_comp_block_output_unit_pos_nunit_1#0: VanillaIntervention needs a source; give "
        "sources=[...], or source_representations="
    )
    with pytest.raises(InterventionError, match="no intervention would happen: every one is"):
        vanilla(network)(inputs(1), [None], {"sources->base": 3})


def test_what_the_caller_gave_is_not_touched(network, inputs):
    """B7: dicts and lists of the caller stay as they are, and a second call does the same."""
    model = pv.IntervenableModel([{"layer": 0}, {"layer": 1}], network)
    vectors = {key: torch.randn(24) for key in model.sorted_keys}
    kept = dict(vectors)
    answers = [
        model(inputs(1), unit_locations={"base": 3}, source_representations=vectors)[1].logits
        for _ in range(2)
    ]
    assert vectors == kept
    assert torch.equal(*answers)
    sources = [inputs(2)]
    model(inputs(1), sources, {"sources->base": 3})
    assert len(sources) == 1


@pytest.mark.parametrize("rows", [2, 4])
def test_source_rows_must_be_those_of_base(network, inputs, rows):
    """B8: a source of another number of rows is refused."""
    with pytest.raises(InterventionError) as caught:
        vanilla(network)(inputs(1), [inputs(2, rows)], {"sources->base": 3})
    assert str(caught.value) == (
        f"a source has {rows} rows and base has 3; give one source row for each"
    )


def test_hooks_of_others_stay(network, inputs):
    """B9: the caller's hooks and output_hidden_states work after a call, and after an error."""

    def hooks():
        return [
            (len(each._forward_hooks), len(each._forward_pre_hooks)) for each in network.modules()
        ]

    calls = []
    network(**inputs(1), output_hidden_states=True)
    network.transformer.h[0].register_forward_hook(lambda *_: calls.append(1))
    installed = hooks()
    model = vanilla(network)
    model(inputs(1), [inputs(2)], {"sources->base": 3})
    with pytest.raises(CausaltestError):
        model(inputs(1), [inputs(2)], {"sources->base": 77})
    before = len(calls)
    assert len(network(**inputs(1), output_hidden_states=True).hidden_states) == 4
    assert len(calls) == before + 1
    assert hooks() == installed


@pytest.mark.parametrize("component", ["query_output", "key_output", "attention_value_output"])
def test_wide_heads_are_swapped_whole(inputs, component):
    """B11: with heads wider than hidden/heads, a whole source gives the whole activation."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=44, num_hidden_layers=2, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    network = Qwen3ForCausalLM(config).eval()
    model = pv.IntervenableModel(
        [{"layer": 1, "component": component},
         {"layer": 1, "component": component, "intervention_type": pv.CollectIntervention}],
        network,
    )  # fmt: skip
    plain = pv.IntervenableModel(
        {"layer": 1, "component": component, "intervention_type": pv.CollectIntervention}, network
    )
    (_, (found,)), _ = model(inputs(1), [inputs(2), None])
    (_, (wanted,)), _ = plain(inputs(2))
    assert torch.equal(found, wanted)


class Recurrent(nn.Module):
    """A cell that is called once for each time step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.GRUCell(3, 5)

    def forward(self, x):
        state, states = torch.zeros(len(x), 5), []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            states.append(state)
        return torch.stack(states, dim=1)


def test_time_steps_before_an_edit_stay(inputs):
    """B12: an edit at step 3 changes steps from 3 on, for each row of a batch."""
    network = Recurrent()
    base, source = {"x": torch.randn(4, 6, 3)}, {"x": torch.randn(4, 6, 3)}
    each = {"component": "cell.output", "unit": "t"}
    _, zeroed = pv.IntervenableModel({**each, "intervention": pv.ZeroIntervention()}, network)(
        base, unit_locations={"base": 3}
    )
    clean = network(**base)
    assert torch.equal(zeroed[:, :3], clean[:, :3])
    assert torch.equal(zeroed[:, 3], torch.zeros(4, 5))
    assert not torch.equal(zeroed[:, 4], torch.zeros(4, 5))
    _, swapped = pv.IntervenableModel({**each, "intervention": pv.VanillaIntervention()}, network)(
        base, [source], {"sources->base": (1, 3)}
    )
    assert torch.equal(swapped[:, :3], clean[:, :3])
    assert torch.equal(swapped[:, 3], network(**source)[:, 1])
    with pytest.raises(InterventionError, match="call 9 of cell does not exist: it runs 6 times"):
        pv.IntervenableModel({**each, "intervention": pv.ZeroIntervention()}, network)(
            base, unit_locations={"base": 9}
        )


class Stepwise(nn.Module):
    """A recurrent layer that is called with one time step of all rows, (1, rows, width)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.GRU(3, 5)

    def forward(self, x):
        state, states = torch.zeros(1, len(x), 5), []
        for step in range(x.shape[1]):
            _, state = self.layer(x[:, step][None], state)
            states.append(state[0])
        return torch.stack(states, dim=1)


@pytest.mark.parametrize("path, kind", [("cell", Recurrent), ("layer", Stepwise)])
def test_each_row_has_its_own_time_steps(path, kind):
    """B12: rows are read and set at time steps of their own, several of them, as by hand."""
    network = kind()
    base, source = {"x": torch.randn(4, 6, 3)}, {"x": torch.randn(4, 6, 3)}
    each = {"component": f"{path}.output", "unit": "t", "max_number_of_units": 2}
    kinds = [pv.VanillaIntervention(), pv.CollectIntervention()]
    model = pv.IntervenableModel([{**each, "intervention": one} for one in kinds], network)
    read, put = [[0, 5], [2, 1], [3, 3 - 1], [5, 0]], [[1, 4], [2, 3], [0, 5], [5, 4]]
    (_, found), _ = model(base, [source, None], {"sources->base": ([read, None], [put, put])})
    with torch.no_grad():
        states = network(**source)
        wanted = {
            (row, step): states[row, there]
            for row, steps in enumerate(put)
            for step, there in zip(steps, read[row], strict=True)
        }
    # What is collected at a time step is that of the rows that are put in there, in their order.
    by_step = [
        torch.stack([wanted[row, step] for row in range(4) if (row, step) in wanted])
        for step in sorted({step for _, step in wanted})
    ]
    assert len(found) == len(by_step)
    for one, other in zip(found, by_step, strict=True):
        assert torch.equal(one, other)


def test_time_steps_that_mean_nothing_are_refused(network, inputs):
    """B12: those before the first, those of a text that is being written, and tokens' own."""
    each = {"component": "cell.output", "unit": "t", "intervention": pv.ZeroIntervention()}
    with pytest.raises(SiteError) as caught:
        pv.IntervenableModel(each, Recurrent())({"x": torch.randn(4, 6, 3)}, None, {"base": -1})
    assert str(caught.value) == "cell.output: time step -1 does not exist; they count from 0"
    zero = {"layer": 1, "unit": "t", "intervention_type": pv.ZeroIntervention}
    model = pv.IntervenableModel(zero, network)
    with pytest.raises(InterventionError) as caught:
        model.generate(
            inputs(1), unit_locations={"base": 0}, intervene_on_prompt=True, max_new_tokens=2
        )
    assert str(caught.value) == (
        "block_output[1]: unit 't' counts the calls of one forward pass, and a text is written in "
        "several; use unit 'pos'"
    )
    with pytest.raises(InterventionError) as caught:
        model(inputs(1), unit_locations={"base": 0})
    assert str(caught.value) == (
        "block_output[1] has shape (3, 6, 24); one time step of 3 rows has (3,) and a width"
    )


@pytest.mark.parametrize("kind", [pv.NoiseIntervention, pv.CollectIntervention])
def test_a_cache_changes_nothing(network, inputs, kind):
    """Noise of a seed, and what is collected, are those of each new token once."""
    model = vanilla(network, intervention_type=kind)
    if kind is pv.NoiseIntervention:
        model.interventions["layer.1.block_output"][0].noise_level = 2.0
    options = {
        "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None,
        "return_dict_in_generate": True, "output_logits": True,
    }  # fmt: skip
    first, second = (model.generate(inputs(1), use_cache=use, **options) for use in (True, False))
    plain = network.generate(**inputs(1), **options)
    assert torch.equal(first[1].sequences, second[1].sequences)
    if kind is pv.NoiseIntervention:
        assert not torch.allclose(first[1].logits[1], plain.logits[1], atol=1e-3)
        torch.testing.assert_close(first[1].logits, second[1].logits, rtol=1e-4, atol=1e-5)
        return
    ((_, cached), _), ((_, uncached), _) = first, second
    assert [tuple(each.shape) for each in cached] == [(3, 1, 24)] * 4
    torch.testing.assert_close(cached, uncached, rtol=1e-4, atol=1e-5)


def test_new_tokens_without_an_axis_of_their_own_are_refused():
    """An activation of rows times tokens is never edited whole for its new tokens."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=50, hidden_size=32, ffn_dim=44, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=32, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    each = {"component": "model.decoder.layers[1].fc1.output"}
    model = pv.IntervenableModel(
        {**each, "intervention_type": pv.ZeroIntervention}, OPTForCausalLM(config).eval()
    )
    ids = torch.arange(5, 15).reshape(2, 5)
    with pytest.raises(InterventionError, match=r"fc1.output has shape \(10, 44\) in generation"):
        model.generate({"input_ids": ids}, max_new_tokens=3, do_sample=False)


def test_the_model_keeps_its_flags(network, inputs):
    """B13: training flag, requires_grad and the caller's embeddings are as they were."""
    network.train()
    network.transformer.h[0].requires_grad_(False)
    flags = [each.requires_grad for each in network.parameters()]
    model = vanilla(
        network, layer=0, intervention_type=pv.LowRankRotatedSpaceIntervention,
        low_rank_dimension=2,
    )  # fmt: skip
    embeds = torch.randn(3, 6, 24)
    kept = embeds.clone()
    _, after = model({"inputs_embeds": embeds}, [inputs(2)], {"sources->base": 3})
    after.logits.sum().backward()
    assert network.training
    assert [each.requires_grad for each in network.parameters()] == flags
    assert all(each.grad is None for each in network.parameters())
    assert torch.equal(embeds, kept)
    model.train()
    model(inputs(1), [inputs(2)], {"sources->base": 3})
    network.eval()
    model(inputs(1), [inputs(2)], {"sources->base": 3})
    assert not network.training


def test_two_ints_in_a_list_have_two_meanings(network, inputs):
    """B14: the error says how to write either meaning, and both ways run."""
    model = pv.IntervenableModel([{"layer": 0}, {"layer": 1}], network)
    base, sources = inputs(1), [inputs(2), inputs(2)]
    with pytest.raises(InterventionError) as caught:
        model(base, sources, {"sources->base": [2, 4]})
    side = "[[[2, 4]] * 3] * 2"
    assert str(caught.value) == (
        "unit_locations['sources->base'] = [2, 4] has two meanings: positions 2 and 4, or source 2 "
        f"into base 4\nfor both positions write {{'sources->base': ({side}, {side})}}; for source "
        "2 into base 4 write the tuple (2, 4)"
    )
    places = [[[2, 4]] * 3] * 2
    model(base, sources, {"sources->base": (places, places)})
    one = places[:1]
    _, both = vanilla(network)(base, sources[:1], {"sources->base": (one, one)})
    expected = patched(
        network, base, sources[0], 1, [(row, at, at) for row in range(3) for at in (2, 4)]
    )
    torch.testing.assert_close(both.logits, expected, rtol=1e-5, atol=1e-6)
    _, moved = vanilla(network)(base, sources[:1], {"sources->base": (2, 4)})
    expected = patched(network, base, sources[0], 1, [(row, 4, 2) for row in range(3)])
    torch.testing.assert_close(moved.logits, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(
        InterventionError, match=r"for both positions write \{'base': \[\[\[0, 2\]\]"
    ):
        pv.IntervenableModel({"intervention_type": pv.ZeroIntervention}, network)(
            base, unit_locations={"base": [0, 2]}
        )


def test_unknown_units_and_negative_layers_are_refused(network):
    """B14: neither is taken for something else."""
    with pytest.raises(InterventionError) as caught:
        vanilla(network, unit="poss")
    assert str(caught.value) == (
        "unknown unit 'poss' of block_output; did you mean 'pos'?\nunits: pos, h, h.pos, t"
    )
    with pytest.raises(SiteError, match="layer of block_output is -1; layers count from 0"):
        vanilla(network, layer=-1)


def test_nothing_piles_up_over_calls(network, inputs):
    """B15: what interventions return beside the activation is that of the last call."""

    class Shown(pv.ConstantSourceIntervention, pv.LocalistRepresentationIntervention):
        def forward(self, base, source=None, subspaces=None):
            return pv.InterventionOutput(output=base + 1, latent=base)

    model = vanilla(network, intervention=Shown())
    for _ in range(3):
        model.generate(inputs(1), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert len(model.full_intervention_outputs) == 3
