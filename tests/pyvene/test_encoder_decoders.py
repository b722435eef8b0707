"""Encoder-decoders through pyvene's API: the encoder reads the prompt, the decoder takes steps."""

import pytest
import torch
import transformers

import causaltest.pyvene as pv
from causaltest.errors import InterventionError, SiteError

_BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 44, "decoder_ffn_dim": 44,
    "max_position_embeddings": 64, "decoder_start_token_id": 2, "bos_token_id": 1,
    "forced_eos_token_id": None,
}  # fmt: skip
NETWORKS = {
    "T5": ({"d_model": 32, "d_kv": 8, "d_ff": 44, "num_layers": 2, "num_heads": 4,
            "decoder_start_token_id": 0}, ("encoder.block.1", "decoder.block.1")),
    "Bart": (_BART, ("model.encoder.layers.1", "model.decoder.layers.1")),
}  # fmt: skip
ENCODER = {"layer": 1, "component": "encoder.block_output"}
DECODER = {"layer": 1, "component": "block_output"}
PUSH = 3 * torch.linspace(-1, 1, 32)
OPTIONS = {
    "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None,
    "return_dict_in_generate": True, "output_logits": True,
}  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """Return a small encoder-decoder with random weights."""
    config = getattr(transformers, f"{request.param}Config")
    settings = {"vocab_size": 50, "pad_token_id": 0, "eos_token_id": 2}
    kind = getattr(transformers, f"{request.param}ForConditionalGeneration")
    made = kind(config(**settings, **NETWORKS[request.param][0])).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if parameter.ndim == 1 else 0.3 * noise)
    made.paths = NETWORKS[request.param][1]
    return made


def prompt(inputs, seed):
    """Return three prompts, one of them padded on the right."""
    given = inputs(seed)
    given["attention_mask"][1, 4:] = 0
    return given


def by_hand(network, base, encoder=None, decoder=None):
    """Return the logits of five steps, the decoder run over its whole text each time."""

    def hook(change):
        def edit(_module, _given, output):
            states = (output[0] if isinstance(output, tuple) else output).clone()
            change(states)
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return edit

    handles = [
        network.get_submodule(path).register_forward_hook(hook(change))
        for path, change in zip(network.paths, (encoder, decoder), strict=True)
        if change is not None
    ]
    ids = torch.full((3, 1), network.config.decoder_start_token_id)
    found = []
    with torch.no_grad():
        for _ in range(5):
            said = network(**base, decoder_input_ids=ids, use_cache=False).logits[:, -1]
            found.append(said)
            ids = torch.cat([ids, said.argmax(-1, keepdim=True)], dim=1)
    for handle in handles:
        handle.remove()
    return found


def check(found, wanted):
    """Compare the logits of steps."""
    for one, other in zip(found.logits, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", [True, False])
def test_every_token_the_decoder_reads(network, inputs, cache):
    """Without the prompt, tokens behind the start token are edited; with it, all of them."""
    model = pv.IntervenableModel(
        {**DECODER, "intervention_type": pv.AdditionIntervention, "source_representation": PUSH},
        network,
    )
    base = prompt(inputs, 1)

    def later(states):
        states[:, 1:] += PUSH

    def all_of_them(states):
        states += PUSH

    _, found = model.generate(base, use_cache=cache, **OPTIONS)
    check(found, by_hand(network, base, decoder=later))
    _, found = model.generate(base, intervene_on_prompt=True, use_cache=cache, **OPTIONS)
    check(found, by_hand(network, base, decoder=all_of_them))


@pytest.mark.parametrize("cache", [True, False])
def test_places_of_the_prompt_are_those_of_the_encoder(network, inputs, cache):
    """Negative positions count from the end of each row's text."""
    each = {**ENCODER, "intervention_type": pv.AdditionIntervention, "source_representation": PUSH}
    base = prompt(inputs, 1)

    def ends(states):
        for row, end in enumerate((5, 3, 5)):
            states[row, end] += PUSH

    _, found = pv.IntervenableModel(each, network).generate(
        base, unit_locations={"base": -1}, intervene_on_prompt=True, use_cache=cache, **OPTIONS
    )
    check(found, by_hand(network, base, encoder=ends))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_source_is_read_in_the_encoder(network, inputs, beams):
    """An interchange of the whole encoder writes what the source's prompt would give."""
    options = {**OPTIONS, "num_beams": beams}
    _, found = pv.IntervenableModel(ENCODER, network).generate(
        inputs(1), [inputs(2)], intervene_on_prompt=True, **options
    )
    wanted = network.generate(**inputs(2), **options)
    assert torch.equal(found.sequences, wanted.sequences)
    check(found, wanted.logits)


def test_both_sides_at_once(network, inputs):
    """An edit of the encoder and one of the decoder go together."""
    kind = {"intervention_type": pv.AdditionIntervention, "source_representation": PUSH}
    model = pv.IntervenableModel([{**ENCODER, **kind}, {**DECODER, **kind}], network)

    def all_of_them(states):
        states += PUSH

    _, found = model.generate(inputs(1), intervene_on_prompt=True, **OPTIONS)
    check(found, by_hand(network, inputs(1), encoder=all_of_them, decoder=all_of_them))


def test_a_forward_pass_edits_both_sides(network, inputs):
    """In a plain call each side has its own tokens and its own mask."""
    base = {**prompt(inputs, 1), "decoder_input_ids": inputs(3)["input_ids"][:, :2]}
    collect = {"intervention_type": pv.CollectIntervention}
    model = pv.IntervenableModel([{**ENCODER, **collect}, {**DECODER, **collect}], network)
    (_, (read, written)), _ = model(base, unit_locations={"base": -1})
    with torch.no_grad():
        seen = []
        handles = [
            network.get_submodule(path).register_forward_hook(
                lambda _m, _g, output: seen.append(
                    output[0] if isinstance(output, tuple) else output
                )
            )
            for path in network.paths
        ]
        network(**base)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(read[:, 0], seen[0][range(3), [5, 3, 5]])
    torch.testing.assert_close(written[:, 0], seen[1][:, -1])


def test_what_never_happens_is_refused(network, inputs):
    """The encoder writes nothing, and the decoder has no places of the prompt."""
    each = {**ENCODER, "intervention_type": pv.ZeroIntervention}
    with pytest.raises(InterventionError) as caught:
        pv.IntervenableModel(each, network).generate(inputs(1), **OPTIONS)
    assert str(caught.value) == (
        f"encoder.block_output[1]: {network.paths[0]} runs once, before the first token is "
        "written; set intervene_on_prompt=True to edit what it reads"
    )
    each = {**DECODER, "intervention_type": pv.ZeroIntervention}
    with pytest.raises(SiteError, match="position 4 does not exist: row 0 has 1 tokens"):
        pv.IntervenableModel(each, network).generate(
            inputs(1), unit_locations={"base": 4}, intervene_on_prompt=True, **OPTIONS
        )
    with pytest.raises(SiteError, match="has no stack 'encoder2'; did you mean 'encoder'"):
        pv.IntervenableModel({"component": "encoder2.block_output"}, network)


def test_a_network_that_writes_nothing_is_refused():
    """A module without generate is named."""

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x)

    each = {"component": "layer.output", "intervention_type": pv.ZeroIntervention}
    with pytest.raises(InterventionError) as caught:
        pv.IntervenableModel(each, Plain()).generate({"x": torch.zeros(1, 2)}, max_new_tokens=2)
    assert str(caught.value) == (
        "Plain writes no text: it has no generate(); call the model on a whole text instead"
    )
