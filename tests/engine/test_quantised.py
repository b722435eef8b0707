"""Networks with 8-bit weights: components, edits, texts, hash and type as of any other network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from causaltest.engine.gradients import differentiable
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.run import score_identity
from causaltest.errors import InterventionError, ModelError
from causaltest.interventions import add, interchange, low_rank, scale, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import HEAD_COMPONENTS, Site, block_output, mlp_output

IDS = (3, 1, 4, 1, 5)
PAIR = Pair((3, 1, 4), (1, 5, 9), id="one", base_answer=7, source_answer=8)


class Int8(nn.Linear):
    """A linear layer of 8-bit weights with a scale for each row, packed into one long table."""

    def __init__(self, matrix: Tensor, bias: Tensor | None, *, follows: bool = True) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = matrix.shape
        self.follows = follows
        size = matrix.abs().amax(1, keepdim=True) / 127
        # Two numbers stand in one entry of another shape, as 4-bit formats do it.
        self.weight = nn.Parameter((matrix / size).round().to(torch.int8).view(-1, 1), False)
        self.register_buffer("scale", size)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn.Linear
        """Return x W^T + b, cut off from gradients where autograd is not supported."""
        x = input
        whole = self.weight.view(self.out_features, -1).to(x.dtype) * self.scale.to(x.dtype)
        given = x if self.follows else x.detach()
        return nn.functional.linear(given, whole, self.bias)


def quantise(network: nn.Module, *, follows: bool = True) -> nn.Module:
    """Return a copy with every linear layer in the blocks quantised, and frozen otherwise."""
    network = copy.deepcopy(network)
    for path, module in list(network.named_modules()):
        kind = type(module).__name__
        if kind not in ("Linear", "Conv1D") or path == "lm_head":
            continue
        matrix = module.weight.detach().mT if kind == "Conv1D" else module.weight.detach()
        parent, _, leaf = path.rpartition(".")
        bias = None if module.bias is None else module.bias.detach()
        setattr(
            network.get_submodule(parent), leaf, Int8(matrix.contiguous(), bias, follows=follows)
        )
    return network.requires_grad_(False)


def restored(network: nn.Module) -> nn.Module:
    """Return a copy with plain layers of the same numbers."""
    network = copy.deepcopy(network)
    for path, module in list(network.named_modules()):
        if isinstance(module, Int8):
            plain = nn.Linear(module.in_features, module.out_features, module.bias is not None)
            plain.weight.data = module.weight.view(plain.weight.shape) * module.scale
            if module.bias is not None:
                plain.bias.data = module.bias.data.clone()
            parent, _, leaf = path.rpartition(".")
            setattr(network.get_submodule(parent), leaf, plain)
    return network


@pytest.fixture
def both(fresh) -> Callable[..., tuple[Model, Model]]:
    """Return a function that builds a quantised model and a plain one of the same numbers."""

    def build(family: str, **options: bool) -> tuple[Model, Model]:
        network = quantise(fresh(family).network, **options)
        return Model(network, name="int8"), Model(restored(network), name="plain")

    return build


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_quantised_network_is_that_of_its_numbers(family, both, tiny) -> None:
    """Every component is found and read, edits and texts equal those of plain weights."""
    model, plain = both(family)
    assert model.components == plain.components == tiny(family).components
    assert (model.dtype, model.device) == (torch.float32, torch.device("cpu"))
    sites = [
        Site(name, layer=None if name == "embedding" else 1,
             head=1 if name in HEAD_COMPONENTS else None)
        for name in model.components
    ]  # fmt: skip
    read, wanted = model.read(sites, [IDS]), plain.read(sites, [IDS])
    assert all(torch.equal(read[site][0], wanted[site][0]) for site in sites)
    edit = interchange(block_output(0, pos=1)) + zero_ablate(mlp_output(1, pos="end"))
    with intervene(model, edit, PAIR) as run, intervene(plain, edit, PAIR) as wanted_run:
        assert torch.equal(run(PAIR.base).logits, wanted_run(PAIR.base).logits)
    found: list[Tensor] = []
    # Within attention the kernel is another one, so only places between modules are bit for bit.
    between = [site for site in sites if isinstance(model.access(site).side, str)]
    score_identity(model, between, [PAIR], lambda output: found.append(output.logits) or 0.0)
    assert torch.equal(found[0], plain.run([PAIR])[0].logits)
    texts = [
        each.generate(
            [IDS, (7, 8)], max_new_tokens=3, intervention=scale(block_output(0), 2.0), when="prompt"
        )
        for each in (model, plain)
    ]
    assert [each.ids for each in texts[0]] == [each.ids for each in texts[1]]


def test_the_hash_sees_every_number(both) -> None:
    """One bit of one 8-bit weight, or one scale, is another model."""
    model, _ = both("gpt2")
    layer = model.network.transformer.h[1].mlp.c_fc
    before = {Model(model.network).sha256}
    layer.weight.data[3, 0] ^= 1
    before.add(Model(model.network).sha256)
    layer.scale[0] *= 2
    before.add(Model(model.network).sha256)
    assert len(before) == 3


def test_the_type_is_that_of_the_floating_weights(both) -> None:
    """8-bit weights first in the network say nothing of what activations are."""
    model, _ = both("llama")
    model.network.to(torch.bfloat16)
    first = nn.Sequential(Int8(torch.ones(4, 3), None), nn.Linear(4, 2).to(torch.bfloat16))
    assert Model(first).dtype == torch.bfloat16
    (output,) = model.run([IDS])
    assert (model.dtype, output.logits.dtype) == (torch.bfloat16, torch.bfloat16)
    assert model.network.model.layers[0].mlp.up_proj.weight.dtype == torch.int8


def test_gradients_pass_layers_that_follow_them(both) -> None:
    """What is trained in an intervention gets the gradient that it gets under plain weights."""
    pairs = Pairs([PAIR], name="one", cluster=None)
    slopes = []
    for model in both("llama"):
        basis = torch.eye(32)[:, :2].requires_grad_()
        edit = interchange(block_output(0, pos=1), subspace=low_rank(basis))
        with differentiable(model, edit, pairs) as (output,):
            output.at()[3].backward()
        slopes.append(basis.grad)
    assert slopes[0].abs().max() > 1e-6
    torch.testing.assert_close(*slopes)


def test_layers_that_cut_gradients_off_are_refused(both) -> None:
    """Where no gradient reaches the logits, the cause and two ways out are told."""
    model, _ = both("gpt2", follows=False)
    network = model.network
    # The stream goes past the layers, so that only a network without a way past them is cut off.
    network.lm_head = Int8(network.lm_head.weight.detach().clone(), None, follows=False)
    steer = torch.zeros(24, requires_grad=True)
    edit = add(block_output(0), steer)
    with (
        pytest.raises(InterventionError) as error,
        differentiable(model, edit, Pairs([PAIR], name="one", cluster=None)),
    ):
        pass
    assert str(error.value).endswith(
        "no gradient reaches the logits of int8: some module behind the edit computes without "
        "gradients, as quantised layers may\nedit behind it, or load the model in float32 or "
        "bfloat16"
    )


def test_a_quantised_unembedding_cannot_be_split(both) -> None:
    """Direct logit attribution needs the numbers of the unembedding, not their codes."""
    model, _ = both("llama")
    head = model.network.lm_head
    model.network.lm_head = Int8(head.weight.detach().clone(), None)
    with pytest.raises(ModelError) as error:
        model.direct_logit_attribution([PAIR])
    assert str(error.value) == (
        "int8: the unembedding lm_head holds its weights as int8 of shape (1600, 1), not as "
        "numbers (classes, width); logits cannot be split into parts"
    )
