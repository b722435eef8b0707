"""What pyvene's own tests hold, asserted against formulas and plain hooks."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import causaltest.pyvene as pv
from causaltest.engine.access import Access, put, take
from causaltest.errors import InterventionError
from causaltest.pyvene.locations import Spot
from causaltest.pyvene.places import Target, where_of
from causaltest.sites import Site

BASE = torch.arange(36.0).reshape(2, 3, 6)
SOURCE = BASE + 36


def test_an_interchange_of_the_leading_dims():
    """With an interchange dim of 2 the first two columns are the source's, the rest is base's."""
    each = pv.VanillaIntervention(embed_dim=6)
    each.set_interchange_dim(2)
    new = each(BASE, SOURCE)
    assert torch.equal(new[..., :2], SOURCE[..., :2])
    assert torch.equal(new[..., 2:], BASE[..., 2:])
    assert torch.equal(BASE, torch.arange(36.0).reshape(2, 3, 6))


@pytest.mark.parametrize("partition", [None, [[0, 2], [2, 4], [4, 6]]])
def test_each_row_has_its_own_subspaces(partition):
    """Dims, or groups of them, are those of the row, at every position."""
    each = pv.VanillaIntervention(embed_dim=6, subspace_partition=partition)
    new = each(BASE, SOURCE, subspaces=[[1, 0], [1, 2]])
    columns = [{0, 1}, {1, 2}] if partition is None else [{0, 1, 2, 3}, {2, 3, 4, 5}]
    for row in range(2):
        for column in range(6):
            wanted = SOURCE if column in columns[row] else BASE
            assert torch.equal(new[row, :, column], wanted[row, :, column])


def test_one_vector_serves_all_rows():
    """A source of one vector is put everywhere; a dim that does not exist is refused."""
    vector = torch.linspace(-1, 1, 6)
    new = pv.VanillaIntervention(embed_dim=6)(BASE, vector)
    assert torch.equal(new, vector.expand(2, 3, 6))
    with pytest.raises(InterventionError, match="subspace dim 7 does not exist: there are dims 0-"):
        pv.VanillaIntervention(embed_dim=6)(BASE, SOURCE, subspaces=[[7], [0]])
    with pytest.raises(InterventionError, match=r"the source has shape \(4, 6\), but what it is"):
        pv.VanillaIntervention(embed_dim=6)(BASE, torch.zeros(4, 6))


def test_collecting_keeps_the_order_that_is_asked_for():
    """Groups 2 and 0 give their columns in that order; a source is refused."""
    each = pv.CollectIntervention(embed_dim=6, subspace_partition=[[0, 2], [2, 4], [4, 6]])
    found = each(BASE, subspaces=[[2, 0], [1, 2]])
    assert torch.equal(found[0], BASE[0][:, [4, 5, 0, 1]])
    assert torch.equal(found[1], BASE[1][:, [2, 3, 4, 5]])
    with pytest.raises(InterventionError, match="CollectIntervention takes no source"):
        each(BASE, SOURCE)


def test_an_untrained_boundless_rotation_is_its_formula():
    """At temperature 50 and boundary 0.5 about a quarter of the source is taken in every dim."""
    torch.manual_seed(0)
    each = pv.BoundlessRotatedSpaceIntervention(embed_dim=6)
    index = torch.arange(6.0)
    mask = torch.sigmoid(index / 50) * torch.sigmoid((3 - index) / 50)
    rotation = each.rotate_layer.weight
    base, source = BASE.flatten(0, 1), BASE.flatten(0, 1) + 12
    wanted = base + (mask * ((source - base) @ rotation)) @ rotation.T
    new = each(base, source)
    torch.testing.assert_close(new, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(new - base, torch.full_like(base, 3.09), rtol=0, atol=5e-3)


def fitted(each, target, steps, rate=0.1):
    """Return what an intervention makes of base and base + 12 when trained towards a target."""
    base = BASE.flatten(0, 1) / 10
    optimizer = torch.optim.Adam([p for p in each.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (each(base, base + 12) - (base + target)).square().mean()
        loss.backward()
        optimizer.step()
    return each(base, base + 12).detach() - base


def test_masks_and_boundaries_are_learned():
    """A boundary learns to add 5 of 12 everywhere; a mask, and one direction, to take four dims."""
    torch.manual_seed(0)
    boundless = pv.BoundlessRotatedSpaceIntervention(embed_dim=6)
    boundless.set_temperature(2.0)
    everywhere = torch.full((6, 6), 5.0)
    torch.testing.assert_close(fitted(boundless, 5.0, 1000), everywhere, rtol=1e-2, atol=1e-2)
    four = torch.tensor([0.0, 0, 12, 12, 12, 12])
    mask = pv.SigmoidMaskIntervention(embed_dim=6)
    found = fitted(mask, four, 400, rate=0.01)
    torch.testing.assert_close(found, four.expand(6, 6), rtol=1e-2, atol=1e-2)
    share = torch.sigmoid(mask.mask / mask.get_temperature())
    torch.testing.assert_close(share.detach(), four / 12, rtol=0, atol=1e-2)
    one = pv.LowRankRotatedSpaceIntervention(embed_dim=6, low_rank_dimension=1)
    found = fitted(one, four, 600, rate=0.02)
    torch.testing.assert_close(found, four.expand(6, 6), rtol=1e-2, atol=5e-2)


@pytest.fixture
def activation():
    """Return an activation of 5 rows, 3 tokens and 4 heads of width 2, behind two other parts."""
    return torch.arange(5 * 3 * 24.0).reshape(5, 3, 24)


HEADED = Target(
    "key",
    Access("x", "output", slice(16, 24), width=8, heads=4),
    Site("value_output", layer=0),
)


def taken(activation, spot, target):
    """Return the units of a spot, and a function that puts others in their place."""
    ((site, access, rows),) = where_of(target, spot, 5, None).values()
    where, counts = rows.places(site, activation)
    entries = take(activation, where, access)

    def back(units):
        return put(activation, where, access, target.entries_of(units, entries, 5, spot))

    assert len(set(counts)) == 1
    return target.units_of(entries, 5, spot), back


@pytest.mark.parametrize("per_row", [False, True])
def test_units_are_gathered_and_scattered_at_positions(activation, per_row):
    """Positions of each row give their slices, and only these are written back."""
    target = Target("key", Access("x", "output"), Site("block_output", layer=0))
    places = [(0, 1), (2, 0), (1, 2), (0, 2), (2, 1)] if per_row else [(0, 1)] * 5
    found, back = taken(activation, Spot(positions=tuple(places)), target)
    wanted = torch.stack([activation[row, list(at)] for row, at in enumerate(places)])
    assert torch.equal(found, wanted)
    assert torch.equal(back(found), activation)
    new = back(-found)
    for row, at in enumerate(places):
        for token in range(3):
            sign = -1 if token in at else 1
            assert torch.equal(new[row, token], sign * activation[row, token])


@pytest.mark.parametrize("positions", [None, (0, 1)])
def test_heads_of_a_fused_projection(activation, positions):
    """Heads 1 and 2, at all or some positions, are columns of the last part; others stay."""
    tokens = list(range(3)) if positions is None else list(positions)
    spot = Spot(heads=((1, 2),) * 5, positions=None if positions is None else (positions,) * 5)
    found, back = taken(activation, spot, HEADED)
    values = activation[..., 16:].reshape(5, 3, 4, 2)
    wanted = values[:, tokens][:, :, [1, 2]].transpose(1, 2)
    assert torch.equal(found, wanted)
    assert torch.equal(back(found), activation)
    new = back(-found)
    by_hand = activation.clone()
    for token in tokens:
        by_hand[:, token, 18:22] *= -1
    assert torch.equal(new, by_hand)


def test_a_run_without_edits_is_the_models(network, inputs):
    """What is collected leaves the logits as they are, and so does asking for the original."""
    model = pv.IntervenableModel({"intervention_type": pv.CollectIntervention}, network)
    (original, _), after = model(inputs(1), output_original_output=True)
    wanted = network(**inputs(1)).logits
    assert torch.equal(original.logits, wanted)
    assert torch.equal(after.logits, wanted)


@pytest.mark.parametrize("kind", ["Vanilla", "RotatedSpace", "LowRankRotatedSpace"])
def test_a_group_of_a_partition_is_its_dims(network, inputs, kind):
    """Group 0 of [[0, 6], [6, 24]] is the dims 0 to 5."""
    torch.manual_seed(0)
    rank = 24 if kind != "LowRankRotatedSpace" else 8
    end = 24 if kind != "LowRankRotatedSpace" else 8
    more = {} if rank == 24 else {"low_rank_dimension": rank}
    intervention = getattr(pv, f"{kind}Intervention")
    grouped = intervention(embed_dim=24, subspace_partition=[[0, 6], [6, end]], **more)
    plain = intervention(embed_dim=24, **more)
    plain.load_state_dict(grouped.state_dict())
    base, source = inputs(1, 10), inputs(2, 10)
    found = [
        pv.IntervenableModel({"layer": 1, "intervention": each}, network)(
            base, [source], {"sources->base": 3}, subspaces=dims
        )[1].logits
        for each, dims in ((grouped, 0), (plain, [0, 1, 2, 3, 4, 5]))
    ]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def _twelve_heads():
    torch.manual_seed(3)
    return GPT2LMHeadModel(GPT2Config(n_embd=24, n_layer=3, n_head=12, vocab_size=50)).eval()


def _llama(groups):
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=44, num_hidden_layers=3,
        num_attention_heads=16, num_key_value_heads=groups, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


# Where heads live: module of a block, its side, and the first column.
_GPT2 = {
    "head_attention_value_output": ("attn.c_proj", "input", 0),
    "head_query_output": ("attn.c_attn", "output", 0),
    "head_key_output": ("attn.c_attn", "output", 24),
    "head_value_output": ("attn.c_attn", "output", 48),
}
_LLAMA = {
    "head_attention_value_output": ("self_attn.o_proj", "input", 0),
    "head_query_output": ("self_attn.q_proj", "output", 0),
    "head_key_output": ("self_attn.k_proj", "output", 0),
    "head_value_output": ("self_attn.v_proj", "output", 0),
}


@pytest.mark.parametrize("component", _GPT2)
@pytest.mark.parametrize("family", ["gpt2", "llama", "grouped llama"])
def test_heads_at_positions_equal_plain_hooks(inputs, family, component):
    """Heads 3 and 7 at 2 and 6, from heads 4 and 1 at 7 and 2, of a longer source."""
    network = _twelve_heads() if family == "gpt2" else _llama(8 if "grouped" in family else 16)
    blocks = network.transformer.h if family == "gpt2" else network.model.layers
    path, side, first = (_GPT2 if family == "gpt2" else _LLAMA)[component]
    size = 2 if family == "gpt2" else 4
    module = blocks[1].get_submodule(path)
    base, source = inputs(1, 10, 8), inputs(2, 10, 9)
    seen = []

    def columns(head):
        return slice(first + head * size, first + (head + 1) * size)

    def write(tensor):
        tensor = tensor.clone()
        for to, come in ((3, 4), (7, 1)):
            for at, there in ((2, 7), (6, 2)):
                tensor[:, at, columns(to)] = seen[0][:, there, columns(come)]
        return tensor

    def hooked(change):
        if side == "input":
            return module.register_forward_pre_hook(lambda _m, given: (change(given[0]),))
        return module.register_forward_hook(lambda _m, _g, output: change(output))

    with torch.no_grad():
        handle = hooked(lambda tensor: seen.append(tensor) or tensor)
        network(**source)
        handle.remove()
        handle = hooked(write)
        wanted = network(**base).logits
        handle.remove()
    each = {"layer": 1, "component": component, "unit": "h.pos", "max_number_of_units": 2}
    places = ([[[[4, 1]] * 10, [[7, 2]] * 10]], [[[[3, 7]] * 10, [[2, 6]] * 10]])
    with torch.no_grad():
        _, found = pv.IntervenableModel(each, network)(base, [source], {"sources->base": places})
        clean = network(**base).logits
    torch.testing.assert_close(found.logits, wanted, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(clean, wanted, atol=1e-6)


class Layered(nn.Module):
    """One hidden layer of three numbers, and five classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.hidden = nn.Linear(3, 3)
        self.out = nn.Linear(3, 5)

    def forward(self, x):
        return self.out(self.hidden(x))


