"""Every workflow of the guide on every family that the guide names, by small random networks."""

import pytest
import torch
import transformers

import causaltest.pyvene as pv
from causaltest.errors import InterventionError, SiteError

_IDS = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SMALL = {
    "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_OPT = {
    "hidden_size": 32, "ffn_dim": 44, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "word_embed_proj_dim": 32,
}  # fmt: skip
_BLIP = {
    "text_config": {**_SMALL, **_IDS, "encoder_hidden_size": 32, "sep_token_id": 2},
    "vision_config": {**_SMALL, "image_size": 16, "patch_size": 8},
    "projection_dim": 16,
    "image_text_hidden_size": 16,
}

# Network, configuration, settings, and modules by hand: block 1, what its attention, mixer or MLP
# writes, and its queries.
FAMILIES = {
    "GPT-2": (
        "GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, **_IDS},
        {"block_output": "transformer.h.1", "attention_output": "transformer.h.1.attn.c_proj",
         "mlp_output": "transformer.h.1.mlp.c_proj"},
    ),
    "LLaMA": (
        "LlamaForCausalLM", "LlamaConfig", {**_GROUPED, **_IDS},
        {"block_output": "model.layers.1", "attention_output": "model.layers.1.self_attn.o_proj",
         "mlp_output": "model.layers.1.mlp.down_proj",
         "query_output": "model.layers.1.self_attn.q_proj"},
    ),
    "Pythia": (
        "GPTNeoXForCausalLM", "GPTNeoXConfig", {**_SMALL, **_IDS},
        {"block_output": "gpt_neox.layers.1",
         "attention_output": "gpt_neox.layers.1.attention.dense",
         "mlp_output": "gpt_neox.layers.1.mlp.dense_4h_to_h"},
    ),
    "Mistral": (
        "MistralForCausalLM", "MistralConfig", {**_GROUPED, **_IDS},
        {"block_output": "model.layers.1", "attention_output": "model.layers.1.self_attn.o_proj",
         "mlp_output": "model.layers.1.mlp.down_proj",
         "query_output": "model.layers.1.self_attn.q_proj"},
    ),
    "Mixtral": (
        "MixtralForCausalLM", "MixtralConfig", {**_GROUPED, **_IDS, "num_local_experts": 4},
        {"block_output": "model.layers.1", "attention_output": "model.layers.1.self_attn.o_proj",
         "mlp_output": "model.layers.1.mlp",
         "query_output": "model.layers.1.self_attn.q_proj"},
    ),
    "OPT": (
        "OPTForCausalLM", "OPTConfig", {**_OPT, **_IDS},
        {"block_output": "model.decoder.layers.1",
         "attention_output": "model.decoder.layers.1.self_attn.out_proj",
         "query_output": "model.decoder.layers.1.self_attn.q_proj"},
    ),
    "BLIP": (
        "BlipForConditionalGeneration", "BlipConfig", _BLIP,
        {"block_output": "text_decoder.bert.encoder.layer.1",
         "attention_output": "text_decoder.bert.encoder.layer.1.attention.output.dense",
         "mlp_output": "text_decoder.bert.encoder.layer.1.output.dense",
         "query_output": "text_decoder.bert.encoder.layer.1.attention.self.query"},
    ),
    "BLIP, question answering": (
        "BlipForQuestionAnswering", "BlipConfig", _BLIP,
        {"block_output": "text_decoder.bert.encoder.layer.1",
         "text_encoder.block_output": "text_encoder.encoder.layer.1",
         "vision_model.block_output": "vision_model.encoder.layers.1"},
    ),
    "ESM": (
        "EsmForMaskedLM", "EsmConfig",
        {**_SMALL, "vocab_size": 50, "pad_token_id": 0, "mask_token_id": 3},
        {"block_output": "esm.encoder.layer.1",
         "attention_output": "esm.encoder.layer.1.attention.output.dense",
         "mlp_output": "esm.encoder.layer.1.output.dense",
         "query_output": "esm.encoder.layer.1.attention.self.query"},
    ),
    "Mamba": (
        "MambaForCausalLM", "MambaConfig",
        {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, **_IDS},
        {"block_output": "backbone.layers.1", "mixer_output": "backbone.layers.1.mixer"},
    ),
}  # fmt: skip
WRITERS = [name for name in FAMILIES if name not in ("ESM", "BLIP, question answering")]

