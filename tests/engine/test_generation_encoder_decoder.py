"""Generation of encoder-decoders under edits, against loops written by hand."""

from __future__ import annotations

import pytest
import torch
import transformers

from causaltest.engine.model import Model
from causaltest.errors import InterventionError, ModelError
from causaltest.interventions import add, apply_function, interchange, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import block_output, mlp_output

NEW = 6
PROMPTS = ((5, 9, 17, 4, 30), (8,), (12, 33, 6))
_COMMON = {"vocab_size": 50, "pad_token_id": 0, "eos_token_id": 2}
_BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 44, "decoder_ffn_dim": 44,
    "max_position_embeddings": 64, "decoder_start_token_id": 2, "bos_token_id": 1,
    "forced_eos_token_id": None,
}  # fmt: skip
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 44, "num_layers": 2, "num_heads": 4}
NETWORKS = {
    "t5": ("T5", {**_T5, "decoder_start_token_id": 0}, ("encoder.block", "decoder.block")),
    "bart": ("Bart", _BART, ("model.encoder.layers", "model.decoder.layers")),
}


@pytest.fixture(scope="module", params=NETWORKS)
def writer(request) -> Model:
    """Return a small encoder-decoder with random weights."""
    family, settings, _ = NETWORKS[request.param]
    config = getattr(transformers, f"{family}Config")(**_COMMON, **settings)
    network = getattr(transformers, f"{family}ForConditionalGeneration")(config).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if parameter.ndim == 1 else 0.3 * noise)
    return Model(network, name=request.param)


@pytest.fixture
def vector() -> torch.Tensor:
    """A vector large enough to change what is written."""
    return 3 * torch.randn(32, generator=torch.Generator().manual_seed(3))


def unchanged(_states):
    """Edit nothing."""


def written_by_hand(model, prompt, *, encoder=unchanged, decoder=unchanged):
    """Write greedily, the decoder over its whole text each time; edit block 1 of each stack."""
    network = model.network
    start = network.config.decoder_start_token_id
    ids, logits = [start], []

    def editing(change):
        def hook(_module, _given, output):
            states = (output[0] if isinstance(output, tuple) else output).clone()
            change(states[0])
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return hook

    paths = NETWORKS[model.name][2]
    handles = [
        network.get_submodule(f"{path}.1").register_forward_hook(editing(change))
        for path, change in zip(paths, (encoder, decoder), strict=True)
    ]
    try:
        for _ in range(NEW):
            with torch.no_grad():
                found = network(
                    input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([ids]),
                    use_cache=False,
                ).logits[0, -1]  # fmt: skip
            logits.append(found)
            ids.append(int(found.argmax()))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(ids[1:]), torch.stack(logits)


