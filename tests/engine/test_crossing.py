"""Cross-attention of encoder-decoders: queries of the decoder, keys and values of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import transformers

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import InterventionError
from causaltest.interventions import interchange, scale, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import (
    Site,
    attention_pattern,
    cross_attention_output,
    cross_attention_pattern,
    cross_attention_scores,
    cross_attention_value_output,
    cross_key_output,
    cross_query_output,
    cross_value_output,
    head_cross_attention_value_output,
    head_cross_key_output,
    head_cross_query_output,
    head_cross_value_output,
)

BASE, SOURCE = (7, 3, 21, 9, 40), (5, 11, 2, 30, 17)
PATHS = {
    "t5": ("decoder.block.1.layer.1.EncDecAttention", "q", "k", "v", "o"),
    "bart": ("model.decoder.layers.1.encoder_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
}


def on_the_same_tokens(network, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run encoder and decoder on one prompt."""
    return network(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits


def encoder_decoder(family: str) -> Model:
    """Return an encoder-decoder that runs both of its stacks on the same tokens."""
    torch.manual_seed(0)
    if family == "t5":
        config = transformers.T5Config(
            vocab_size=50, d_model=32, d_ff=48, d_kv=12, num_heads=4, num_layers=2,
            decoder_start_token_id=0,
        )  # fmt: skip
        network = transformers.T5ForConditionalGeneration(config)
    else:
        config = transformers.BartConfig(
            vocab_size=50, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48,
            decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4,
            max_position_embeddings=32,
        )  # fmt: skip
        network = transformers.BartForConditionalGeneration(config)
    return Model(network.eval(), name=family, forward=on_the_same_tokens)


@pytest.fixture(scope="module", params=PATHS)
def model(request) -> Model:
    """Return an encoder-decoder of each family."""
    return encoder_decoder(request.param)


@pytest.mark.parametrize(
    "make, head, part, side",
    [
        (cross_query_output, head_cross_query_output, 1, "output"),
        (cross_key_output, head_cross_key_output, 2, "output"),
        (cross_value_output, head_cross_value_output, 3, "output"),
        (cross_attention_value_output, head_cross_attention_value_output, 4, "input"),
        (cross_attention_output, None, 4, "output"),
    ],
)
def test_cross_attention_is_where_it_is(make, head, part, side, model) -> None:
    """Each site reads its projection, and an edit at one token is that of a plain hook."""
    names = PATHS[model.name]
    projection = model.network.get_submodule(f"{names[0]}.{names[part]}")
    seen: dict[tuple[int, ...], torch.Tensor] = {}
    ids = {prompt: torch.tensor([prompt]) for prompt in (BASE, SOURCE)}

    def run(prompt: tuple[int, ...], change) -> torch.Tensor:
        def before(_module, args):
            return (change(args[0]),)

        def after(_module, _args, output):
            return change(output)

        register = projection.register_forward_pre_hook
        handle = register(before) if side == "input" else projection.register_forward_hook(after)
        try:
            with torch.no_grad():
                out = model.network(input_ids=ids[prompt], decoder_input_ids=ids[prompt])
                return out.logits[0]
        finally:
            handle.remove()

    for prompt in ids:

        def keep(x, prompt=prompt):
            seen[prompt] = x.clone()
            return x

        run(prompt, keep)
    sites: list[tuple[Site, slice]] = [(make(1, pos=2), slice(None))]
    if head is not None:
        size = seen[BASE].shape[-1] // 4
        sites.append((head(1, 3, pos=2), slice(3 * size, 4 * size)))
    for site, columns in sites:
        read = model.read(site, [BASE])[site][0][0]
        assert torch.equal(read, seen[BASE][0, 2, columns])

        def put(x, columns=columns):
            x = x.clone()
            x[0, 2, columns] = seen[SOURCE][0, 2, columns]
            return x

        with intervene(model, interchange(site), Pair(BASE, SOURCE)) as edited:
            got = edited(BASE).logits
        assert torch.allclose(got, run(BASE, put), atol=1e-6)
        assert not torch.equal(got, model.run([BASE])[0].logits)


def test_heads_of_cross_attention_are_counted(model) -> None:
    """Head counts were verified with prompts of one token, whose values are all there is to mix."""
    for name in ("query_output", "key_output", "value_output", "attention_value_output"):
        assert model.n_heads(f"head_cross_{name}") == 4
    assert not {name for name in model.architecture.missing if "cross" in name}


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_patterns_of_both_stacks(stack, model) -> None:
    """Encoder and decoder have patterns of their own: the decoder's looks at no later token."""
    site = attention_pattern(1, stack=stack)
    pattern = model.read(site, [BASE])[site][0].unflatten(-1, (4, len(BASE)))
    assert torch.allclose(pattern.sum(dim=-1), torch.ones(len(BASE), 4), atol=1e-6)
    ahead = torch.ones(len(BASE), len(BASE), dtype=torch.bool).triu(1)
    assert bool((pattern.transpose(0, 1)[:, ahead] == 0).all()) == (stack == "decoder")
    with intervene(model, zero_ablate(site)) as run:
        run(BASE)
    assert run.ledger[0].module.endswith(".pattern")


def test_a_decoder_alone_has_no_cross_attention(tiny) -> None:
    """A causal language model offers none, and gives a reason."""
    assert "cross_query_output" in tiny("gpt2").architecture.missing
    assert not any("cross" in name for name in tiny("gpt2").components)


Given = Callable[[torch.Tensor], dict[str, torch.Tensor]]


def frames(ids: torch.Tensor) -> torch.Tensor:
    """Return sounds that depend on the tokens: 8 bands, 20 frames."""
    rows = [torch.Generator().manual_seed(int(row.sum())) for row in ids]
    return torch.stack([torch.randn(8, 20, generator=row) for row in rows])


def listening(network, ids: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
    """Run encoder on sounds, and decoder on the prompt."""
    return network(input_features=frames(ids), decoder_input_ids=ids).logits


def speech() -> Model:
    """Return a small Whisper, whose cross-attention looks at frames."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=50, num_mel_bins=8, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
        decoder_ffn_dim=48, max_source_positions=10, max_target_positions=16, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    network = transformers.WhisperForConditionalGeneration(config).eval()
    return Model(network, name="whisper", forward=listening)


def louder(model: Model) -> Model:
    """Return a model with weights so large that what is attended to matters."""
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if parameter.ndim == 2 and "attn" in name:
                parameter.mul_(10)
    return model


@pytest.fixture(scope="module", params=["t5", "bart", "whisper"])
def crossing(request) -> tuple[Model, str, Mapping[str, str], Given]:
    """Return a model, its second cross-attention, its projections, and what the encoder takes."""
    if request.param == "whisper":
        model, path = louder(speech()), "model.decoder.layers.1.encoder_attn"
        names = dict(zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True))
        return model, path, names, lambda ids: {"input_features": frames(ids)}
    model = louder(encoder_decoder(request.param))
    path, *parts = PATHS[request.param]
    names = dict(zip("qkvo", parts, strict=True))
    return model, path, names, lambda ids: {"input_ids": ids}


def eager_patterns(model: Model, given, prompt: tuple[int, ...], layer: int) -> torch.Tensor:
    """Return the network's own cross-attentions, computed eagerly: (heads, queries, keys)."""
    ids = torch.tensor([prompt])
    before = model.network.config._attn_implementation
    model.network.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            out = model.network(**given(ids), decoder_input_ids=ids, output_attentions=True)
        return out.cross_attentions[layer][0]
    finally:
        model.network.set_attn_implementation(before)


def test_cross_attention_patterns_are_the_networks_own(crossing) -> None:
    """Each head's pattern is what eager attention reports; its scores' softmax is the pattern."""
    model, _, _, given = crossing
    for layer in range(2):
        pattern, scores = cross_attention_pattern(layer), cross_attention_scores(layer)
        read = model.read([pattern, scores, cross_attention_pattern(layer, 3, pos=2)], [BASE])
        wanted = eager_patterns(model, given, BASE, layer)
        got = read[pattern][0].unflatten(-1, (4, -1)).transpose(0, 1)
        assert torch.allclose(got, wanted, atol=1e-6)
        assert torch.allclose(
            read[scores][0].unflatten(-1, (4, -1)).transpose(0, 1).softmax(-1), wanted, atol=1e-6
        )
        one = read[cross_attention_pattern(layer, 3, pos=2)][0][0]
        assert torch.allclose(one, wanted[3, 2], atol=1e-6)


def mixed_by_hand(crossing, prompt: tuple[int, ...], head: int, rows: torch.Tensor, query: int):
    """Return logits where one head mixes its values by other numbers at one query, by a hook."""
    model, path, names, given = crossing
    ids = torch.tensor([prompt])
    values: list[torch.Tensor] = []

    def keep(_module, _args, output):
        values.append(output)

    def mix(_module, args):
        value = values[-1][0].unflatten(-1, (4, -1))[:, head]
        size, mixed = value.shape[-1], args[0].clone()
        mixed[0, query, head * size : (head + 1) * size] = rows @ value
        return (mixed,)

    handles = [
        model.network.get_submodule(f"{path}.{names['v']}").register_forward_hook(keep),
        model.network.get_submodule(f"{path}.{names['o']}").register_forward_pre_hook(mix),
    ]
    try:
        with torch.no_grad():
            return model.network(**given(ids), decoder_input_ids=ids).logits[0]
    finally:
        for handle in handles:
            handle.remove()


def test_edits_of_cross_attention_patterns_weigh_the_values(crossing) -> None:
    """What is put in for a query weighs the encoder's values, as a hook by hand does."""
    model, _, _, given = crossing
    site, head, query = cross_attention_pattern(1, 2, pos=3), 2, 3
    own = eager_patterns(model, given, BASE, 1)[head, query]
    theirs = eager_patterns(model, given, SOURCE, 1)[head, query]
    without = own.clone()
    without[1] = 0
    plain = model.run([BASE])[0].logits
    for edit, rows in (
        (interchange(site), theirs),
        (zero_ablate(cross_attention_pattern(1, 2, pos=3, dims=1)), without),
        (scale(site, 0.25), own / 4),
        (zero_ablate(cross_attention_scores(1, 2, pos=3)), torch.full_like(own, 1 / len(own))),
    ):
        with intervene(model, edit, Pair(BASE, SOURCE)) as run:
            got = run(BASE).logits
        wanted = mixed_by_hand(crossing, BASE, head, rows, query)
        assert torch.allclose(got, wanted, atol=1e-5)
        assert not torch.allclose(got, plain, atol=1e-4)
    assert "eagerly" in run.ledger[0].note


@pytest.mark.parametrize("use_cache", [True, False])
def test_cross_attention_patterns_are_edited_in_generation(use_cache) -> None:
    """At every step a head without its pattern mixes nothing, prompts of any length together."""
    model = Model(encoder_decoder("t5").network, name="t5")
    prompts = [BASE, SOURCE[:3]]
    written = [
        model.generate(
            prompts, max_new_tokens=3, intervention=zero_ablate(site), when="every step",
            use_cache=use_cache, keep_logits=True, eos_token_id=None,
        )
        for site in (cross_attention_pattern(1, 2), head_cross_attention_value_output(1, 2))
    ]  # fmt: skip
    for one, other in zip(*written, strict=True):
        assert torch.allclose(one.logits, other.logits, atol=1e-5)


def test_cross_attention_over_other_numbers_of_keys_is_refused() -> None:
    """Patterns over encoders of unequal length cannot stand for each other."""
    model = encoder_decoder("bart")
    edit, pair = interchange(cross_attention_pattern(1, pos=2)), Pair(BASE, SOURCE[:4])
    with (
        pytest.raises(InterventionError, match="20 here, but 16 where they were read"),
        intervene(model, edit, pair) as run,
    ):
        run(BASE)


def test_stacks_have_their_own_numbers_of_heads() -> None:
    """Heads are counted in each attention: the configuration's one number is the encoder's."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=50, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48,
        decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=8,
        max_position_embeddings=32,
    )  # fmt: skip
    network = transformers.BartForConditionalGeneration(config).eval()
    model = Model(network, name="bart", forward=on_the_same_tokens)
    assert network.config.num_attention_heads == 4
    for name in ("attention_value_output", "query_output", "value_output", "attention_pattern"):
        assert model.access(Site(name, layer=0)).heads == 8
        assert model.access(Site(f"cross_{name}", layer=0)).heads == 8
        assert model.access(Site(name, layer=0, stack="encoder")).heads == 4
    network.set_attn_implementation("eager")
    reported = network(
        input_ids=torch.tensor([BASE]), decoder_input_ids=torch.tensor([BASE]),
        output_attentions=True,
    )  # fmt: skip
    assert reported.cross_attentions[0].shape[1] == 8
