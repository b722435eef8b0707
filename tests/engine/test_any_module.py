"""Any module by its path: perceptron, recurrent network, convolutions, vision transformer."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import transformers
from torch import Tensor, nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import Intervention, interchange, mean_ablate, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    Site,
    attention_pattern,
    block_output,
    head_attention_value_output,
    head_value_output,
    module,
)

BASE, SOURCE = (1, 2, 3), (4, 5, 6)


class Recurrent(nn.Module):
    """An LSTM between an embedding and an unembedding; rows or tokens first."""

    def __init__(self, *, rows_first: bool = True) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(10, 6), nn.Linear(8, 10)
        self.lstm, self.rows_first = nn.LSTM(6, 8, batch_first=rows_first), rows_first

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        h, _ = self.lstm(x if self.rows_first else x.transpose(0, 1))
        return self.out(h if self.rows_first else h.transpose(0, 1))


def perceptron() -> Model:
    """Return a network of fixed length, without an axis of tokens behind its second layer."""
    layers = (nn.Embedding(10, 8), nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 5))
    return Model(nn.Sequential(*layers), name="perceptron")


def recurrent() -> Model:
    """Return a recurrent network."""
    return Model(Recurrent(), name="recurrent")


def convolutions() -> Model:
    """Return a network of pictures; a prompt's first token says which."""
    pictures = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    layers = (
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 5),
    )  # fmt: skip
    network = nn.Sequential(*layers)
    return Model(network, name="pictures", forward=lambda net, ids, _mask: net(pictures[ids[:, 0]]))


def vision() -> Model:
    """Return a vision transformer; a prompt's first token says which picture."""
    pictures = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        image_size=16, patch_size=4, num_labels=5,
    )  # fmt: skip
    return Model(
        transformers.ViTForImageClassification(config).eval(),
        name="vision",
        forward=lambda net, ids, _mask: net(pixel_values=pictures[ids[:, 0]]).logits,
    )


MODELS: dict[Callable[[], Model], str] = {
    perceptron: "3", recurrent: "lstm", convolutions: "2", vision: "vit.layers.1.mlp",
}  # fmt: skip


@pytest.fixture(params=MODELS, ids=lambda each: each.__name__)
def subject(request) -> tuple[Model, str]:
    """Return a model and the path of a module in its middle."""
    torch.manual_seed(0)
    return request.param(), MODELS[request.param]


def plain(model: Model, path: str, prompt: tuple[int, ...], put: Tensor | None = None):
    """Return logits and what a module gives, or is made to give, by a plain hook."""
    seen: list[Tensor] = []

    def hook(_module, _args, output):
        first = output[0] if isinstance(output, tuple) else output
        seen.append(first)
        if put is None:
            return None
        return (put, *output[1:]) if isinstance(output, tuple) else put

    handle = model.network.get_submodule(path).register_forward_hook(hook)
    try:
        model.network.eval()
        with torch.no_grad():
            return model.forward(torch.tensor([prompt]), None)[0], seen[0]
    finally:
        handle.remove()


def test_modules_read_as_plain_hooks_do(subject) -> None:
    """What is read is what the module gives, one for each prompt."""
    model, path = subject
    read = model.read(module(path), [BASE, SOURCE])[module(path)]
    for prompt, got in zip((BASE, SOURCE), read, strict=True):
        _, wanted = plain(model, path, prompt)
        assert torch.allclose(got.reshape(wanted.shape), wanted, atol=1e-6)


def test_modules_are_exchanged_and_ablated_as_by_plain_hooks(subject) -> None:
    """Logits under interchange, zero and mean ablation are those of a hook that puts them in."""
    model, path = subject
    pairs = Pairs([Pair(BASE, SOURCE), Pair(SOURCE, (7, 8, 9))], name="two", cluster=None)
    prompts = (BASE, SOURCE, SOURCE, (7, 8, 9))
    given = {prompt: plain(model, path, prompt)[1] for prompt in prompts}
    every = torch.cat([given[prompt] for prompt in prompts])
    over = (0, 1) if path == "lstm" else 0
    mean = every.mean(dim=over, keepdim=True).expand_as(given[BASE])
    edits: dict[Callable[[Site], Intervention], Callable[[Pair], Tensor]] = {
        interchange: lambda pair: given[pair.source],
        zero_ablate: lambda pair: torch.zeros_like(given[pair.base]),
        mean_ablate: lambda _pair: mean,
    }
    for make, put in edits.items():
        found: list[Tensor] = []
        keep = found.append
        score(model, make(module(path)), pairs, lambda out, keep=keep: keep(out.logits) or 0.0)
        for pair, got in zip(pairs, found, strict=True):
            wanted, _ = plain(model, path, pair.base, put(pair))
            assert torch.allclose(got.reshape(wanted.shape), wanted, atol=1e-5)
            assert not torch.allclose(wanted, plain(model, path, pair.base)[0], atol=1e-6)


