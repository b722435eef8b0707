"""Lens, attribution and patterns against forward passes written by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from causaltest.engine.model import Model
from causaltest.engine.readout import find_readout
from causaltest.errors import MetricError, ModelError, SiteError
from causaltest.pairs import Pair
from causaltest.sites import (
    attention_output,
    attention_value_output,
    block_output,
    head_attention_value_output,
    key_output,
    mlp_activation,
    mlp_output,
    query_output,
    value_output,
)

PROMPTS = ((5, 9, 17, 4, 30), (8, 3), (12, 33, 6), (7, 21, 40, 11, 3, 25, 19))
LENSES = ("gpt2", "llama", "neox-parallel", "neox-sequential", "gemma2", "qwen3", "mistral")
NORMS = {"gpt2": "transformer.ln_f", "neox-parallel": "gpt_neox.final_layer_norm"}


def tail_by_hand(network: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """Return the logits of residual states, by the formulas of each family."""
    kind, weights = type(network).__name__, dict(network.state_dict())
    x = states.double()
    if kind.startswith(("GPT2", "GPTNeoX")):
        name = "transformer.ln_f" if kind.startswith("GPT2") else "gpt_neox.final_layer_norm"
        eps = 1e-5
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)
        x = x * weights[f"{name}.weight"].double() + weights[f"{name}.bias"].double()
    else:
        gain = weights["model.norm.weight"].double() + (1.0 if kind.startswith("Gemma") else 0.0)
        x = x / torch.sqrt(x.square().mean(-1, keepdim=True) + network.config.rms_norm_eps) * gain
    logits = x @ network.get_output_embeddings().weight.double().T
    cap = getattr(network.config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


@pytest.mark.parametrize("family", LENSES)
def test_the_lens_is_norm_and_unembedding_of_each_layer(tiny, family):
    """Each layer's states, normed and unembedded by hand, are the lens; the last the logits."""
    model = tiny(family)
    lens = model.logit_lens(PROMPTS, pos=None)
    sites = [block_output(layer) for layer in range(model.n_layers)]
    read = model.read(sites, PROMPTS)
    outputs = model.run(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        wanted = torch.stack([tail_by_hand(model.network, read[site][index]) for site in sites])
        torch.testing.assert_close(lens.logits[index].double(), wanted, rtol=1e-5, atol=1e-5)
        last = outputs[index].logits
        torch.testing.assert_close(lens.logits[index][-1], last, rtol=1e-5, atol=1e-5)
        assert lens.positions[index] == tuple(range(len(prompt)))
    table = lens.to_pandas()
    assert len(table) == model.n_layers * sum(map(len, PROMPTS))
    row = table[(table.prompt == "8 3") & (table.layer == 1) & (table.position == 1)].iloc[0]
    assert int(row.answer) == int(lens.logits[1][1, 1].argmax())
    assert row.probability == pytest.approx(
        float(torch.softmax(lens.logits[1][1, 1].double(), 0).max())
    )


def test_the_lens_at_one_place(tiny):
    """Layers come in the order asked for, positions as on sites."""
    model = tiny("gpt2")
    lens = model.logit_lens(PROMPTS[0], layers=[2, 0], pos=-2)
    whole = model.logit_lens([PROMPTS[0]], pos=None)
    torch.testing.assert_close(lens.logits[0][:, 0], whole.logits[0][[2, 0], 3])
    assert (lens.tokens, lens.positions) == ((("4",),), ((3,),))
    assert repr(lens) == "<LogitLens: 1 prompts, layers 2-0>"


def test_a_factor_after_the_unembedding_is_found():
    """Logits that are scaled after the unembedding are scaled by the lens, too."""
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, logit_scale=0.25, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = Model(CohereForCausalLM(config).eval(), name="cohere")
    lens = model.logit_lens(PROMPTS)
    last = torch.stack([output.logits[-1] for output in model.run(PROMPTS)])
    found = torch.stack([each[-1, 0] for each in lens.logits])
    torch.testing.assert_close(found, last, rtol=1e-5, atol=1e-5)
    split = model.direct_logit_attribution(PROMPTS, 7)
    torch.testing.assert_close(split.total.float(), last[:, 7], rtol=1e-5, atol=1e-5)


def test_a_factor_before_the_unembedding_is_found():
    """MiniCPM-3 scales what the final norm gives; lens and attribution scale it, too."""
    import transformers

    torch.manual_seed(0)
    config = transformers.MiniCPM3Config(
        vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=8,
        qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, dim_model_base=8,
        scale_depth=math.sqrt(2), pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = Model(transformers.MiniCPM3ForCausalLM(config).eval(), name="minicpm3")
    assert find_readout(model).scale == pytest.approx(8 / 32)
    _check_lens_and_split(model)


def test_a_final_norm_that_runs_before_the_blocks_too_is_found():
    """NanoChat's norm takes the embeddings first, and the last block's output in the end."""
    import transformers

    torch.manual_seed(0)
    config = transformers.NanoChatConfig(
        vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, final_logit_softcapping=None,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = Model(transformers.NanoChatForCausalLM(config).eval(), name="nanochat")
    assert find_readout(model).norm == "model.norm"
    _check_lens_and_split(model)


def _check_lens_and_split(model: Model) -> None:
    """Compare the lens at the last block, and the sum of all parts, with the model's logits."""
    lens = model.logit_lens(PROMPTS)
    last = torch.stack([output.logits[-1] for output in model.run(PROMPTS)])
    found = torch.stack([each[-1, 0] for each in lens.logits])
    torch.testing.assert_close(found, last, rtol=1e-5, atol=1e-5)
    split = model.direct_logit_attribution(PROMPTS, 7)
    torch.testing.assert_close(split.total.float(), last[:, 7], rtol=1e-5, atol=1e-5)


class Shift(nn.Module):
    """A part of a network that works by a hook."""

    def given(self, _module, given):
        return given[0] + 1


def test_a_model_without_a_way_out_is_refused(tiny, fresh):
    """Where norm and unembedding cannot be made out, the error says what was looked for."""
    model = fresh("gpt2")
    handle = model.network.lm_head.register_forward_pre_hook(Shift().given)
    with pytest.raises(
        ModelError, match="the final norm and the unembedding were not found\nlooked"
    ):
        model.logit_lens(PROMPTS)
    handle.remove()
    cubed = Model(model.network, name="cubed", forward=lambda net, ids, _: net(ids).logits ** 3)
    with pytest.raises(ModelError, match="what is done to them afterwards is not understood"):
        cubed.logit_lens(PROMPTS)
    toy = Model(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), name="toy")
    with pytest.raises(ModelError, match="toy has no stack of blocks that is recognised"):
        toy.logit_lens((1, 2))
    with pytest.raises(SiteError, match="gpt2 has layers 0-2"):
        tiny("gpt2").logit_lens(PROMPTS, layers=[5])
    with pytest.raises(SiteError, match="layers is empty"):
        tiny("gpt2").logit_lens(PROMPTS, layers=[])


def frozen_norm(model: Model, states: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Return a part of the stream after the final norm whose scale is that of whole states."""
    weights = dict(model.network.state_dict())
    x, part = states.double(), part.double()
    if model.name == "gpt2" or model.name.startswith("neox"):
        name = NORMS.get(model.name, "gpt_neox.final_layer_norm")
        scale = torch.sqrt((x - x.mean()).square().mean() + 1e-5)
        return (part - part.mean()) / scale * weights[f"{name}.weight"].double()
    scale = torch.sqrt(x.square().mean() + model.network.config.rms_norm_eps)
    return part / scale * weights["model.norm.weight"].double()


ATTRIBUTED = ("gpt2", "llama", "llama-wide-heads", "neox-parallel", "neox-sequential", "qwen3")


@pytest.mark.parametrize("family", ATTRIBUTED)
def test_attribution_by_component(tiny, family):
    """Each component's part, through the frozen norm by hand; the parts sum to the difference."""
    model = tiny(family)
    found = model.direct_logit_attribution(PROMPTS, 7, against=11)
    table = model.network.get_output_embeddings().weight.detach().double()
    last = block_output(model.n_layers - 1, pos="end")
    sites = [attention_output(1, pos="end"), mlp_output(0, pos="end")]
    read = model.read([*sites, last], PROMPTS)
    for index, output in enumerate(model.run(PROMPTS)):
        for site in sites:
            part = frozen_norm(model, read[last][index][0], read[site][index][0])
            value = float(part @ (table[7] - table[11]))
            column = found.labels.index(str(site.at(None)))
            assert float(found.values[index, column]) == pytest.approx(value, rel=1e-4, abs=1e-6)
        total = float(output.logits[-1, 7].double() - output.logits[-1, 11].double())
        assert float(found.total[index]) == pytest.approx(total)
        assert float(found.values[index].sum()) == pytest.approx(total, abs=1e-4)
        assert abs(float(found.remainder[index])) < 1e-4
    table = found.to_pandas()
    assert list(table.columns) == ["prompt", *found.labels, "remainder", "total"]


@pytest.mark.parametrize("family", ATTRIBUTED)
def test_attribution_by_head(tiny, family):
    """The heads of a layer, and its bias, sum to what its attention adds; one is made by hand."""
    model = tiny(family)
    whole = model.direct_logit_attribution(PROMPTS, 7)
    heads = model.direct_logit_attribution(PROMPTS, 7, over="heads")
    for layer in range(model.n_layers):
        parts = [
            i for i, label in enumerate(heads.labels)
            if label.removeprefix("head_attention_value_output[").startswith(f"{layer}.")
            or label == f"attention_output[{layer}] bias"
        ]  # fmt: skip
        column = whole.labels.index(f"attention_output[{layer}]")
        torch.testing.assert_close(
            heads.values[:, parts].sum(1), whole.values[:, column], rtol=1e-5, atol=1e-5
        )
    picked = model.direct_logit_attribution(
        PROMPTS, 7, over=[head_attention_value_output(1, 2), mlp_output(0)]
    )
    torch.testing.assert_close(picked.values.sum(1) + picked.remainder, picked.total)
    column = heads.labels.index("head_attention_value_output[1.2]")
    assert torch.equal(picked.values[:, 0], heads.values[:, column])


def test_one_head_by_hand(tiny):
    """A head of GPT-2 adds its values through its own rows of the output projection."""
    model = tiny("gpt2")
    found = model.direct_logit_attribution(PROMPTS[0], 7, over=[head_attention_value_output(1, 2)])
    site, last = head_attention_value_output(1, 2, pos="end"), block_output(2, pos="end")
    read = model.read([site, last], PROMPTS[:1])
    projection = model.network.transformer.h[1].attn.c_proj.weight.detach()
    written = read[site][0][0] @ projection[12:18]
    row = model.network.lm_head.weight[7].detach().double()
    value = float(frozen_norm(model, read[last][0][0], written) @ row)
    assert float(found.values[0, 0]) == pytest.approx(value, rel=1e-5)


def test_attribution_of_pairs_compares_their_answers(tiny):
    """Pairs are attributed by base answer against source answer unless told."""
    model = tiny("gpt2")
    pair = Pair((5, 9, 17), (6, 9, 17), base_answer=7, source_answer=11)
    found = model.direct_logit_attribution(pair)
    same = model.direct_logit_attribution((5, 9, 17), 7, against=11)
    assert torch.equal(found.values, same.values)
    assert repr(found).startswith(f"<Attribution of {float(found.total[0]):.3g} on 1: ")


@pytest.mark.parametrize(
    "family, call, error, message",
    [
        ("gemma2", {"answer": 7}, ModelError, r"gemma2 caps its logits \(softly, at 30\)"),
        ("gpt2", {}, MetricError, "has no answer to attribute; say answer="),
        ("gpt2", {"answer": 7, "against": 7}, MetricError, r"are the same class \(7\)"),
        ("gpt2", {"against": 7}, MetricError, "against= needs answer="),
        ("gpt2", {"answer": 7, "pos": (0, 1)}, MetricError, "covers 2 tokens .* one token"),
        ("gpt2", {"answer": 7, "over": "head"}, SiteError, "over is 'head'; expected"),
        (
            "gpt2",
            {"answer": 7, "over": [mlp_activation(0)]},
            SiteError,
            r"mlp_activation\[0\] is no whole part of the residual stream",
        ),
        ("gpt2", {"answer": 7, "over": []}, SiteError, "over= names no site, or one twice"),
    ],
)
def test_what_cannot_be_attributed_is_refused(tiny, family, call, error, message):
    """Attribution that would not add up, or has no question, is an error."""
    with pytest.raises(error, match=message):
        tiny(family).direct_logit_attribution(PROMPTS[0], **call)


def test_a_stream_that_does_not_add_up_is_refused(fresh):
    """Something added to the stream behind the components' back is noticed in the sum."""
    model = fresh("gpt2")
    _ = model.architecture

    def more(_module, _given, output):
        hidden = output[0] if isinstance(output, tuple) else output
        changed = hidden + torch.linspace(0, 1, hidden.shape[-1])
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = model.network.transformer.h[1].register_forward_hook(more)
    with pytest.raises(ModelError, match=r"parts of the residual stream add up to .* but the"):
        model.direct_logit_attribution(PROMPTS[0], 7)
    handle.remove()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_patterns_of_gpt2_by_hand(fresh, implementation):
    """Patterns are softmax(q k / sqrt d) under the causal mask, in a padded batch."""
    model = fresh("gpt2")
    model.network.set_attn_implementation(implementation)
    found = model.attention_patterns(PROMPTS, 1)
    read = model.read([query_output(1), key_output(1)], PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        q = read[query_output(1)][index].double().view(len(prompt), 4, 6).transpose(0, 1)
        k = read[key_output(1)][index].double().view(len(prompt), 4, 6).transpose(0, 1)
        scores = q @ k.transpose(1, 2) / math.sqrt(6)
        future = torch.ones(len(prompt), len(prompt)).triu(1).bool()
        wanted = torch.softmax(scores.masked_fill(future, -torch.inf), -1)
        torch.testing.assert_close(found.patterns[index].double(), wanted, rtol=1e-5, atol=1e-6)
    assert model.network.config._attn_implementation == implementation
    table = model.attention_patterns(PROMPTS[1], 1, head=3).to_pandas()
    assert list(table.probability[:2]) == [1.0, 0.0]
    assert set(table["head"]) == {3}


@pytest.mark.parametrize(
    "family", ["llama", "llama-wide-heads", "qwen3", "gemma2", "mistral", "bert"]
)
def test_patterns_mix_the_values(tiny, family):
    """Each query head's pattern times the values of its group is what the head gives."""
    model = tiny(family)
    before = model.network.config._attn_implementation
    found = model.attention_patterns(PROMPTS, 1)
    heads = model.n_heads(layer=1)
    assert found.heads == tuple(range(heads))
    groups = model.n_heads("head_value_output", layer=1)
    mixed = attention_value_output(1)
    read = model.read([mixed, value_output(1)], PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        pattern = found.patterns[index].double()
        torch.testing.assert_close(pattern.sum(-1), torch.ones(heads, len(prompt)).double())
        values = read[value_output(1)][index].double().view(len(prompt), groups, -1)
        values = values.repeat_interleave(heads // groups, dim=1).transpose(0, 1)
        made = (pattern @ values).transpose(0, 1).flatten(1)
        torch.testing.assert_close(made, read[mixed][index].double(), rtol=1e-4, atol=1e-5)
    assert model.network.config._attn_implementation == before
    assert repr(found) == f"<AttentionPatterns: 4 prompts, layer 1, {heads} heads, eager>"


def test_patterns_that_cannot_be_had_are_refused(tiny, fresh):
    """Unknown heads and layers, and attention without patterns, are errors; sdpa is put back."""
    with pytest.raises(SiteError, match="head 4 does not exist: gpt2 has query heads 0-3"):
        tiny("gpt2").attention_patterns(PROMPTS, 1, head=4)
    with pytest.raises(SiteError, match="gpt2 has layers 0-2"):
        tiny("gpt2").attention_patterns(PROMPTS, 7)
    with pytest.raises(SiteError, match="has no attention_pattern: no stack of blocks"):
        Model(torch.nn.Embedding(5, 4)).attention_patterns(PROMPTS, 0)
    settings = {"vocab_size": 50, "d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2}
    config = T5Config(**settings, num_layers=2, decoder_start_token_id=0)
    model = Model(T5ForConditionalGeneration(config).eval())
    with pytest.raises(ModelError, match="has 1 queries and 1 keys for a prompt of 5 tokens, so"):
        model.attention_patterns(PROMPTS[:1], 1)


def test_patterns_are_those_that_are_used(fresh):
    """A hook of the user that changes the reported pattern changes nothing: it is not read."""
    model = fresh("gpt2")
    wanted = model.attention_patterns(PROMPTS[0], 1).patterns[0]
    handle = model.network.transformer.h[1].attn.register_forward_hook(
        lambda _module, _given, output: (output[0], None)
    )
    assert torch.equal(model.attention_patterns(PROMPTS[0], 1).patterns[0], wanted)
    handle.remove()
    assert model.network.config._attn_implementation == "sdpa"


def test_tokens_are_numbered_as_positions(tiny):
    """`tokens` lists what positions count."""
    assert tiny("gpt2").tokens(PROMPTS[2]) == ("12", "33", "6")
