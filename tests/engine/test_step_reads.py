"""Reading while text is written: each step's activation, as a run over the whole text has it."""

from __future__ import annotations

import re

import pytest
import torch
import transformers
from torch import nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import add, zero_ablate
from causaltest.sites import (
    attention_pattern,
    block_output,
    head_query_output,
    mlp_output,
    module,
)

PROMPTS = ((4, 5, 6, 7, 8), (9, 3), (14, 15, 16))
SITES = (block_output(1), head_query_output(0, 1), module("transformer.h.2.mlp"))


@pytest.mark.parametrize("forward", [None, lambda network, ids, _mask: network(ids).logits])
@pytest.mark.parametrize("use_cache", [True, False])
def test_each_step_reads_what_the_whole_text_has(use_cache, forward, tiny) -> None:
    """Step k reads the k-th new token's activation, in batches too, and logits follow from it."""
    model = Model(tiny("gpt2").network, forward=forward)
    written = model.generate(
        PROMPTS, max_new_tokens=4, read=SITES, use_cache=use_cache, keep_logits=True,
        eos_token_id=None,
    )  # fmt: skip
    for prompt, text in zip(PROMPTS, written, strict=True):
        whole = model.read(SITES, [(*prompt, *text.ids[:-1])])
        for site in SITES:
            wanted = whole[site][0][len(prompt) - 1 :]
            assert text.read[site].shape == wanted.shape
            assert torch.allclose(text.read[site], wanted, atol=1e-5)


def test_reads_are_of_what_edits_leave(tiny) -> None:
    """At an edited site the edit is read; downstream, what a run with the same edits has."""
    model = tiny("gpt2")
    edit = zero_ablate(mlp_output(0)) + add(block_output(1), torch.linspace(-1, 1, 24))
    sites = (mlp_output(0), block_output(1), block_output(2))
    (text,) = model.generate(
        PROMPTS[0], max_new_tokens=3, intervention=edit, when="every step", read=sites,
        keep_logits=True, eos_token_id=None,
    )  # fmt: skip
    assert not text.read[mlp_output(0)].any()
    ids = (*PROMPTS[0], *text.ids[:-1])
    places = tuple(range(len(PROMPTS[0]) - 1, len(ids)))
    same = zero_ablate(mlp_output(0, pos=places))
    same += add(block_output(1, pos=places), torch.linspace(-1, 1, 24))
    with intervene(model, same) as run:
        logits = run(ids).logits[len(PROMPTS[0]) - 1 :]
    assert torch.allclose(text.logits, logits, atol=1e-5)
    unembedded = model.network.lm_head(model.network.transformer.ln_f(text.read[block_output(2)]))
    assert torch.allclose(unembedded, logits, atol=1e-5)


def test_samples_have_their_own_reads(tiny) -> None:
    """Several texts of one prompt are read each for itself."""
    model = tiny("gpt2")
    texts = model.generate(
        PROMPTS[0], max_new_tokens=4, do_sample=True, num_return_sequences=3, seed=2,
        read=block_output(1), eos_token_id=None,
    )  # fmt: skip
    assert len({text.ids for text in texts}) > 1
    for text in texts:
        whole = model.read(block_output(1), [(*PROMPTS[0], *text.ids[:-1])])[block_output(1)][0]
        assert torch.allclose(text.read[block_output(1)], whole[len(PROMPTS[0]) - 1 :], atol=1e-5)


def test_a_text_that_ends_is_read_until_then(tiny) -> None:
    """What runs on after the end of a text is not its own."""
    model = tiny("gpt2")
    free = model.generate(PROMPTS, max_new_tokens=4, eos_token_id=None)
    end = free[0].ids[1]
    for text in model.generate(PROMPTS, max_new_tokens=4, read=SITES, eos_token_id=end):
        assert all(len(found) == len(text.ids) for found in text.read.values())


class Twice(nn.Module):
    """Runs one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)
        self.out = nn.Linear(4, 9)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(self.layer(self.table(ids))))


def test_calls_are_told_apart() -> None:
    """A module that runs twice in a step is read in the call that is named, or refused."""
    torch.manual_seed(0)
    model = Model(Twice(), name="twice")
    site = module("layer", call=1)
    (text,) = model.generate((1, 2), max_new_tokens=3, read=site)
    wanted = model.read(site, [(1, 2, *text.ids[:-1])])[site][0][1:]
    assert torch.allclose(text.read[site], wanted, atol=1e-6)
    with pytest.raises(InterventionError, match="layer runs several times in one step; say which"):
        model.generate((1, 2), max_new_tokens=3, read=module("layer"))
    with pytest.raises(InterventionError, match="layer ran in 0 of 3 steps"):
        model.generate((1, 2), max_new_tokens=3, read=module("layer", call=5))


def encoder_decoder() -> Model:
    """Return a small T5."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    return Model(transformers.T5ForConditionalGeneration(config).eval(), name="t5")


def test_decoders_are_read() -> None:
    """The decoder's steps are those of a run over the text that it has written."""
    model = encoder_decoder()
    (text,) = model.generate((5, 6, 7), max_new_tokens=3, read=block_output(0), eos_token_id=None)
    seen: list[torch.Tensor] = []
    block = model.network.decoder.block[0]
    handle = block.register_forward_hook(lambda _module, _args, output: seen.append(output[0]))
    with torch.no_grad():
        model.network(
            input_ids=torch.tensor([[5, 6, 7]]),
            decoder_input_ids=torch.tensor([[0, *text.ids[:-1]]]),
        )
    handle.remove()
    assert torch.allclose(text.read[block_output(0)], seen[0][0], atol=1e-6)


@pytest.mark.parametrize(
    "make, given, error, message",
    [
        (
            None, {"read": block_output(1, pos=2)}, SiteError,
            "block_output[1]@2: position 2 names tokens of the prompt, but each step is read at",
        ),
        (
            None, {"read": attention_pattern(1)}, SiteError,
            "attention_pattern[1] has another number of keys at each step; read it in a run over",
        ),
        (
            None, {"read": block_output(1), "num_beams": 2}, InterventionError,
            "beams change places from step to step, so what is read cannot be told apart; leave",
        ),
        (
            encoder_decoder, {"read": block_output(0, stack="encoder")}, InterventionError,
            "encoder.block_output[0] is in the encoder of t5, which reads the prompt once, before",
        ),
        (None, {"read": block_output(9)}, SiteError, "block_output[9] does not exist"),
    ],
)  # fmt: skip
def test_what_has_no_one_activation_for_each_step_is_refused(
    make, given, error, message, tiny
) -> None:
    """Positions of the prompt, patterns, beams and encoders are refused with what to do."""
    model = tiny("gpt2") if make is None else make()
    with pytest.raises(error, match=re.escape(message)):
        model.generate((4, 5, 6), max_new_tokens=2, **given)
