"""Blocks whose activations are not (rows, tokens, width): told, read and edited as if they were."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from causaltest.engine.axes import layouts_of, told
from causaltest.engine.gradients import differentiable
from causaltest.engine.layouts import Layout
from causaltest.engine.model import Model
from causaltest.engine.readout import find_readout
from causaltest.engine.run import score
from causaltest.engine.survey import Seen
from causaltest.engine.sweeps import sweep
from causaltest.errors import ModelError, SiteError
from causaltest.interventions import Intervention, apply_function, interchange
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    attention_pattern,
    block_output,
    head_attention_pattern,
    head_attention_value_output,
    head_value_output,
    mlp_output,
)

WIDTH, HEADS, WORDS = 8, 2, 30
BASES = [(1, 2, 3), (7, 8, 9), (4, 11, 20)]
SOURCES = [(4, 5, 6), (13, 2, 21), (17, 3, 1)]

Edit = Callable[[Tensor], Tensor]


class Attention(nn.Module):
    """Causal attention of an activation with tokens first or last, as its block has them."""

    def __init__(self, order: tuple[int, int, int]) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            Channels(order) for _ in range(4)
        )  # fmt: skip
        self.num_heads, self.order = HEADS, order

    def forward(self, hidden_states: Tensor) -> Tensor:
        q, k, v = (
            _usual(each(hidden_states), self.order).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = q @ k.transpose(-1, -2)
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        mixed = torch.softmax(scores.masked_fill(ahead, -torch.inf), dim=-1) @ v
        return self.out_proj(mixed.transpose(1, 2).flatten(2).permute(self.order))


class Channels(nn.Module):
    """A linear map of the width, wherever that is."""

    def __init__(self, order: tuple[int, int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) / 2)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return (_usual(x, self.order) @ self.weight.T).permute(self.order)


class Block(nn.Module):
    """Attention and a perceptron on a residual stream."""

    def __init__(self, order: tuple[int, int, int]) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(order), nn.Sequential(Channels(order), nn.Tanh())

    def forward(self, hidden_states: Tensor) -> Tensor:
        hidden_states = hidden_states + self.self_attn(hidden_states)
        return hidden_states + self.mlp(hidden_states)


class Network(nn.Module):
    """Blocks between an embedding and an unembedding; `order` of (rows, tokens, width) in them."""

    def __init__(self, order: tuple[int, int, int]) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.layers = nn.ModuleList(Block(order) for _ in range(3))
        self.order = order

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).permute(self.order)
        for layer in self.layers:
            x = layer(x)
        return self.out(_usual(x, self.order))


class Streams(nn.Module):
    """Blocks on several streams at once, which are the first axis or the one behind the tokens."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.layers = nn.ModuleList(Mixing(axis) for _ in range(3))
        self.axis = axis

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.stack([self.embed(ids), self.embed(ids).tanh(), -self.embed(ids)], self.axis)
        for layer in self.layers:
            x = layer(x)
        return self.out(x.sum(self.axis))