# What the guide lists, and the families that have no such thing.
COMPONENTS = (
    "block_input", "block_output", "mlp_input", "mlp_output", "mlp_activation", "attention_input",
    "attention_output", "attention_value_output", "query_output", "key_output", "value_output",
    "head_attention_value_output",
)  # fmt: skip
_OF_MLP = {"mlp_input", "mlp_output", "mlp_activation"}
ABSENT = {"Mixtral": {"mlp_activation"}, "Mamba": set(COMPONENTS[2:])}
# The MLP of OPT takes rows and tokens as one axis; where that is not told apart it is refused.
UNSURE = {"OPT": _OF_MLP}


@pytest.fixture(scope="module")
def network(request):
    """Return a small network of a family with random weights."""
    return made(request.param)


def made(family):
    """Return a small network of a family with random weights."""
    name, config, settings, _ = FAMILIES[family]
    generator = torch.Generator().manual_seed(7)
    built = getattr(transformers, name)(getattr(transformers, config)(**settings)).eval()
    with torch.no_grad():
        for key, parameter in built.named_parameters():
            if "A_log" in key or key.endswith(".D") or "dt_proj" in key:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and key.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if gain else 0.2 * noise)
    built.family = family
    return built


def prompts(network, seed, rows=2, tokens=6):
    """Return random inputs of a family."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 50, (rows, tokens), generator=generator)
    given = {"input_ids": ids}
    if network.family.startswith("BLIP"):
        given["pixel_values"] = torch.randn(rows, 3, 16, 16, generator=generator)
    if network.family == "BLIP, question answering":
        given["labels"] = torch.randint(4, 50, (rows, tokens), generator=generator)
    return given


def answer(outputs):
    """Return what a family answers with."""
    logits = getattr(outputs, "logits", None)
    return outputs.loss if logits is None else logits


def every(families):
    """Parametrise a test with networks of families."""
    return pytest.mark.parametrize("network", families, ids=str, indirect=True)


@every(FAMILIES)
def test_basic_usage_gives_what_a_plain_hook_gives(network):
    """Components are where plain hooks of PyTorch say, and a swap equals one by such hooks."""
    base, source = prompts(network, 1), prompts(network, 2)
    for component, path in FAMILIES[network.family][3].items():
        seen = []
        handle = network.get_submodule(path).register_forward_hook(
            lambda _module, _given, output, seen=seen: seen.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
        with torch.no_grad():
            network(**source)
        handle.remove()

        def swap(_module, _given, output, seen=seen):
            return (seen[0], *output[1:]) if isinstance(output, tuple) else seen[0]

        handle = network.get_submodule(path).register_forward_hook(swap)
        with torch.no_grad():
            wanted, before = answer(network(**base)), None
        handle.remove()
        each = pv.RepresentationConfig(
            layer=1, component=component, intervention_type=pv.VanillaIntervention
        )
        collect = each._replace(intervention_type=pv.CollectIntervention)
        with torch.no_grad():
            before, swapped = pv.IntervenableModel(each, network)(
                base, [source], output_original_output=True
            )
            (_, (found,)), _ = pv.IntervenableModel(collect, network)(source)
        torch.testing.assert_close(found, seen[0].reshape(found.shape))
        torch.testing.assert_close(answer(swapped), wanted, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(answer(before), answer(swapped), atol=1e-4)


def _is_refused(network, each):
    """Return whether a component of which the families' tables are unsure is refused."""
    if each.component not in UNSURE.get(network.family, ()):
        return False
    try:
        pv.IntervenableModel(each, network)
    except SiteError:
        return True
    return False


@every(FAMILIES)
def test_each_component_works_or_says_why_not(network):
    """Zeroing any component of the guide's list changes the answer, or its absence is an error."""
    base = prompts(network, 1)
    with torch.no_grad():
        clean = answer(network(**base))
    for component in COMPONENTS:
        heads = component.startswith("head_")
        each = pv.RepresentationConfig(
            layer=1, component=component, unit="h.pos" if heads else "pos",
            intervention_type=pv.ZeroIntervention,
        )  # fmt: skip
        if component in ABSENT.get(network.family, ()) or _is_refused(network, each):
            with pytest.raises(SiteError) as caught:
                pv.IntervenableModel(each, network)
            lacks = f"{type(network).__name__} has no {component.removeprefix('head_')}: "
            assert str(caught.value).startswith(lacks)
            assert "it has block_input, block_output" in str(caught.value)
            continue
        model = pv.IntervenableModel(each, network)
        places = [[[3]] * 2] if not heads else [[[[1]] * 2, [[3]] * 2]]
        with torch.no_grad():
            _, zeroed = model(base, unit_locations={"base": places})
        assert not torch.allclose(answer(zeroed), clean, atol=1e-6), component