@pytest.mark.parametrize("links", [(0, 0), (None, None)])
def test_two_sources_at_one_site_compose(links):
    """Two edits of one site compose by their dims; where both say the same dims the last holds."""
    network = Layered()
    base, one, two = ({"x": torch.randn(4, 1, 3)} for _ in range(3))
    each = [
        pv.RepresentationConfig(
            component="hidden.output", intervention_type=pv.VanillaIntervention,
            intervention_link_key=link,
        )
        for link in links
    ]  # fmt: skip
    model = pv.IntervenableModel(each, network)
    states = [network.hidden(given["x"]) for given in (base, one, two)]
    for first, second in (([1, 2], [0, 1]), ([0], [0]), ([1], [0, 2])):
        wanted = states[0].clone()
        wanted[..., first] = states[1][..., first]
        wanted[..., second] = states[2][..., second]
        _, found = model(
            base, [one, two], {"sources->base": 0}, subspaces=[[first] * 4, [second] * 4]
        )
        torch.testing.assert_close(found, network.out(wanted), rtol=1e-5, atol=1e-6)
    place = [[[0]] * 4]
    with pytest.raises(InterventionError, match="locations for 1 interventions, but there are 2"):
        model(base, [one, two], {"sources->base": (place, place)})


def test_three_ways_to_write_zero(network, inputs):
    """A zero vector, a function and a zero intervention at one position are the same."""
    each = {"layer": 1, "component": "mlp_output"}

    def zero(base, _source):
        return torch.zeros_like(base)

    ways = [
        {**each, "intervention_type": pv.VanillaIntervention,
         "source_representation": torch.zeros(24)},
        {**each, "intervention": zero},
        {**each, "intervention_type": pv.ZeroIntervention},
    ]  # fmt: skip
    found = [
        pv.IntervenableModel(way, network)(inputs(1), unit_locations={"base": 3})[1].logits
        for way in ways
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_vector_is_added_at_several_tokens(network, inputs):
    """Adding at three tokens is adding at each of them in a plain hook."""
    vector = torch.linspace(-1, 1, 24)
    each = {"layer": 1, "component": "mlp_output", "intervention_type": pv.AdditionIntervention}
    _, found = pv.IntervenableModel(each, network)(
        inputs(1), unit_locations={"base": [0, 2, 5]}, source_representations=vector
    )
    push = torch.zeros(6, 24)
    push[[0, 2, 5]] = vector
    handle = network.transformer.h[1].mlp.register_forward_hook(lambda _m, _g, out: out + push)
    wanted = network(**inputs(1)).logits
    handle.remove()
    torch.testing.assert_close(found.logits, wanted, rtol=1e-5, atol=1e-6)


def test_skipping_one_of_two_in_three_ways(network, inputs):
    """None among the sources, in the places, or no such representation: the same logits."""
    both = [{"layer": 0}, {"layer": 1}]
    model = pv.IntervenableModel(both, network)
    at = [[3]] * 3
    base, source = inputs(1), inputs(2)
    found = [
        model(base, [None, source], {"sources->base": 3})[1].logits,
        model(base, [source, source], {"sources->base": ([None, at], [None, at])})[1].logits,
        pv.IntervenableModel(both[1], network)(base, [source], {"sources->base": 3})[1].logits,
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_linked_dims_in_either_order(network, inputs):
    """Two groups of one learned basis give the same whichever comes first."""
    torch.manual_seed(0)
    shared = pv.RotatedSpaceIntervention(embed_dim=24, subspace_partition=[[0, 6], [6, 12]])
    each = {"layer": 1, "intervention": shared, "intervention_link_key": 0}
    model = pv.IntervenableModel([each, each], network)
    assert len(model.get_trainable_parameters()) == 1
    sources, dims = [inputs(2), inputs(3)], [[[0]] * 3, [[1]] * 3]
    found = [
        model(inputs(1), order, {"sources->base": 3}, subspaces=picked)[1].logits
        for order, picked in ((sources, dims), (sources[::-1], dims[::-1]))
    ]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_a_module_of_the_users_own(inputs):
    """A network of no known family is edited by paths, and collected behind the edit."""
    network = Layered()
    model = pv.IntervenableModel(
        [{"component": "hidden.output", "intervention": pv.ZeroIntervention()},
         {"component": "out.output", "intervention": pv.CollectIntervention()}],
        network,
    )  # fmt: skip
    (_, (found,)), output = model({"x": torch.randn(4, 3)})
    assert torch.equal(output, network.out.bias.expand(4, 5))
    assert torch.equal(found, output)


def test_path_patching_is_saved_and_loaded(network, inputs, tmp_path):
    """Restoring the base downstream of an edit keeps its effect on the way that is left."""
    frozen = [
        {"layer": layer, "component": name, "group_key": 1}
        for layer in (1, 2)
        for name in ("attention_output", "mlp_output")
    ]
    first = {"layer": 0, "component": "mlp_output", "group_key": 0}
    model = pv.IntervenableModel([first, *frozen], network)
    base, source = inputs(1), inputs(2)
    with torch.no_grad():
        _, found = model(base, [source, base], None)
        seen = []
        handle = network.transformer.h[0].mlp.register_forward_hook(
            lambda _m, _g, output: seen.append(output)
        )
        network(**source)
        network(**base)
        handle.remove()
        last = []
        handle = network.transformer.ln_f.register_forward_pre_hook(lambda _m, g: last.append(g[0]))
        network(**base)
        handle.remove()
        # With everything downstream held, the edit reaches the last norm alone.
        wanted = network.lm_head(network.transformer.ln_f(last[0] + seen[0] - seen[1]))
    torch.testing.assert_close(found.logits, wanted, rtol=1e-4, atol=1e-5)
    model.save(tmp_path)
    loaded = pv.IntervenableModel.load(tmp_path, network)
    assert torch.equal(loaded(base, [source, base], None)[1].logits, found.logits)


@pytest.mark.parametrize("subspaces", [None, [[[0, 1, 2]] * 3, [[2, 3]] * 3]])
@pytest.mark.parametrize("mode", ["parallel", "serial"])
def test_two_sources_with_and_without_subspaces(network, inputs, mode, subspaces):
    """Two sites take from two sources, or one after the other, in all dims or some."""
    each = [{"layer": 0}, {"layer": 1}]
    model = pv.IntervenableModel(pv.IntervenableConfig(each, mode=mode), network)
    base, one, two = inputs(1), inputs(2), inputs(3)
    places = {"sources->base": 3}
    if mode == "serial":
        places = {"source_0->source_1": 3, "source_1->base": 3}
    with torch.no_grad():
        _, found = model(base, [one, two], places, subspaces=subspaces)
    dims = [list(range(24))] * 2 if subspaces is None else [subspaces[0][0], subspaces[1][0]]

    def run(given, edits):
        kept = {}

        def hook(layer):
            def edit(_module, _given, output):
                states = (output[0] if isinstance(output, tuple) else output).clone()
                if layer in edits:
                    states[:, 3, dims[layer]] = edits[layer][:, 3, dims[layer]]
                kept[layer] = states
                return (states, *output[1:]) if isinstance(output, tuple) else states

            return edit

        handles = [
            network.transformer.h[layer].register_forward_hook(hook(layer)) for layer in (0, 1)
        ]
        with torch.no_grad():
            logits = network(**given).logits
        for handle in handles:
            handle.remove()
        return kept, logits

    from_one, _ = run(one, {})
    if mode == "serial":
        from_two, _ = run(two, {0: from_one[0]})
        _, wanted = run(base, {1: from_two[1]})
    else:
        from_two, _ = run(two, {})
        _, wanted = run(base, {0: from_one[0], 1: from_two[1]})
    torch.testing.assert_close(found.logits, wanted, rtol=1e-5, atol=1e-6)