class Mixing(nn.Module):
    """Mixes streams by how much they are alike, and tokens by their running mean."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.one, self.two, self.axis = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH), axis

    def forward(self, x: Tensor) -> Tensor:
        tokens = 2 if self.axis == 0 else 1
        counts = torch.arange(1, x.shape[tokens] + 1, dtype=x.dtype).view(
            [-1 if axis == tokens else 1 for axis in range(4)]
        )
        seen = x.cumsum(tokens) / counts
        return x + self.two(self.one(seen).tanh()) + 0.3 * x.roll(1, self.axis)


def _usual(x: Tensor, order: tuple[int, int, int]) -> Tensor:
    """Return (rows, tokens, width)."""
    return x.permute([order.index(axis) for axis in range(3)])


TOKENS_FIRST, WIDTH_BETWEEN = (1, 0, 2), (0, 2, 1)
ORDERS = pytest.mark.parametrize("order", [TOKENS_FIRST, WIDTH_BETWEEN], ids=["tokens", "width"])


def made(order: tuple[int, int, int]) -> Model:
    """Return a network with its axes in some order."""
    torch.manual_seed(3)
    return Model(Network(order).eval(), name="strange")


def by_hand(model: Model, ids: Tensor, edits: dict[str, Edit]) -> Tensor:
    """Run the network in its usual order of axes, with edits of places by name."""
    network: Network = model.network  # pyright: ignore[reportAssignmentType]
    none: Edit = lambda tensor: tensor  # noqa: E731
    x = network.embed(ids)
    for layer, block in enumerate(network.layers):
        attention: Attention = block.self_attn  # pyright: ignore[reportAssignmentType]
        q, k, v = (
            x @ each.weight.T for each in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        v = edits.get(f"value{layer}", none)(v)
        q, k, v = (each.unflatten(2, (HEADS, -1)).transpose(1, 2) for each in (q, k, v))
        ahead = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        pattern = (q @ k.transpose(-1, -2)).masked_fill(ahead, -torch.inf).softmax(-1)
        pattern = edits.get(f"pattern{layer}", none)(pattern)
        mixed = edits.get(f"mixed{layer}", none)((pattern @ v).transpose(1, 2).flatten(2))
        x = x + mixed @ attention.out_proj.weight.T
        mlp: Channels = block.mlp[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
        x = edits.get(f"stream{layer}", none)(
            x + edits.get(f"mlp{layer}", none)((x @ mlp.weight.T).tanh())
        )
    return network.out(x)


def noted(model: Model, ids: Tensor, place: str) -> Tensor:
    """Return what the run by hand has at a place."""
    found: list[Tensor] = []
    by_hand(model, ids, {place: lambda tensor: found.append(tensor.clone()) or tensor})
    return found[0]


def placed(there: Tensor, index: tuple[object, ...]) -> Edit:
    """Return an edit that copies an entry of another tensor."""

    def edit(tensor: Tensor) -> Tensor:
        new = tensor.clone()
        new[index] = there[index]
        return new

    return edit


def paired(rows: int) -> Pairs:
    """Return the first pairs."""
    pairs = [
        Pair(*each, base_answer=5, source_answer=6)
        for each in zip(BASES[:rows], SOURCES[:rows], strict=True)
    ]
    return Pairs(pairs, name="square", cluster=None)


def edited(model: Model, intervention: Intervention, pairs: Pairs) -> Tensor:
    """Return the logits of all pairs under an intervention, which runs them in one batch."""
    found: list[Tensor] = []
    score(model, intervention, pairs, lambda output: found.append(output.logits) or 0.0)
    return torch.stack(found)


HALF = WIDTH // HEADS
CASES = [
    (block_output(1, pos=1), "stream1", (slice(None), 1)),
    (block_output(0, pos=(0, 2)), "stream0", (slice(None), [0, 2])),
    (block_output(2), "stream2", (slice(None),)),
    (block_output(1, pos=-1, dims=(1, 6)), "stream1", (slice(None), -1, [1, 6])),
    (mlp_output(1, pos=0), "mlp1", (slice(None), 0)),
    (head_value_output(1, 0, pos=1), "value1", (slice(None), 1, slice(0, HALF))),
    (head_attention_value_output(0, 1, pos=2), "mixed0", (slice(None), 2, slice(HALF, None))),
    (head_attention_pattern(1, 1, pos=2), "pattern1", (slice(None), 1, 2)),
    (attention_pattern(0, pos=(1, 2)), "pattern0", (slice(None), slice(None), [1, 2])),
]


@ORDERS
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("site, place, index", CASES, ids=lambda each: str(each)[:28])
def test_an_edit_is_that_of_the_usual_axes(order, rows, site, place, index) -> None:
    """Edits equal those in the usual order of axes, with as many rows as tokens too."""
    model = made(order)
    pairs = paired(rows)
    base, source = torch.tensor(BASES[:rows]), torch.tensor(SOURCES[:rows])
    expected = by_hand(model, base, {place: placed(noted(model, source, place), index)})
    got = edited(model, interchange(site), pairs)
    assert torch.allclose(got, expected, atol=1e-5)
    assert not torch.allclose(got, by_hand(model, base, {}), atol=1e-3)


@ORDERS
def test_components_are_those_of_the_usual_axes(order) -> None:
    """Everything that attention and perceptron have is found, heads and patterns among it."""
    usual, strange = made((0, 1, 2)), made(order)
    assert strange.components == usual.components
    assert "head_attention_pattern" in strange.components


@ORDERS
@pytest.mark.parametrize("prompts", [BASES[:1], BASES[:2], BASES, [(1,), (2,), (3,)]])
def test_reading_gives_rows_of_tokens(order, prompts) -> None:
    """What is read is (tokens, width) for each prompt, as the usual order of axes has it."""
    model, site = made(order), block_output(1)
    expected = noted(model, torch.tensor(prompts), "stream1")
    for got, wanted in zip(model.read(site, prompts)[site], expected, strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)


@ORDERS
def test_gradients_flow_through_an_edit(order) -> None:
    """The gradient of logits with respect to what is put in is that of the usual order of axes."""
    model = made(order)
    there = torch.randn(WIDTH, requires_grad=True)
    fixed = apply_function(block_output(1, pos=1), lambda old, _source: there.expand_as(old))
    with differentiable(model, fixed, paired(1)) as (output,):
        (output.logits**2).sum().backward()
    by_hand_there = there.detach().clone().requires_grad_()

    def edit(tensor: Tensor) -> Tensor:
        new = tensor.clone()
        new[:, 1] = by_hand_there
        return new

    (by_hand(model, torch.tensor(BASES[:1]), {"stream1": edit}) ** 2).sum().backward()
    assert there.grad is not None
    assert by_hand_there.grad is not None
    assert torch.allclose(there.grad, by_hand_there.grad, rtol=1e-4, atol=1e-4)


def test_what_is_turned_is_not_handed_on() -> None:
    """A logit lens would hand the stream to the final norm, and says why it does not."""
    with pytest.raises(ModelError) as caught:
        find_readout(made(TOKENS_FIRST))
    assert str(caught.value) == (
        "layers.2.output does not have the axes (rows, tokens, width) in the network itself, so "
        "what comes behind it cannot be run apart\n"
        "read it or edit it in whole runs: model.read(...), causal.effect(...)"
    )


@ORDERS
def test_a_sweep_of_as_many_pairs_as_tokens(order) -> None:
    """No plan of a sweep takes tokens for rows: each cell is what the edit gives by hand."""
    model = made(order)
    cells = [interchange(block_output(layer, pos=pos)) for layer in range(3) for pos in range(3)]
    result = sweep(model, cells, paired(3), logit_diff)
    base, source = torch.tensor(BASES), torch.tensor(SOURCES)
    for index, (layer, pos) in enumerate((layer, pos) for layer in range(3) for pos in range(3)):
        place = f"stream{layer}"
        edit = placed(noted(model, source, place), (slice(None), pos))
        end = by_hand(model, base, {place: edit})[:, -1]
        wanted = (end[:, 6] - end[:, 5]).abs()
        got = torch.tensor(result.values[:, index]).abs()
        assert torch.allclose(got, wanted.double(), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_several_streams_are_one_width(axis, rows) -> None:
    """Streams side by side are read and edited together, one after another along the width."""
    torch.manual_seed(5)
    network = Streams(axis).eval()
    model, site = Model(network, name="streams"), block_output(1, pos=1)
    base, source = torch.tensor(BASES[:rows]), torch.tensor(SOURCES[:rows])
    kept: list[Tensor] = []
    with torch.no_grad():
        handle = network.layers[1].register_forward_hook(lambda _m, _a, out: kept.append(out))
        network(source)
        handle.remove()
        there = kept[0][:, :, 1] if axis == 0 else kept[0][:, 1]

        def put_in(_module: nn.Module, _args: object, out: Tensor) -> Tensor:
            out = out.clone()
            if axis == 0:
                out[:, :, 1] = there
            else:
                out[:, 1] = there
            return out

        handle = network.layers[1].register_forward_hook(put_in)
        expected = network(base)
        handle.remove()
    got = edited(model, interchange(site), paired(rows))
    assert torch.allclose(got, expected, atol=1e-5)
    wide = model.read(block_output(1), BASES[:1])[block_output(1)][0]
    streams = kept[0] if axis == 2 else kept[0].movedim(0, 2)
    assert wide.shape == (3, 3 * WIDTH)
    got = model.read(block_output(1), SOURCES[:1])[block_output(1)][0]
    assert torch.equal(got, streams[0].flatten(1))


@pytest.mark.parametrize(
    "one, many, layout",
    [
        ((1, 2, 8), (4, 1, 8), Layout(0, 1)),
        ((2, 1, 8), (1, 4, 8), Layout(1, 0)),
        ((1, 8, 2), (4, 8, 1), Layout(0, 2)),
        ((3, 1, 2, 8), (3, 4, 1, 8), Layout(1, 2)),
        ((2, 8), (1, 8), None),  # no rows
        ((1, 2, 2), (4, 1, 1), None),  # which of two is the tokens
        ((2, 1, 8), (4, 1, 8), None),  # rows and tokens in one axis
        ((1, 5, 8), (4, 5, 8), None),  # patches of an image
        ((1, 4, 2, 2), (4, 4, 1, 1), None),  # queries and keys
    ],
)
def test_axes_are_told_by_what_changes(one, many, layout) -> None:
    """The axis that grows is the rows, the one that shrinks the tokens; no guess where two do."""
    assert told(torch.zeros(one), torch.zeros(many), 4) == layout


def test_calls_that_differ_have_no_layout() -> None:
    """A module that gets tokens first in one call and rows first in another has neither."""
    first, second = torch.zeros(2, 1, 8), torch.zeros(1, 2, 8)
    seen = Seen(2, first, (first, second))
    one, two = torch.zeros(1, 4, 8), torch.zeros(4, 1, 8)
    assert layouts_of({("a", "output"): seen}, {("a", "output"): Seen(2, one, (one, two))}, 4) == {}
    again = Seen(2, first, (first, first)), Seen(2, one, (one, one))
    found = layouts_of({("a", "output"): again[0]}, {("a", "output"): again[1]}, 4)
    assert found == {("a", "output"): Layout(1, 0)}


class Pooling(nn.Module):
    """Gives half of the width that it takes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, 4), nn.Linear(4, width // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))


class Chained(nn.Module):
    """An embedding and a list of modules, run one after another in some way."""

    def __init__(self, layers: list[nn.Module], run: Callable[[nn.ModuleList, Tensor], Tensor]):
        super().__init__()
        self.embed, self.layers, self.run = nn.Embedding(9, 8), nn.ModuleList(layers), run

    def forward(self, ids: Tensor) -> Tensor:
        return self.run(self.layers, self.embed(ids))


def _chain(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _maps(layers: nn.ModuleList, x: Tensor) -> Tensor:
    return _chain(layers, x.sum(1)[:, :, None, None].expand(-1, -1, 3, 3))[:, :, 0, 0]


def _bare(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer.forward(x)
    return x


def _pair() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8)) for _ in range(2)]


