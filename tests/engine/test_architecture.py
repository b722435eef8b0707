"""Components found in nine families, against plain hooks and the arithmetic of the blocks."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.errors import ModelError, SiteError
from causaltest.sites import (
    Site,
    attention_output,
    block_output,
    embedding,
    head_attention_value_output,
    head_key_output,
    mlp_activation,
    mlp_output,
    module,
    query_output,
)

# The components of a transformer's block; other kinds of network have others.
IN_A_BLOCK = (
    "block_input", "block_output", "attention_input", "attention_output",
    "attention_value_output", "query_output", "key_output", "value_output", "mlp_input",
    "mlp_activation", "mlp_output",
)  # fmt: skip
HEAD_COMPONENTS = (
    "head_attention_value_output", "head_query_output", "head_key_output", "head_value_output",
    "head_attention_scores", "head_attention_pattern",
)  # fmt: skip
SOFTMAX = ("attention_scores", "attention_pattern")  # behind the values in the order of components
EVERY = (*IN_A_BLOCK[:-3], *SOFTMAX, *IN_A_BLOCK[-3:], *HEAD_COMPONENTS, "embedding")
PROMPT = (7, 3, 21, 9, 40)


def places(block: str, attention: str, projection: str, qkv: str, mlp: str, down: str) -> dict:
    """Return the module and side of each component, as the source of the network has it."""
    names = qkv.split()
    found = {
        "block_input": (block, "input"),
        "block_output": (block, "output"),
        "attention_input": (f"{block}.{attention}", "input"),
        "attention_output": (f"{block}.{projection}", "output"),
        "attention_value_output": (f"{block}.{projection}", "input"),
        "mlp_input": (f"{block}.{mlp}", "input"),
        "mlp_activation": (f"{block}.{down}", "input"),
        "mlp_output": (f"{block}.{down}", "output"),
    }
    for component, name in zip(
        ("query_output", "key_output", "value_output"), names * (3 // len(names)), strict=True
    ):
        found[component] = (f"{block}.{name}", "output")
    return found


_LLAMA = places(
    "model.layers.{}", "self_attn", "self_attn.o_proj",
    "self_attn.q_proj self_attn.k_proj self_attn.v_proj", "mlp", "mlp.down_proj",
)  # fmt: skip
_NEOX = places(
    "gpt_neox.layers.{}", "attention", "attention.dense", "attention.query_key_value",
    "mlp", "mlp.dense_4h_to_h",
)  # fmt: skip
_BERT = places(
    "bert.encoder.layer.{}", "attention", "attention.output.dense",
    "attention.self.query attention.self.key attention.self.value", "intermediate", "output.dense",
)  # fmt: skip
WHERE = {
    "llama": _LLAMA,
    "llama-wide-heads": _LLAMA,
    "qwen3": _LLAMA,
    "mistral": _LLAMA,
    "neox-parallel": _NEOX,
    "neox-sequential": _NEOX,
    "bert": _BERT,
    # Gemma 2 has a norm between each sublayer and the residual stream.
    "gemma2": {
        **_LLAMA,
        "attention_output": ("model.layers.{}.post_attention_layernorm", "output"),
        "mlp_output": ("model.layers.{}.post_feedforward_layernorm", "output"),
    },
}
EMBEDDING = {
    "bert": "bert.embeddings.word_embeddings",
    "neox-parallel": "gpt_neox.embed_in",
    "neox-sequential": "gpt_neox.embed_in",
}
FAMILIES = tuple(WHERE)


def watch(network: nn.Module, path: str, side: str, ids: tuple[int, ...]) -> torch.Tensor:
    """Return what a plain hook of the test's own sees, (tokens, width)."""
    seen = []

    def hook(_module, args, kwargs, output) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        value = given if side == "input" else output
        seen.append(value[0] if isinstance(value, tuple) else value)

    handle = network.get_submodule(path).register_forward_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            network(input_ids=torch.tensor([ids]))
    finally:
        handle.remove()
    (tensor,) = seen
    return tensor[0].detach()