@pytest.mark.parametrize(
    "make, site, message",
    [
        (
            perceptron, module("7"),
            "perceptron has no module '7'\nat the top it has 0, 1, 2, 3, 4",
        ),
        (
            recurrent, module("lstn"),
            "recurrent has no module 'lstn'; did you mean 'lstm'?\nat the top it has embed, out, l",
        ),
        (recurrent, module("lstm.cell"), "lstm (LSTM) has no modules in it"),
        (
            vision, module("vit.layers.1.mpl"),
            "vision has no module 'vit.layers.1.mpl'; did you mean 'vit.layers.1.mlp'?\n"
            "vit.layers.1 (ViTLayer) has attention, layernorm_before, layernorm_after, mlp, drop",
        ),
        (
            vision, module("vit.encoder.layer.1"),
            "did you mean 'vit.layers.1'?\nvit (ViTModel) has embeddings, layers, layernorm",
        ),
        (perceptron, module("3", dims=20), "perceptron has dims 0-15 there"),
        (perceptron, block_output(0), "has no block_output: no stack of blocks was recognised"),
    ],
)  # fmt: skip
def test_places_that_are_not_there_are_refused(make, site, message) -> None:
    """A wrong path gets the nearest one, and what there is on the way to it."""
    with pytest.raises(SiteError, match=re.escape(message)):
        make().read(site, [BASE])


@pytest.mark.parametrize(
    "make, site, shape",
    [
        (perceptron, module("2", pos=1), "2.output has shape (1, 16)"),
        (convolutions, module("2", pos=0), "2.output has shape (1, 4, 8, 8)"),
    ],
)
def test_positions_without_an_axis_of_tokens_are_refused(make, site, shape) -> None:
    """Where no axis is the tokens, a position means nothing, and the shape says why."""
    with pytest.raises(InterventionError) as caught:
        make().read(site, [BASE])
    assert f"{site}: {shape}; expected (rows, tokens, ...) = (1, 3) and a width" in str(
        caught.value
    )


class Choosy(Recurrent):
    """Refuses the token 0."""

    def forward(self, ids: Tensor) -> Tensor:
        assert bool(ids.all())
        return super().forward(ids)


PROMPTS = [[BASE], [BASE, SOURCE, (7, 8, 9)], [(1, 2), (3, 4)], [(1,)], [(1,), (2,)]]


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("pos", [None, 0, -1])
def test_tokens_before_rows_are_told_apart(prompts, pos) -> None:
    """What has its tokens first is read by row and token, with as many rows as tokens too."""
    torch.manual_seed(0)
    network = Recurrent(rows_first=False)
    site = module("lstm", pos=pos)
    got = Model(network, name="turned").read(site, prompts)[site]
    given = network.embed(torch.tensor(prompts)).transpose(0, 1)
    wanted = network.lstm(given)[0].transpose(0, 1)
    wanted = wanted if pos is None else wanted[:, [pos]]
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("dims", [None, (1, 4)])
def test_an_edit_before_tokens_first_is_that_by_hand(side, dims) -> None:
    """An edit at one time step of three prompts of three tokens is that of a run by hand."""
    torch.manual_seed(0)
    network = Recurrent(rows_first=False)
    bases, sources = [BASE, (7, 8, 9), (2, 4, 6)], [SOURCE, (3, 5, 1), (9, 8, 7)]
    embedded = [network.embed(torch.tensor(each)).transpose(0, 1) for each in (bases, sources)]
    given = embedded if side == "input" else [network.lstm(each)[0] for each in embedded]
    new, dim = given[0].clone(), slice(None) if dims is None else list(dims)
    new[1, :, dim] = given[1][1, :, dim]
    expected = network.out((network.lstm(new)[0] if side == "input" else new).transpose(0, 1))
    pairs = Pairs(
        [Pair(*each) for each in zip(bases, sources, strict=True)], name="turned", cluster=None
    )
    found: list[Tensor] = []
    result = score(
        Model(network, name="turned"),
        interchange(module("lstm", side=side, pos=1, dims=dims)),
        pairs,
        lambda output: found.append(output.logits) or 0.0,
    )
    assert torch.allclose(torch.stack(found), expected, atol=1e-6)
    note = "the last states that lstm also gives are not edited, only its outputs"
    assert result.ledger[0].note == (note if side == "output" else "")


