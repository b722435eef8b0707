"""Modules that run several times in one forward pass: the call that is named, and no other."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import add, interchange, skip, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sharing.codec import decode, encode
from causaltest.sites import Site, attention_pattern, block_output, head_query_output, module

BASE, SOURCE = (1, 2, 3, 4), (5, 6, 7, 8)


class Recurrent(nn.Module):
    """Reads a prompt token by token with a cell of its own, and answers once."""

    def __init__(self, cell: type[nn.Module] = nn.GRUCell) -> None:
        super().__init__()
        self.embed, self.cell, self.unembed = nn.Embedding(9, 6), cell(6, 6), nn.Linear(6, 9)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        state = None
        for token in self.embed(ids).unbind(dim=1):
            state = self.cell(token, state)
        return self.unembed(state[0] if isinstance(state, tuple) else state)


class Looped(nn.Module):
    """Runs one layer three times on the residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer, self.unembed = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return self.unembed(x)


def seeded(network: type[nn.Module], *args: object) -> Model:
    """Return a network with weights of its own."""
    torch.manual_seed(3)
    return Model(network(*args).eval(), name="toy")


@pytest.mark.parametrize("call", [0, 1, 3])
@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_cell_at_a_time_step_is_that_by_hand(cell, call) -> None:
    """The source's state at one step goes into the base at that step, and at no other."""
    model = seeded(Recurrent, cell)
    network: Recurrent = model.network  # pyright: ignore[reportAssignmentType]
    site = module("cell", call=call)

    def states(ids: tuple[int, ...], put: torch.Tensor | None = None) -> list[torch.Tensor]:
        found, state = [], None
        for step, token in enumerate(network.embed(torch.tensor([ids])).unbind(dim=1)):
            state = network.cell(token, state)
            if put is not None and step == call:
                state = (put, state[1]) if isinstance(state, tuple) else put
            found.append(state[0] if isinstance(state, tuple) else state)
        return found

    with torch.no_grad():
        theirs = states(SOURCE)[call]
        wanted = network.unembed(states(BASE, theirs)[-1])[0]
    assert torch.equal(model.read(site, [SOURCE])[site][0], theirs)
    with intervene(model, interchange(site), Pair(BASE, SOURCE)) as run:
        assert torch.allclose(run(BASE).logits, wanted, atol=1e-6)
    (entry,) = run.ledger
    assert (entry.module, entry.fired) == (f"cell.output (call {call} of 4)", 1)


def test_calls_are_edited_apart_and_together() -> None:
    """Edits of two calls are made in these two, one after the other, as by hand."""
    model = seeded(Looped)
    network: Looped = model.network  # pyright: ignore[reportAssignmentType]
    first, last = module("layer", call=0, pos=1), module("layer", call=2, pos="end")
    with intervene(model, add(first, [1.0] * 6) + zero_ablate(last)) as run:
        got = run(BASE).logits
    with torch.no_grad():
        x = network.embed(torch.tensor(BASE))
        for call in range(3):
            x = network.layer(x)
            if call == 0:
                x[1] += 1
            if call == 2:
                x[-1] = 0
            x = torch.tanh(x)
        assert torch.allclose(got, network.unembed(x), atol=1e-6)
    modules = [entry.module for entry in run.ledger]
    assert modules == ["layer.output (call 0 of 3)", "layer.output (call 2 of 3)"]


def test_a_call_is_skipped_with_its_own_input() -> None:
    """Skipping one call puts what that call was given in the place of what it gave."""
    model = seeded(Looped)
    network: Looped = model.network  # pyright: ignore[reportAssignmentType]
    with intervene(model, skip(module("layer", call=1))) as run:
        got = run(BASE).logits
    with torch.no_grad():
        x = torch.tanh(network.layer(network.embed(torch.tensor(BASE))))
        wanted = network.unembed(torch.tanh(network.layer(torch.tanh(x))))
    assert torch.allclose(got, wanted, atol=1e-6)


def test_calls_in_generation() -> None:
    """The calls are counted afresh in every forward pass of a generation."""
    model = seeded(Looped)
    written = model.generate(
        BASE,
        max_new_tokens=3,
        intervention=zero_ablate(module("layer", call=2)),
        when="every step",
        keep_logits=True,
    )
    # The last layer's output is 0 wherever a token is read, so all that speaks is the bias.
    assert torch.equal(written[0].logits, model.network.unembed.bias.expand(3, -1))
    assert written.ledger[0].module == "layer.output (call 2 of 3)"