def read(model: Model, site: Site, ids: tuple[int, ...] = PROMPT) -> torch.Tensor:
    """Return one activation, (tokens, width)."""
    return model.read(site, [ids])[site][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_is_found(family, tiny) -> None:
    """No family lacks a component or a reason to."""
    model = tiny(family)
    assert model.components == EVERY
    assert not set(EVERY) & set(model.architecture.missing)
    assert model.n_layers == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", IN_A_BLOCK)
@pytest.mark.parametrize("layer", [0, 1])
def test_components_equal_plain_hooks(family, component, layer, tiny) -> None:
    """A component is, bit for bit, what a plain hook sees at the module that computes it."""
    model = tiny(family)
    path, side = WHERE[family][component]
    seen = watch(model.network, path.format(layer), side, PROMPT)
    got = read(model, Site(component, layer=layer))
    if family.startswith("neox") and component in ("query_output", "key_output", "value_output"):
        # The fused projection has, head after head, a query, a key and a value.
        which = ("query_output", "key_output", "value_output").index(component)
        seen = seen.view(len(PROMPT), 4, 3, 8)[:, :, which].flatten(1)
    assert torch.equal(got, seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_is_a_row_of_the_table(family, tiny) -> None:
    """The embedding of a token is its row, before positions are added."""
    model = tiny(family)
    table = model.network.get_submodule(EMBEDDING.get(family, "model.embed_tokens"))
    expected = watch(model.network, EMBEDDING.get(family, "model.embed_tokens"), "output", PROMPT)
    got = read(model, embedding())
    assert torch.equal(got, expected)
    if family != "gemma2":  # which scales its table
        assert torch.equal(got, table.weight[list(PROMPT)])


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("layer", [0, 1])
def test_sublayers_add_up_to_the_stream(family, layer, tiny) -> None:
    """Block input plus attention plus MLP is the block's output, or enters its last norm."""
    model = tiny(family)
    parts = [
        read(model, Site(name, layer=layer))
        for name in ("block_input", "attention_output", "mlp_output")
    ]
    total = sum(parts)
    if family == "bert":
        block = model.network.bert.encoder.layer[layer]
        middle = block.attention.output.LayerNorm(parts[0] + parts[1])
        total = block.output.LayerNorm(middle + parts[2])
    assert torch.allclose(total, read(model, Site("block_output", layer=layer)), atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_heads_times_output_matrix_is_attention(family, tiny) -> None:
    """Each head's mixed values times its part of the output matrix add up to what is projected."""
    model = tiny(family)
    path = "transformer.h.{}.attn.c_proj" if family == "gpt2" else None
    path = (path or WHERE[family]["attention_value_output"][0]).format(1)
    projection = model.network.get_submodule(path)
    weight = projection.weight if family == "gpt2" else projection.weight.T  # (heads * size, d)
    size = len(weight) // 4
    total = sum(
        read(model, head_attention_value_output(1, head)) @ weight[head * size : (head + 1) * size]
        for head in range(model.n_heads())
    )
    if projection.bias is not None:
        total = total + projection.bias
    expected = watch(model.network, path, "output", PROMPT)
    assert torch.allclose(total, expected, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_one_token_mixes_only_its_own_value(family, tiny) -> None:
    """At a prompt of one token a head's mixed value is the value of its key-value head."""
    model = tiny(family)
    share = model.n_heads() // model.n_heads("head_value_output")
    for head in range(model.n_heads()):
        mixed = read(model, head_attention_value_output(1, head), (9,))
        value = read(model, Site("head_value_output", layer=1, head=head // share), (9,))
        assert torch.allclose(mixed, value, atol=1e-6)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_a_query_moves_only_its_own_head(family, tiny) -> None:
    """Zeroing the query of one head changes that head's mixed values and those of no other."""
    model = tiny(family)
    for head in range(model.n_heads()):
        access = model.access(Site("head_query_output", layer=1, head=head))
        target = model.network.get_submodule(access.path)

        def zero(_module, _args, output, columns=access.columns):
            changed = output.clone()
            changed[..., columns] = 0
            return changed

        before = [read(model, head_attention_value_output(1, other)) for other in range(4)]
        handle = target.register_forward_hook(zero)
        try:
            after = [read(model, head_attention_value_output(1, other)) for other in range(4)]
        finally:
            handle.remove()
        moved = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(after, before, strict=True)]
        assert moved == [other == head for other in range(4)]


def test_a_layer_of_zeros_takes_the_layout_of_the_others(fresh) -> None:
    """A layer whose values are all zero fits every layout, and gets the one the others show."""
    model = fresh("neox-parallel")
    with torch.no_grad():
        projection = model.network.gpt_neox.layers[0].attention.query_key_value
        projection.weight.zero_()
        projection.bias.zero_()
    accesses = model.architecture.accesses
    first, second = (accesses["value_output", layer].columns for layer in (0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first, torch.arange(96).view(4, 3, 8)[:, 2].flatten())


def test_a_layout_that_no_values_show_is_not_offered(fresh) -> None:
    """Where every layer's values are zero, a fused projection is not cut by guess."""
    model = fresh("neox-parallel")
    with torch.no_grad():
        for block in model.network.gpt_neox.layers:
            block.attention.query_key_value.weight.zero_()
            block.attention.query_key_value.bias.zero_()
    with pytest.raises(SiteError, match="no known layout of its fused projection, or more"):
        model.access(query_output(0))


def scaled(forward):
    """Return an attention's forward that weakens what it writes."""

    def weaker(*args, **kwargs):
        written, *rest = forward(*args, **kwargs)
        return (0.3 * written, *rest)

    return weaker


def test_an_output_that_does_not_add_up_is_not_offered(fresh) -> None:
    """A sublayer scaled on its way to the stream is not called what it adds to the stream."""
    model = fresh("gpt2")
    for block in model.network.transformer.h:
        block.attn.forward = scaled(block.attn.forward)
    with pytest.raises(
        SiteError, match="no attention_output: what it adds to the residual stream could not be"
    ):
        model.access(attention_output(0))
    assert model.access(mlp_output(0)).path == "transformer.h.0.mlp.c_proj"


class _Attention(nn.Module):
    """Attention without a configuration to name its heads."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.q_proj(x) @ self.k_proj(x).mT
        return self.o_proj(scores.softmax(-1) @ self.v_proj(x))


class _Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.attn, self.mlp = _Attention(d), nn.Sequential(nn.Linear(d, d), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class Homemade(nn.Module):
    """A transformer of nobody's family."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList(_Block(8) for _ in range(2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return x


def test_a_network_without_configuration_has_whole_components_only() -> None:
    """Head counts that nothing states are not guessed."""
    model = Model(Homemade(), name="homemade")
    assert "query_output" in model.components
    assert "attention_output" in model.components
    assert not any(name.startswith("head_") for name in model.components)
    with pytest.raises(
        SiteError,
        match=re.escape(
            "head_attention_value_output[0.0]: how attention_value_output splits into heads could "
            "not be verified for homemade; use the whole component, or dims="
        ),
    ):
        model.access(head_attention_value_output(0, 0))


def test_no_stack_of_blocks_is_said() -> None:
    """A network without a stack of blocks has no components, and the message says why."""
    model = Model(nn.Sequential(nn.Embedding(5, 4)), name="plain")
    assert model.components == ()
    with pytest.raises(SiteError, match="plain has no block_output: no stack of blocks") as caught:
        model.access(block_output(0))
    assert "it has no named components; any module: module('path.to.it')" in str(caught.value)


@pytest.mark.parametrize(
    "site, message",
    [
        (mlp_output(3), "mlp_output[3] does not exist: llama has layers 0-1"),
        (
            head_attention_value_output(0, 4),
            "head_attention_value_output[0.4] does not exist: llama has heads 0-3",
        ),
        (
            head_key_output(1, 2, pos="end"),
            "head_key_output[1.2] does not exist: llama has key-value heads 0-1",
        ),
        (mlp_activation(0, dims=(3, 44)), "mlp_activation[0]{3,44} does not exist: llama has dims"),
        (
            head_key_output(0, 0, dims=(8,)),
            "head_key_output[0.0]{8} does not exist: llama has dims 0-7 there",
        ),
        (
            module("model.layers.0.mpl"),
            "llama has no module 'model.layers.0.mpl'; did you mean 'model.layers.0.mlp'?",
        ),
    ],
)
def test_places_that_do_not_exist(site, message, tiny) -> None:
    """A layer, head, dim or module beyond the network is refused with what there is."""
    with pytest.raises(SiteError, match=re.escape(message)):
        tiny("llama").access(site)


def test_a_component_the_network_lacks_is_refused_with_those_it_has() -> None:
    """A mixture of experts has no one row of neurons, and the message lists what it has."""
    import transformers

    config = transformers.MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, num_local_experts=4,
    )  # fmt: skip
    model = Model(transformers.MixtralForCausalLM(config).eval(), name="mixtral")
    with pytest.raises(SiteError, match="mixtral has no mlp_activation") as caught:
        model.access(mlp_activation(0))
    assert "it has block_input, block_output, attention_input" in str(caught.value)


def test_a_network_that_cannot_run_on_ids_is_said() -> None:
    """A transformer that takes something else than token ids asks for forward=."""

    class Picky(Homemade):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            raise TypeError("pixels wanted")

    with pytest.raises(
        ModelError,
        match=re.escape(
            "picky could not run on token ids of shape (1, 2): pixels wanted\npass Mod"
        ),
    ):
        Model(Picky(), name="picky").access(block_output(0))


def test_head_counts_of_a_nested_configuration_are_read() -> None:
    """Head counts are found in a text_config, as multimodal networks have it."""
    network = Homemade()
    network.config = SimpleNamespace(text_config=SimpleNamespace(num_attention_heads=2))
    model = Model(network)
    assert model.n_heads() == 2
    assert model.access(head_attention_value_output(1, 1)).width == 4
