"""Blocks on grids, as of images: cells are positions, channels the width; stages are stacks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from causaltest.engine.chains import listed
from causaltest.engine.layouts import Layout
from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.errors import SiteError
from causaltest.interventions import Intervention, interchange
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site, block_input, block_output

BASE, SOURCE = (3, 1, 1, 1), (8, 1, 1, 1)
PAIRS = Pairs([Pair(BASE, SOURCE)], name="pictures", cluster=None)


def picture(ids: Tensor) -> Tensor:
    """Return a picture of 8 x 8 for each row, by its first token."""
    seeds = [torch.Generator().manual_seed(int(first)) for first in ids[:, 0]]
    return torch.stack([torch.randn(3, 8, 8, generator=seed) for seed in seeds])


def edited(model: Model, intervention: Intervention) -> Tensor:
    """Return the base's answer under an intervention."""
    found: list[Tensor] = []
    score(model, intervention, PAIRS, lambda output: found.append(output.logits) or 0.0)
    return found[0]


def hooked(
    network: nn.Module, path: str, edit: Callable[[Tensor], Tensor], *, before: bool = False
) -> Tensor:
    """Return the base's answer with a plain hook on what a module gives or takes."""
    target = network.get_submodule(path)
    if before:
        handle = target.register_forward_pre_hook(lambda _m, args: (edit(args[0]), *args[1:]))
    else:
        handle = target.register_forward_hook(lambda _m, _a, out: edit(out))
    with torch.no_grad():
        answer = network(picture(torch.tensor([BASE])))
    handle.remove()
    return getattr(answer, "logits", answer)[0]


def carried(network: nn.Module, path: str, *, before: bool = False) -> Tensor:
    """Return what a module gives, or takes, when the source is run."""
    found: list[Tensor] = []
    target = network.get_submodule(path)
    if before:
        handle = target.register_forward_pre_hook(lambda _m, args: found.append(args[0]))
    else:
        handle = target.register_forward_hook(lambda _m, _a, out: found.append(out))
    with torch.no_grad():
        network(picture(torch.tensor([SOURCE])))
    handle.remove()
    return found[0].clone()


