"""The workflows of the pyvene guide, with the import line changed."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import causaltest.pyvene as pv
from causaltest.errors import InterventionError

WORDS = [
    "The",
    "Space",
    "Needle",
    "is",
    "in",
    "downtown",
    "Seattle",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "through",
    "the",
    "When",
    "John",
    "and",
    "Mary",
    "went",
    "to",
    "store",
    "gave",
    "a",
    "bottle",
    "of",
    "earth",
    "flat",
    "?",
    "#####",
    ",",
]


@pytest.fixture
def tokenizer():
    """Return a tokenizer of whole words."""
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<unk>")


def test_basic_usage(network, tokenizer):
    """A block's output is swapped between two prompts."""
    config = pv.IntervenableConfig(
        representations=[
            pv.RepresentationConfig(
                layer=1, component="block_output", intervention_type=pv.VanillaIntervention
            )
        ]
    )
    intervenable = pv.IntervenableModel(config, network)
    base = tokenizer("The cat sat on the", return_tensors="pt")
    source = tokenizer("The dog ran through the", return_tensors="pt")
    base.pop("token_type_ids", None)
    source.pop("token_type_ids", None)
    original, outputs = intervenable(base=base, sources=[source])
    assert original is None
    assert outputs.logits.shape == (1, 5, 50)
    assert not torch.equal(outputs.logits, network(**base).logits)


def test_causal_tracing(network, inputs):
    """The sweep over layers and positions; the last block at the last token restores the answer."""
    clean, corrupted = inputs(1, 1), inputs(2, 1)
    with torch.no_grad():
        states = network(**clean, output_hidden_states=True).hidden_states
        answer = network(**clean).logits[0, -1]
    assert len(states) == 4

    def trace(layer, position):
        config = pv.IntervenableConfig(
            representations=[
                pv.RepresentationConfig(
                    layer=layer, component="block_output",
                    intervention_type=pv.VanillaIntervention, unit="pos", max_number_of_units=1,
                )
            ]
        )  # fmt: skip
        intervenable = pv.IntervenableModel(config, network)
        _, patched = intervenable(
            base=corrupted,
            sources=[clean],
            unit_locations={"sources->base": ([[[position]]], [[[position]]])},
            output_original_output=True,
        )
        return patched.logits[0, -1]

    torch.testing.assert_close(trace(2, 5), answer)
    assert all(not torch.equal(trace(layer, 3), answer) for layer in range(3))


def test_circuit_analysis(network, inputs):
    """Attention outputs are patched whole, layer after layer."""
    clean, corrupted = inputs(1, 1), inputs(2, 1)
    for layer in range(3):
        config = pv.IntervenableConfig(
            representations=[
                pv.RepresentationConfig(
                    layer=layer, component="attention_output",
                    intervention_type=pv.VanillaIntervention,
                )
            ]
        )  # fmt: skip
        _, patched = pv.IntervenableModel(config, network)(base=corrupted, sources=[clean])
        assert not torch.equal(patched.logits, network(**corrupted).logits)


def test_interchange_intervention_training(network, inputs):
    """The guide's loop lowers the loss, and only the rotation changes."""
    config = pv.IntervenableConfig(
        representations=[
            pv.RepresentationConfig(
                layer=1, component="block_output",
                intervention_type=pv.RotatedSpaceIntervention, low_rank_dimension=6,
            )
        ]
    )  # fmt: skip
    intervenable = pv.IntervenableModel(config, network)
    weights = [each.clone() for each in network.parameters()]
    optimizer = torch.optim.Adam(intervenable.get_trainable_parameters(), lr=1e-2)
    target = network(**inputs(2)).logits.argmax(-1)[:, -1].detach()
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        _, outputs = intervenable(base=inputs(1), sources=[inputs(2)])
        loss = torch.nn.functional.cross_entropy(outputs.logits[:, -1], target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    rotation = intervenable.interventions["layer.1.block_output"][0].rotate_layer
    gram = rotation.weight.T @ rotation.weight
    torch.testing.assert_close(gram, torch.eye(24), rtol=0, atol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))