@pytest.mark.parametrize(
    "run, message",
    [
        (
            lambda model: score(model, zero_ablate(module("layer", call=3)), PAIRS, lambda _: 0.0),
            "layer.output#3: call 3 of layer does not exist: it runs 3 times in one forward pass "
            "of toy (calls 0-2)",
        ),
        (
            lambda model: model.read(module("layer", call=5), [BASE]),
            "layer.output#5: call 5 of layer does not exist: it runs 3 times",
        ),
        (
            lambda model: model.read(module("unembed", call=1), [BASE]),
            "unembed.output#1: call 1 of unembed does not exist: it runs once in one forward pass "
            "of toy (call 0)",
        ),
        (
            lambda model: score(model, zero_ablate(module("layer")), PAIRS, lambda _: 0.0),
            "say which call is meant, e.g. module('layer', call=0)",
        ),
        (
            lambda model: model.read(module("layer"), [BASE]),
            "which of them is meant is not said\nsay which call is meant, e.g. module('layer', "
            "call=0)",
        ),
    ],
)
def test_calls_that_do_not_exist(run, message) -> None:
    """A call beyond the last is named with the range, and no call with the way to name one."""
    with pytest.raises(InterventionError, match=re.escape(message)):
        run(seeded(Looped))


PAIRS = Pairs([Pair(BASE, SOURCE)], name="one", cluster=None)


@pytest.mark.parametrize(
    "site, text",
    [
        (module("cell", call=2), "cell.output#2"),
        (module("a.b", side="input", call=0, dims=(1, 3), pos="end"), "a.b.input#0{1,3}@end"),
    ],
)
def test_calls_are_written_and_read(site, text) -> None:
    """A site's text names its call, and is read back as the same site, in files too."""
    assert str(site) == text
    assert Site.parse(text) == site
    contents = encode(zero_ablate(site))
    assert decode(contents.tree, {}, {}, {}) == zero_ablate(site)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: module("a", call=-1), "call is -1; the calls of a module in one forward pass are"),
        (lambda: module("a", call=True), "call is True; the calls of a module"),
        (lambda: Site("block_output", layer=0, call=1), "block_output takes no call; got call=1"),
    ],
)
def test_calls_that_make_no_sense(make, message) -> None:
    """Calls are counted from 0, and said of modules only."""
    with pytest.raises(SiteError, match=re.escape(message)):
        make()


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (1, 2)], ids=str)
def albert(request) -> Model:
    """Return an ALBERT of four layers in groups, with random weights."""
    import transformers

    groups, inner = request.param
    torch.manual_seed(0)
    config = transformers.AlbertConfig(
        vocab_size=50, embedding_size=16, hidden_size=24, intermediate_size=40,
        inner_group_num=inner, num_hidden_layers=4 // inner, num_hidden_groups=groups,
        num_attention_heads=4,
    )  # fmt: skip
    return Model(transformers.AlbertForMaskedLM(config).eval(), name="albert")


def test_layers_that_share_their_weights_are_the_calls_of_one_block(albert) -> None:
    """Each layer of ALBERT is one call: reads are its hidden states, and edits change it alone."""
    assert albert.n_layers == 4
    sites = [block_output(layer) for layer in range(4)]
    read = albert.read(sites, [BASE])
    with torch.no_grad():
        states = albert.network(torch.tensor([BASE]), output_hidden_states=True).hidden_states
    if len(states) == 5:
        for site, wanted in zip(sites, states[1:], strict=True):
            assert torch.equal(read[site][0], wanted[0])
    for layer in range(4):
        with intervene(albert, interchange(block_output(layer)), Pair(BASE, SOURCE)) as run:
            got = run(BASE).logits
        assert torch.allclose(got, albert.run([SOURCE])[0].logits, atol=1e-5)
        with intervene(albert, zero_ablate(attention_pattern(layer, 3))) as run:
            run(BASE)
        assert run.ledger[0].fired == 1
    later = [albert.access(head_query_output(layer, 0)) for layer in range(4)]
    assert len({(access.path, access.call) for access in later}) == 4


def test_one_module_listed_several_times_has_a_layer_for_each_call() -> None:
    """A list that holds one module four times is four layers."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.two(torch.tanh(self.one(x)))

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.unembed = nn.Embedding(9, 6), nn.Linear(6, 9)
            self.layers = nn.ModuleList([Block()] * 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x)
            return self.unembed(x)

    model = seeded(Shared)
    assert model.n_layers == 4
    read = model.read([block_output(0), block_output(3)], [BASE])
    block = model.network.layers[0]
    with torch.no_grad():
        x = read[block_output(0)][0]
        for _ in range(3):
            x = block(x)
    assert torch.allclose(x, read[block_output(3)][0], atol=1e-6)