@pytest.mark.parametrize("prompts", PROMPTS[:4])
@pytest.mark.parametrize("pos", [None, 0])
def test_tokens_before_rows_are_never_taken_for_rows(prompts, pos) -> None:
    """Where no probe tells the order of axes, a run of other tokens does, and it is refused."""
    torch.manual_seed(0)
    model = Model(Choosy(rows_first=False), name="choosy")
    with pytest.raises(InterventionError) as caught:
        model.read(module("lstm", pos=pos), prompts)
    tokens = {1: 2, 2: 4, 3: 2}[len(prompts[0])]
    assert str(caught.value).endswith(
        f"one prompt of {tokens} tokens gives ({tokens}, 1, 8)\n"
        "its tokens stand before its rows; say batch_first=True where the module has it"
    )


class Reports(nn.Module):
    """Gives what is no tensor."""

    def forward(self, x: Tensor) -> dict[str, object]:
        return {"text": "no tensor", "length": x.shape[1]}


class Reporting(nn.Module):
    """Runs a module that gives no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.report, self.out = nn.Embedding(10, 6), Reports(), nn.Linear(6, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        self.report(x)
        return self.out(x)


def test_outputs_that_are_no_tensors_are_refused() -> None:
    """A module that gives something else can be neither read nor edited; its input can."""
    model = Model(Reporting(), name="reporting")
    message = (
        "report.output holds no tensor to read or edit (it is a dict); choose the input or output "
        "of another module"
    )
    with pytest.raises(InterventionError, match=re.escape(message)):
        model.read(module("report"), [BASE])
    with (
        pytest.raises(InterventionError, match=re.escape(message)),
        intervene(model, zero_ablate(module("report"))) as run,
    ):
        run(BASE)
    assert model.read(module("report", side="input"), [BASE])


def test_the_last_states_of_a_recurrent_module_are_said_to_stay() -> None:
    """The ledger says that the outputs at each step are edited, and the last states are not."""
    model = recurrent()
    with intervene(model, zero_ablate(module("lstm", pos=-1))) as run:
        run(BASE)
    assert run.ledger[0].note == (
        "the last states that lstm also gives are not edited, only its outputs"
    )
    with intervene(model, zero_ablate(module("embed", pos=-1))) as run:
        run(BASE)
    assert not run.ledger[0].note


def test_heads_of_a_vision_transformer_are_verified() -> None:
    """Patterns are the network's own, weigh each head's values, and heads are exchanged by hand."""
    torch.manual_seed(0)
    model, head, size = vision(), 2, 8
    sites = [attention_pattern(1), head_value_output(1, head), head_attention_value_output(1, head)]
    read = {site: found[0].squeeze(0) for site, found in model.read(sites, [BASE]).items()}
    pattern = read[sites[0]].unflatten(-1, (4, 17)).transpose(0, 1)
    model.network.set_attn_implementation("eager")
    with torch.no_grad():
        forward = model.network.vit.layers[1].attention.register_forward_hook
        seen: list[Tensor] = []
        handle = forward(lambda _module, _args, output: seen.append(output[1]))
        model.forward(torch.tensor([BASE]), None)
        handle.remove()
    model.network.set_attn_implementation("sdpa")
    assert torch.allclose(pattern, seen[0][0], atol=1e-6)
    assert torch.allclose(pattern[head] @ read[sites[1]], read[sites[2]], atol=1e-6)

    path, own = "vit.layers.1.attention.v_proj", slice(head * size, (head + 1) * size)
    values = plain(model, path, BASE)[1].clone()
    values[..., own] = plain(model, path, SOURCE)[1][..., own]
    wanted, _ = plain(model, path, BASE, values)
    with intervene(model, interchange(sites[1]), Pair(BASE, SOURCE)) as run:
        got = run(BASE).logits
    assert torch.allclose(got, wanted, atol=1e-6)
    assert not torch.allclose(got, model.run([BASE])[0].logits, atol=1e-6)