@every(WRITERS)
def test_causal_tracing(network):
    """Restoring the last block at the last position gives the clean answer, and only there."""
    clean, corrupted = prompts(network, 1, 1), prompts(network, 2, 1)
    if "pixel_values" in clean:
        corrupted["pixel_values"] = clean["pixel_values"]
    with torch.no_grad():
        wanted = answer(network(**clean))[0, -1].softmax(-1)

    def trace(layer, position):
        config = pv.IntervenableConfig(
            representations=[
                pv.RepresentationConfig(
                    layer=layer, component="block_output",
                    intervention_type=pv.VanillaIntervention, unit="pos", max_number_of_units=1,
                )
            ]
        )  # fmt: skip
        _, patched = pv.IntervenableModel(config, network)(
            base=corrupted, sources=[clean], output_original_output=True,
            unit_locations={"sources->base": ([[[position]]], [[[position]]])},
        )  # fmt: skip
        return answer(patched)[0, -1].softmax(-1)

    with torch.no_grad():
        torch.testing.assert_close(trace(1, 5), wanted, rtol=1e-4, atol=1e-5)
        for layer, position in ((0, 2), (0, 5), (1, 2)):
            assert not torch.allclose(trace(layer, position), wanted, atol=1e-5)


@every(WRITERS)
def test_circuit_analysis(network):
    """Attention outputs, or those of the mixer, are patched whole, layer after layer."""
    clean, corrupted = prompts(network, 1, 1), prompts(network, 2, 1)
    component = "mixer_output" if network.family == "Mamba" else "attention_output"

    def logit_diff(logits):
        return (logits[0, -1, 7] - logits[0, -1, 8]).item()

    with torch.no_grad():
        before = logit_diff(answer(network(**corrupted)))
        for layer in range(2):
            config = pv.IntervenableConfig(
                representations=[
                    pv.RepresentationConfig(
                        layer=layer, component=component,
                        intervention_type=pv.VanillaIntervention,
                    )
                ]
            )  # fmt: skip
            _, patched = pv.IntervenableModel(config, network)(base=corrupted, sources=[clean])
            assert logit_diff(answer(patched)) != pytest.approx(before, abs=1e-6)


@every(FAMILIES)
@pytest.mark.parametrize(
    "kind, rank",
    [
        (pv.RotatedSpaceIntervention, 6),
        (pv.LowRankRotatedSpaceIntervention, 1),
        (pv.LoRAIntervention, 4),
    ],
)
def test_interventions_are_trained(network, kind, rank):
    """The guide's loop, its one direction and its adapter lower the loss; the weights stay."""
    base, source = prompts(network, 1), prompts(network, 2)
    each = pv.RepresentationConfig(
        layer=1, component="block_output", intervention_type=kind, low_rank_dimension=rank
    )
    intervenable = pv.IntervenableModel(pv.IntervenableConfig(representations=[each]), network)
    weights = [each.clone() for each in network.parameters()]
    optimizer = torch.optim.Adam(intervenable.get_trainable_parameters(), lr=2e-2)
    losses = []
    sources = {} if kind is pv.LoRAIntervention else {"sources": [source]}
    for _ in range(8):
        optimizer.zero_grad()
        _, outputs = intervenable(base=base, **sources)
        found = answer(outputs)
        loss = found
        if found.ndim:
            loss = torch.nn.functional.cross_entropy(found[:, -1], torch.tensor([7, 9]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))
    if kind is not pv.LoRAIntervention:
        rotation = intervenable.interventions["layer.1.block_output"][0].rotate_layer
        columns = rotation.weight
        gram = columns.T @ columns
        torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)


