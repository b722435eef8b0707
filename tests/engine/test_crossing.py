"""Cross-attention of encoder-decoders: queries of the decoder, keys and values of the encoder."""

from __future__ import annotations

import pytest
import torch

from causaltest.engine.model import Model
from causaltest.engine.run import intervene
from causaltest.interventions import interchange, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import (
    Site,
    attention_pattern,
    cross_attention_output,
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


@pytest.fixture(scope="module", params=PATHS)
def model(request) -> Model:
    """Return an encoder-decoder that runs both of its stacks on the same tokens."""
    import transformers

    torch.manual_seed(0)
    if request.param == "t5":
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
    return Model(network.eval(), name=request.param, forward=on_the_same_tokens)


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
