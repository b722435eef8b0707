"""Stacks of blocks: which lists of modules are one, and sites in the stack that is named."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import SiteError
from causaltest.interventions import interchange, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import (
    Site,
    block_output,
    embedding,
    head_value_output,
    mixer_output,
    module,
)

BASE, SOURCE = (7, 3, 21, 9, 40), (5, 11, 2, 30, 17)


@pytest.fixture(scope="module")
def t5() -> Model:
    """Return a T5 with random weights that runs encoder and decoder on the same tokens."""
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50, d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    network = transformers.T5ForConditionalGeneration(config).eval()

    def both(network: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> object:
        return network(
            input_ids=ids, attention_mask=mask, decoder_input_ids=ids, use_cache=False
        ).logits

    return Model(network, name="t5", forward=both)


@pytest.mark.parametrize("stack", ["encoder", "decoder", ""])
def test_a_stack_is_read_where_it_is(stack, t5) -> None:
    """A site reads the block of the stack it names, and of the decoder where it names none."""
    path = f"{stack or 'decoder'}.block.1"
    got = t5.read([block_output(1, stack=stack), module(path)], [BASE])
    assert torch.equal(got[block_output(1, stack=stack)][0], got[module(path)][0])


def test_an_edit_of_the_encoder_is_an_edit_of_the_encoder(t5) -> None:
    """The source's encoder output gives what a plain hook that puts it in gives."""
    wanted = t5.read(module("encoder.block.1"), [SOURCE])[module("encoder.block.1")][0]
    block = t5.network.get_submodule("encoder.block.1")
    handle = block.register_forward_hook(lambda _m, _a, out: (wanted[None], *out[1:]))
    try:
        with torch.no_grad():
            ids = torch.tensor([BASE])
            expected = t5.network(input_ids=ids, decoder_input_ids=ids).logits[0]
    finally:
        handle.remove()
    with intervene(t5, interchange(block_output(1, stack="encoder")), Pair(BASE, SOURCE)) as run:
        got = run(BASE).logits
    assert torch.allclose(got, expected, atol=1e-6)
    assert not torch.allclose(got, t5.run([BASE])[0].logits, atol=1e-3)


@pytest.mark.parametrize("kind", ["T5", "Bart"])
def test_the_embedding_of_an_encoder_decoder_is_that_of_the_prompt(kind) -> None:
    """The table that the network names does not run itself; the encoder's has its weights."""
    import transformers

    torch.manual_seed(0)
    settings = {"vocab_size": 50, "d_model": 32, "decoder_start_token_id": 0}
    network = getattr(transformers, f"{kind}ForConditionalGeneration")(
        getattr(transformers, f"{kind}Config")(**settings, **_SMALL[kind])
    ).eval()
    table = network.get_encoder().embed_tokens

    def at_two(_module: nn.Module, _args: object, out: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        out[0, 2] = 0
        return out

    ids = {"input_ids": torch.tensor([BASE]), "decoder_input_ids": torch.zeros(1, 1).long()}
    handle = table.register_forward_hook(at_two)
    try:
        with torch.no_grad():
            expected = network(**ids).logits[0]
    finally:
        handle.remove()
    model = Model(network, name=kind)
    with intervene(model, zero_ablate(embedding(pos=2)), Pair(BASE, SOURCE)) as run:
        got = run(BASE).logits
    assert torch.allclose(got, expected, atol=1e-6)
    assert not torch.allclose(got, model.run([BASE])[0].logits, atol=1e-4)


_SMALL = {
    "T5": {"d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2},
    "Bart": {
        "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
        "init_std": 0.5,
    },
}  # fmt: skip


def test_names_of_stacks_that_do_not_exist(t5, tiny) -> None:
    """A mistyped stack gets the nearest, a model with one stack says so."""
    with pytest.raises(
        SiteError,
        match=re.escape(
            "t5 has no stack 'encodr'; did you mean 'encoder'?; it has encoder, decoder"
        ),
    ):
        t5.access(block_output(0, stack="encodr"))
    with pytest.raises(SiteError, match="gpt2 has no stack 'encoder'; it has one stack, without"):
        tiny("gpt2").access(block_output(0, stack="encoder"))
    with pytest.raises(SiteError, match=re.escape("encoder of t5 has layers 0-1")):
        t5.access(block_output(5, stack="encoder"))


@pytest.mark.parametrize(
    "site, text",
    [
        (block_output(2, pos="end", stack="encoder"), "encoder.block_output[2]@end"),
        (head_value_output(1, 3, stack="vision_model"), "vision_model.head_value_output[1.3]"),
        (mixer_output(0, dims=(1, 4), stack="a.b"), "a.b.mixer_output[0]{1,4}"),
        (mixer_output(0), "mixer_output[0]"),
    ],
)
def test_stacks_are_written_and_read(site, text) -> None:
    """A site's text names its stack, and is read back as the same site."""
    assert str(site) == text
    assert Site.parse(text) == site


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Site("embedding", stack="encoder"), "embedding takes no stack; got stack='enco"),
        (lambda: block_output(0, stack="en coder"), "stack is 'en coder'; expected the name of a"),
        (lambda: Site("module", path="a", stack="b"), "module takes no stack; got stack='b'"),
    ],
)
def test_stacks_that_make_no_sense(make, message) -> None:
    """A stack is the name of one, and is said only of what stands in one."""
    with pytest.raises(SiteError, match=re.escape(message)):
        make()


class Block(nn.Module):
    """Keeps the shape of what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.two(self.one(x).relu())


class Listed(nn.Module):
    """Runs lists of modules on embeddings, in a row or side by side."""

    def __init__(self, *, chained: bool, block: type[nn.Module] = Block) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.parts = nn.ModuleList(block() for _ in range(3))
        self.chained = chained

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = first = self.table(ids)
        for part in self.parts:
            x = part(x) if self.chained else x + part(first)
        return x


def test_blocks_follow_each_other() -> None:
    """Modules in a row are a stack; modules side by side are not."""
    assert Model(Listed(chained=True)).n_layers == 3
    assert Model(Listed(chained=False)).n_layers == 0


def test_single_layers_are_no_blocks() -> None:
    """A list of linear maps in a row is not a stack of blocks."""

    class Plain(nn.Linear):
        """A linear map of fixed size."""

        def __init__(self) -> None:
            super().__init__(8, 8)

    assert Model(Listed(chained=True, block=Plain)).n_layers == 0


def test_a_network_that_takes_other_lengths_keeps_its_modules() -> None:
    """Lists of modules without attention do not keep a network from being addressed by path."""

    class Fixed(nn.Module):
        """Takes prompts of three tokens only."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 8)
            self.parts = nn.ModuleList([nn.Linear(24, 8), nn.Linear(8, 4)])

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.parts[1](self.parts[0](self.table(ids).flatten(1)))

    model = Model(Fixed(), name="fixed")
    assert model.read(module("parts.0"), [(1, 2, 3)])[module("parts.0")][0].shape == (1, 8)
    with pytest.raises(SiteError, match="fixed has no block_output: fixed could not run on token"):
        model.access(block_output(0))