def test_steering_is_saved_loaded_and_generates(network, llama, inputs, tokenizer, tmp_path):
    """A stored vector steers every new token, before and after a round trip through a folder."""
    config = pv.IntervenableConfig(
        representations=[
            pv.RepresentationConfig(
                layer=1, component="block_output", intervention_type=pv.AdditionIntervention,
                source_representation=4 * torch.linspace(-1, 1, 32),
            )
        ]
    )  # fmt: skip
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    intervenable = pv.IntervenableModel(config, llama)
    _, steered = intervenable.generate(inputs(1), **options)
    intervenable.save(tmp_path / "steering")
    loaded = pv.IntervenableModel.load(tmp_path / "steering", model=llama)
    outputs = loaded.generate(inputs(1), **options)
    assert torch.equal(outputs[1], steered)
    assert not torch.equal(steered, llama.generate(**inputs(1), **options))
    assert tokenizer.decode(outputs[0]) == tokenizer.decode(steered[0])


def test_lora_and_checkpointing_run(network, inputs):
    """An untrained adapter changes nothing; checkpointing is no obstacle."""
    for each in network.modules():
        if hasattr(each, "gradient_checkpointing"):
            each.gradient_checkpointing = True
    config = pv.RepresentationConfig(
        intervention_type=pv.LoRAIntervention, low_rank_dimension=4, component="mlp_output"
    )
    intervenable = pv.IntervenableModel(config, network)
    _, outputs = intervenable(inputs(1))
    torch.testing.assert_close(outputs.logits, network(**inputs(1)).logits)
    outputs.logits.sum().backward()
    (each,) = intervenable.interventions.values()
    assert each.lora_B.grad.abs().sum() > 0
    assert intervenable.count_parameters() == 4 * (24 + 24)
    intervenable.train()
    with pytest.raises(InterventionError, match="gradient checkpointing recomputes"):
        intervenable(inputs(1))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("where", ["new tokens", "prompt", "both"])
def test_generation_is_the_same_without_cache(llama, inputs, where, beams):
    """Edits of new tokens and of the prompt give the same scores with and without KV cache."""
    each = pv.RepresentationConfig(layer=1, intervention_type=pv.AdditionIntervention)
    model = pv.IntervenableModel(each, llama)
    options = {
        "max_new_tokens": 7, "do_sample": False, "pad_token_id": 0, "num_beams": beams,
        "return_dict_in_generate": True, "output_logits": True,
        "source_representations": 4 * torch.linspace(-1, 1, 32),
    }  # fmt: skip
    more = {
        "new tokens": {},
        "prompt": {"unit_locations": {"base": -1}, "intervene_on_prompt": True},
        "both": {"intervene_on_prompt": True},
    }[where]
    _, cached = model.generate(inputs(1), **more, **options)
    _, uncached = model.generate(inputs(1), **more, **options, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    for one, other in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    del options["source_representations"]
    clean = llama.generate(**inputs(1), **options)
    first = torch.allclose(clean.logits[0], cached.logits[0], atol=1e-5)
    assert first == (where == "new tokens")
    assert not torch.equal(clean.logits[1], cached.logits[1])


def test_generation_refuses_what_it_would_not_do(llama, inputs):
    """Locations without the prompt, and edits of new tokens that never come, are errors."""
    each = pv.RepresentationConfig(layer=1, intervention_type=pv.ZeroIntervention)
    model = pv.IntervenableModel(each, llama)
    with pytest.raises(InterventionError, match="unit_locations are places in the prompt, but"):
        model.generate(inputs(1), unit_locations={"base": 3}, max_new_tokens=3)
    with pytest.raises(InterventionError, match="was never edited in 1 passes of generation"):
        model.generate(inputs(1), max_new_tokens=1, pad_token_id=0)


def test_activations_are_collected_at_every_new_token(llama, inputs):
    """Collecting in a generation gives one activation for each pass that feeds a token back."""
    each = pv.RepresentationConfig(layer=1, intervention_type=pv.CollectIntervention)
    model = pv.IntervenableModel(each, llama)
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    (original, found), text = model.generate(inputs(1), **options)
    assert original is None
    states = llama(input_ids=text, output_hidden_states=True).hidden_states[2]
    for step, activation in enumerate(found):
        torch.testing.assert_close(activation[:, 0], states[:, 6 + step], rtol=1e-4, atol=1e-5)
    assert len(found) == text.shape[1] - 7