class Cells(nn.Module):
    """Mixes the cells of a map, which no layer takes as one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(9, 4), nn.Linear(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x.flatten(2))).view_as(x)


def _pictures() -> list[nn.Module]:
    return [Cells() for _ in range(2)]


@pytest.mark.parametrize(
    "layers, run, reason",
    [
        (lambda: [nn.Linear(8, 8)], _chain, "it has no list of modules of several layers each"),
        (lambda: [Pooling(8)], _chain, "layers.0 takes (1, 2, 8) and gives (1, 2, 4)"),
        (_pictures, _maps, "layers.0 takes and gives (1, 8, 3, 3), not (rows, tokens, width)"),
        (_pair, _bare, "layers.0 is run by its forward method, past all hooks, though its parts"),
        (
            _pair,
            lambda layers, x: x + sum(layer(x + index) for index, layer in enumerate(layers)),
            "none of layers.0 to layers.1 takes what the one before it gives",
        ),
    ],
)
def test_why_there_is_no_stack(layers, run, reason) -> None:
    """Where no list of modules is a stack, the message says what is in the way."""
    message = f"x has no block_output: no stack of blocks was recognised: {reason}"
    with pytest.raises(SiteError, match=re.escape(message)):
        Model(Chained(layers(), run), name="x").access(block_output(0))