@pytest.fixture(scope="module")
def resnet() -> Model:
    """Return a network of stages, each a sequence of blocks of which the first is another shape."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24], depths=[2, 3], num_labels=5
    )
    network = transformers.ResNetForImageClassification(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    return Model(network, name="resnet", forward=lambda net, ids, _: net(picture(ids)).logits)


def test_stages_of_blocks_are_stacks(resnet) -> None:
    """Each stage is a stack of its own, and the last leads to the answer."""
    path = "resnet.encoder.stages"
    assert resnet.architecture.blocks == tuple(f"{path}.1.layers.{layer}" for layer in range(3))
    assert resnet.architecture.others["stages.0"].blocks == (
        f"{path}.0.layers.0", f"{path}.0.layers.1",
    )  # fmt: skip
    assert set(resnet.components) == {"block_input", "block_output"}


@pytest.mark.parametrize(
    "site, path, before",
    [
        (block_output(0, stack="stages.0"), "stages.0.layers.0", False),
        (block_input(0), "stages.1.layers.0", True),
        (block_output(1), "stages.1.layers.1", False),
    ],
    ids=str,
)
@pytest.mark.parametrize("dims", [None, (1, 5)])
def test_an_edit_of_channels_is_that_of_a_plain_hook(site, path, before, dims, resnet) -> None:
    """Dims of a block on a grid are channels, in every cell."""
    path = f"resnet.encoder.{path}"
    source = carried(resnet.network, path, before=before)
    channels = list(range(source.shape[1])) if dims is None else list(dims)

    def edit(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[:, channels] = source[:, channels]
        return tensor

    wanted = hooked(resnet.network, path, edit, before=before)
    site = Site(site.component, layer=site.layer, stack=site.stack, dims=dims)
    got = edited(resnet, interchange(site))
    assert torch.equal(got, wanted)
    assert not torch.equal(got, resnet.run([BASE])[0].logits)


def test_what_is_read_is_cells_by_channels(resnet) -> None:
    """Cells are read row by row, each with its channels."""
    path = "resnet.encoder.stages.0.layers.1"
    got = resnet.read(block_output(1, stack="stages.0"), [SOURCE])
    (cells,) = got[block_output(1, stack="stages.0")]
    there = carried(resnet.network, path)[0]
    assert there.shape == (16, 2, 2)
    by_hand = [there[:, row, column] for row in range(2) for column in range(2)]
    assert torch.equal(cells, torch.stack(by_hand))


class Block(nn.Module):
    """A convolution on a grid with the channels first or last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.norm = nn.LayerNorm(6) if last else nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        new = self.norm(x)
        if self.last:
            return x + self.conv(new.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
        return x + self.conv(new).relu()


class Pictured(nn.Module):
    """Blocks on grids of 2 x 2, with the channels first or last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.stem, self.out = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 5)
        self.layers = nn.ModuleList(Block(last=last) for _ in range(3))
        self.last = last

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels)
        x = x.permute(0, 2, 3, 1) if self.last else x
        for layer in self.layers:
            x = layer(x)
        return self.out(x.mean((1, 2) if self.last else (2, 3)))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("cell", [0, 1, 2, 3])
def test_a_cell_is_a_position(last, cell) -> None:
    """Where a prompt has a token for each cell, a position is that cell of the grid."""
    torch.manual_seed(3)
    network = Pictured(last=last).eval()
    model = Model(network, name="pictured", forward=lambda net, ids, _: net(picture(ids)))
    source = carried(network, "layers.1")
    row, column = divmod(cell, 2)

    def edit(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        index = (0, row, column) if last else (0, slice(None), row, column)
        tensor[index] = source[index]
        return tensor

    got = edited(model, interchange(block_output(1, pos=cell)))
    assert torch.equal(got, hooked(network, "layers.1", edit))


def test_a_grid_of_which_nothing_tells_the_channels_is_refused() -> None:
    """Where one layer takes channels first and another the same numbers with channels last."""

    class Both(nn.Module):
        """Takes one activation both ways."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.LayerNorm(2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x) + self.norm(x)

    class Square(nn.Module):
        """Blocks on activations of as many channels as cells in a row."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.out = nn.Conv2d(3, 2, 4, stride=4), nn.Linear(8, 5)
            self.layers = nn.ModuleList(Both() for _ in range(2))

        def forward(self, pixels: Tensor) -> Tensor:
            x = self.stem(pixels).permute(0, 2, 3, 1).permute(0, 3, 1, 2)
            for layer in self.layers:
                x = layer(x)
            return self.out(x.flatten(1))

    model = Model(Square(), name="square", forward=lambda net, ids, _: net(picture(ids)))
    message = "layers.0 takes and gives (1, 2, 2, 2), not (rows, tokens, width)"
    with pytest.raises(SiteError, match=re.escape(message)):
        model.access(block_output(0))


class Stage(nn.Module):
    """Halves the grid and makes it wider."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 2 * width, 2, stride=2), nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)).tanh()


class Narrowing(nn.Module):
    """A chain of stages without blocks in them; `skips` has them all take what the first does."""

    def __init__(self, *, skips: bool = False) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Stage(3), Stage(6)])
        self.out, self.skips = nn.Linear(12 * 4, 5), skips

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stages[0](pixels)
        x = self.stages[1](x + 1 if self.skips else x)
        return self.out(x.flatten(1))


def test_a_chain_of_stages_is_a_stack_where_they_have_none() -> None:
    """Blocks whose activations have different shapes are a stack, if each takes the one before."""
    torch.manual_seed(5)
    network = Narrowing().eval()
    model = Model(network, name="narrow", forward=lambda net, ids, _: net(picture(ids)))
    assert model.architecture.blocks == ("stages.0", "stages.1")
    source = carried(network, "stages.0")
    got = edited(model, interchange(block_output(0)))
    assert torch.equal(got, hooked(network, "stages.0", lambda _: source))
    assert torch.equal(got, model.run([SOURCE])[0].logits)
    assert (model.access(block_output(0)).width, model.access(block_output(1)).width) == (6, 12)


def test_stages_with_something_between_them_are_no_stack() -> None:
    """A chain is one only if what is put in behind a stage is all that the next takes."""
    model = Model(
        Narrowing(skips=True), name="narrow", forward=lambda net, ids, _: net(picture(ids))
    )
    with pytest.raises(SiteError, match=re.escape("stages.0 takes (1, 3, 8, 8) and gives (1, 6")):
        model.access(block_output(0))


def test_sequences_within_blocks_are_no_lists() -> None:
    """The layers of a residual branch do not carry the stream, and are no stack of their own."""
    branch = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(2)))
    network = nn.ModuleDict({"layers": nn.Sequential(nn.Sequential(branch, nn.LayerNorm(2)))})
    assert listed(network, sequences=True) == [("layers", ("layers.0",))]
    assert listed(network) == []


def test_grids_are_turned_and_returned_as_they_lay() -> None:
    """What is put back has the axes and the strides that it had."""
    there = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    layout = Layout(0, (2, 3))
    turned = layout.turned(there)
    assert turned.shape == (2, 20, 3)
    assert torch.equal(turned[1, 7], there[1, :, 1, 2])
    back = layout.returned(turned, there)
    assert torch.equal(back, there)
    assert back.stride() == there.stride()
