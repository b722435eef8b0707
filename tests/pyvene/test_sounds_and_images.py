"""Networks that take no text: their components are found with sounds and images that stand in."""

import pytest
import torch
import transformers

import causaltest.pyvene as pv

_SMALL = {
    "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
_WHISPER = {
    "vocab_size": 50, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 44,
    "decoder_ffn_dim": 44, "num_mel_bins": 8, "max_source_positions": 20,
    "max_target_positions": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 3, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip


def scrambled(network):
    """Give a network random weights that matter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if gain else 0.25 * noise)
    return network.eval()


@pytest.fixture
def whisper():
    """Return a small Whisper."""
    config = transformers.WhisperConfig(**_WHISPER)
    return scrambled(transformers.WhisperForConditionalGeneration(config))


def sounds(seed, **more):
    """Return two sounds."""
    generator = torch.Generator().manual_seed(seed)
    return {"input_features": torch.randn(2, 8, 40, generator=generator), **more}


def test_a_sound_is_replaced_in_the_encoder(whisper):
    """The whole last encoder block of another sound gives that sound's logits."""
    ids = torch.tensor([[3, 5], [3, 6]])
    base, source = sounds(1, decoder_input_ids=ids), sounds(2, decoder_input_ids=ids)
    with torch.no_grad():
        model = pv.IntervenableModel({"layer": 1, "component": "encoder.block_output"}, whisper)
        _, found = model(base, [source])
        wanted, before = whisper(**source).logits, whisper(**base).logits
    torch.testing.assert_close(found.logits, wanted)
    assert not torch.allclose(before, wanted, atol=1e-3)


def test_what_is_said_of_a_sound_is_steered(whisper):
    """A vector at the tokens that the decoder reads behind its start, cached or not, as by hand."""
    push = 3 * torch.linspace(-1, 1, 32)
    each = {"layer": 1, "intervention_type": pv.AdditionIntervention, "source_representation": push}
    model = pv.IntervenableModel(each, whisper)
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    _, found = model.generate(sounds(1), **options)
    _, uncached = model.generate(sounds(1), use_cache=False, **options)
    assert torch.equal(found, uncached)

    def hook(_module, _given, output):
        states = (output[0] if isinstance(output, tuple) else output).clone()
        states[:, 1:] += push
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = whisper.model.decoder.layers[1].register_forward_hook(hook)
    ids = torch.full((2, 1), 3)
    with torch.no_grad():
        for _ in range(found.shape[1]):
            said = whisper(**sounds(1), decoder_input_ids=ids, use_cache=False).logits[:, -1]
            ids = torch.cat([ids, said.argmax(-1, keepdim=True)], dim=1)
    handle.remove()
    assert torch.equal(found, ids[:, 1:])
    assert not torch.equal(found, whisper.generate(**sounds(1), **options))


def test_an_image_is_replaced_in_a_vision_transformer():
    """The whole last block of another image gives that image's logits; one patch does not."""
    config = transformers.ViTConfig(**_SMALL, image_size=16, patch_size=8)
    network = scrambled(transformers.ViTForImageClassification(config))
    base, source = ({"pixel_values": torch.randn(2, 3, 16, 16)} for _ in range(2))
    model = pv.IntervenableModel({"layer": 1, "component": "block_output"}, network)
    with torch.no_grad():
        _, found = model(base, [source])
        _, patch = model(base, [source], {"sources->base": 2})
        wanted, before = network(**source).logits, network(**base).logits
    torch.testing.assert_close(found.logits, wanted)
    # The answer is read at the first place alone.
    torch.testing.assert_close(patch.logits, before)
    assert not torch.allclose(before, wanted, atol=1e-3)