def check(found, wanted):
    """Compare texts and their logits with what was written by hand."""
    for text, (ids, logits) in zip(found, wanted, strict=True):
        assert text.ids == ids
        torch.testing.assert_close(text.logits, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_cache", [True, False])
def test_plain_text_is_that_of_the_network(writer, use_cache):
    """Without edits, prompts of several lengths get the tokens of a loop over the decoder."""
    found = writer.generate(
        PROMPTS, max_new_tokens=NEW, use_cache=use_cache, keep_logits=True, eos_token_id=None
    )
    check(found, [written_by_hand(writer, prompt) for prompt in PROMPTS])


@pytest.mark.parametrize("use_cache", [True, False])
def test_steps_edit_the_decoder(writer, vector, use_cache):
    """Every step edits each token the decoder reads; chosen steps edit only those."""
    edit = add(block_output(1), vector)
    settings = {
        "max_new_tokens": NEW, "use_cache": use_cache, "keep_logits": True, "eos_token_id": None,
    }  # fmt: skip
    found = writer.generate(PROMPTS, intervention=edit, when="every step", **settings)

    def every(states):
        states += vector

    check(found, [written_by_hand(writer, prompt, decoder=every) for prompt in PROMPTS])
    (entry,) = found.ledger
    assert (entry.fired, entry.positions, entry.changed) == (NEW, 3 * NEW, 3)

    def chosen(states):
        for step in (0, 3):
            if step < len(states):
                states[step] += vector

    found = writer.generate(PROMPTS, intervention=edit, when=[0, 3], **settings)
    check(found, [written_by_hand(writer, prompt, decoder=chosen) for prompt in PROMPTS])


@pytest.mark.parametrize("use_cache", [True, False])
def test_the_prompt_is_edited_in_the_encoder(writer, vector, use_cache):
    """An edit of the encoder happens once, at the positions of the prompt."""
    edit = add(block_output(1, pos=-1, stack="encoder"), vector)
    found = writer.generate(
        PROMPTS, max_new_tokens=NEW, use_cache=use_cache, keep_logits=True, eos_token_id=None,
        intervention=edit, when="prompt",
    )  # fmt: skip

    def last(states):
        states[-1] += vector

    check(found, [written_by_hand(writer, prompt, encoder=last) for prompt in PROMPTS])
    (entry,) = found.ledger
    assert (entry.fired, entry.positions, entry.changed) == (1, 3, 3)


def test_the_encoder_takes_the_state_of_another_prompt(writer):
    """A whole interchange of the last encoder block writes the source's text."""
    pair = Pair((5, 9, 17), (30, 8, 11))
    found = writer.generate(
        pair, max_new_tokens=NEW, keep_logits=True, eos_token_id=None, when="prompt",
        intervention=interchange(block_output(1, stack="encoder")),
    )  # fmt: skip
    check(found, [written_by_hand(writer, pair.source)])


def test_beams_are_edited_alike(writer, vector):
    """Beam search under an edit of both kinds does not depend on the cache or on company."""
    for edit, when in (
        (add(block_output(1), vector), "every step"),
        (add(block_output(1, stack="encoder"), vector), "prompt"),
    ):
        settings = {
            "max_new_tokens": NEW, "num_beams": 3, "intervention": edit, "when": when,
            "keep_logits": True,
        }  # fmt: skip
        cached = writer.generate(PROMPTS, **settings)
        uncached = writer.generate(PROMPTS, **settings, use_cache=False)
        alone = [writer.generate(prompt, **settings)[0] for prompt in PROMPTS]
        clean = writer.generate(PROMPTS, max_new_tokens=NEW, num_beams=3, keep_logits=True)
        assert [text.ids for text in cached] == [text.ids for text in uncached]
        assert [text.ids for text in cached] == [text.ids for text in alone]
        for text, other, before in zip(cached, uncached, clean, strict=True):
            torch.testing.assert_close(text.logits, other.logits, rtol=1e-5, atol=1e-5)
            assert not torch.allclose(text.logits[0], before.logits[0], atol=1e-2)


def test_a_run_gives_the_first_token(writer):
    """A plain run of an encoder-decoder answers once for each prompt: with the first token."""
    (output,) = writer.run([PROMPTS[0]])
    _, logits = written_by_hand(writer, PROMPTS[0])
    assert output.logits.shape == (50,)
    torch.testing.assert_close(output.at(), logits[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "edit, when, message",
    [
        (
            zero_ablate(mlp_output(1)),
            "prompt",
            r"mlp_output\[1\] is in the decoder of (t5|bart), which writes and does not read the "
            r"prompt\nsay when='every step' or steps, or edit the encoder, e.g. "
            r"block_output\(1, stack='encoder'\)",
        ),
        (
            zero_ablate(mlp_output(1, stack="encoder")),
            [1],
            r"encoder.mlp_output\[1\] is in the encoder of (t5|bart), which reads the prompt once, "
            "before the first step; say when='prompt'",
        ),
    ],
)
def test_what_never_happens_is_refused(writer, edit, when, message):
    """The decoder reads no prompt, and the encoder takes no steps."""
    with pytest.raises(InterventionError, match=message):
        writer.generate(PROMPTS, max_new_tokens=NEW, intervention=edit, when=when)


def test_a_function_around_an_encoder_decoder_is_refused(writer):
    """A forward function gives logits of one pass, and no text token after token."""

    def forward(network, ids, mask):
        return network(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits

    wrapped = Model(writer.network, name="wrapped", forward=forward)
    with pytest.raises(ModelError, match="wrapped is an encoder-decoder behind a function of you"):
        wrapped.generate(PROMPTS, max_new_tokens=2)


def test_an_error_leaves_nothing_behind(writer):
    """A failing edit of the encoder leaves no hooks and the network's own settings."""
    own = writer.network.generation_config

    def fail(_states, _source):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.generate(
            PROMPTS, max_new_tokens=2, when="prompt",
            intervention=apply_function(block_output(0, stack="encoder"), fail),
        )  # fmt: skip
    assert writer.network.generation_config is own
    assert not any(
        each._forward_hooks or each._forward_pre_hooks for each in writer.network.modules()
    )