@every(WRITERS)
@pytest.mark.parametrize("on_prompt", [False, True])
def test_steering_writes_the_same_after_a_round_trip(network, tmp_path, on_prompt):
    """A stored vector steers what is written, with and without cache, saved and loaded too."""
    base = prompts(network, 1)
    options = {
        "max_new_tokens": 5, "do_sample": False, "return_dict_in_generate": True,
        "output_logits": True,
    }  # fmt: skip
    if network.family != "BLIP":  # which says both itself
        options |= {"pad_token_id": 0, "eos_token_id": None}
    config = pv.IntervenableConfig(
        representations=[
            pv.RepresentationConfig(
                layer=1, component="block_output", intervention_type=pv.AdditionIntervention,
                source_representation=4 * torch.linspace(-1, 1, 32),
            )
        ]
    )  # fmt: skip
    intervenable = pv.IntervenableModel(config, network)
    _, steered = intervenable.generate(base, intervene_on_prompt=on_prompt, **options)
    _, uncached = intervenable.generate(
        base, intervene_on_prompt=on_prompt, use_cache=False, **options
    )
    intervenable.save(tmp_path / "steering")
    loaded = pv.IntervenableModel.load(tmp_path / "steering", model=network)
    _, again = loaded.generate(base, intervene_on_prompt=on_prompt, **options)
    clean = network.generate(**base, **options)
    assert torch.equal(steered.sequences, uncached.sequences)
    assert torch.equal(steered.sequences, again.sequences)
    assert not torch.allclose(steered.logits[1], clean.logits[1], atol=1e-2)
    assert torch.allclose(steered.logits[0], clean.logits[0], atol=1e-4) == (not on_prompt)
    for one, other in zip(steered.logits, uncached.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@every(WRITERS)
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_:FutureWarning")
def test_checkpointing_and_locations(network):
    """The guide's remedies: gradient checkpointing, one position, one layer."""
    if network.family != "BLIP":
        network.gradient_checkpointing_enable()
    base, source = prompts(network, 1, 1), prompts(network, 2, 1)
    each = pv.RepresentationConfig(
        layer=1, unit="pos", max_number_of_units=1, low_rank_dimension=2,
        intervention_type=pv.LowRankRotatedSpaceIntervention,
    )  # fmt: skip
    intervenable = pv.IntervenableModel(each, network)
    _, outputs = intervenable(
        base=base, sources=[source], unit_locations={"sources->base": ([[[5]]], [[[5]]])}
    )
    answer(outputs)[0, -1, 7].backward()
    (parameter,) = intervenable.get_trainable_parameters()
    assert parameter.grad.abs().sum() > 0
    if network.family != "BLIP":
        network.gradient_checkpointing_disable()


@every(["BLIP, question answering"])
def test_questions_are_answered_under_edits(network):
    """The question is read once and the answer written in steps; another question can be put in."""
    base, source = prompts(network, 1), prompts(network, 2)
    del base["labels"], source["labels"]
    options = {"max_new_tokens": 5, "do_sample": False}
    model = pv.IntervenableModel({"layer": 1, "component": "text_encoder.block_output"}, network)
    _, found = model.generate(base, [source], intervene_on_prompt=True, **options)
    assert torch.equal(found, network.generate(**source, **options))
    assert not torch.equal(found, network.generate(**base, **options))
    push = {
        "layer": 1, "intervention_type": pv.AdditionIntervention,
        "source_representation": 6 * torch.linspace(-1, 1, 32),
    }  # fmt: skip
    steered = [
        pv.IntervenableModel(push, network).generate(base, use_cache=cache, **options)[1]
        for cache in (True, False)
    ]
    assert torch.equal(*steered)
    assert not torch.equal(steered[0], network.generate(**base, **options))


@every(["BLIP"])
def test_places_of_padded_captions_are_refused(network):
    """The writer is given its own part of the prompt, so that padding cannot be told there."""
    base = prompts(network, 1)
    base["attention_mask"] = torch.ones_like(base["input_ids"])
    base["attention_mask"][0, 4:] = 0
    model = pv.IntervenableModel({"layer": 1, "intervention_type": pv.ZeroIntervention}, network)
    with pytest.raises(InterventionError) as caught:
        model.generate(
            base, unit_locations={"base": -1}, intervene_on_prompt=True, max_new_tokens=2
        )
    assert str(caught.value) == (
        "block_output[1]: rows are padded, and places of padded rows cannot be told in "
        "BlipTextLMHeadModel; generate for rows of one length"
    )
