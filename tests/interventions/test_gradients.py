"""Gradients through every intervention, against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from causaltest.engine.gradients import differentiable
from causaltest.engine.model import Model
from causaltest.errors import InterventionError
from causaltest.interventions import (
    FeatureEdit,
    Intervention,
    adapter,
    add,
    apply_function,
    autoencoder,
    boundless,
    constant,
    interchange,
    low_rank,
    mean_ablate,
    noise,
    partition,
    pca,
    rotated,
    scale,
    sigmoid_mask,
    skip,
    subtract,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site, module

WIDTH, FEATURES = 4, 6
PAIRS = Pairs(
    [
        Pair((1, 2, 3), (4, 5, 6), labels={"number": "one"}),
        Pair((3, 0, 5), (2, 2, 1), labels={"number": "two"}),
    ],
    name="two",
    cluster=None,
)


class Network(nn.Module):
    """Embedding, two linear layers with an activation between them, and an answer."""

    def __init__(self, activation: nn.Module, *, recompute: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, WIDTH)
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), activation, nn.Linear(WIDTH, WIDTH))
        self.answer = nn.Linear(WIDTH, 5)
        self.recompute = recompute

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        y = checkpoint(self.body, x, use_reentrant=False) if self.recompute else self.body(x)
        return self.answer(torch.tanh(y))


def network(activation: nn.Module, *, recompute: bool = False) -> Model:
    """Return the network in double precision, the same weights each time."""
    torch.manual_seed(2)
    return Model(Network(activation, recompute=recompute).double(), name="small")


def turned(raw: Tensor) -> Tensor:
    """Return an orthogonal matrix that depends smoothly on any square matrix."""
    return torch.linalg.matrix_exp(raw - raw.mT)


def thin(raw: Tensor) -> Tensor:
    """Return two orthonormal columns."""
    return turned(raw)[:, :2]


def coder(raw: Tensor, activation: str = "relu", **options):
    """Return an autoencoder made of one table of numbers."""
    enter, leave, bias = raw[:WIDTH], raw[WIDTH : 2 * WIDTH].mT, raw[2 * WIDTH]
    return autoencoder(
        enter, leave, encoder_bias=bias, decoder_bias=raw[2 * WIDTH + 1, :WIDTH],
        activation=activation, features=[0, 2, 3, 5], **options,
    )  # fmt: skip


def within(make: Callable[[Tensor], object]) -> Callable[[Site, Tensor], Intervention]:
    """Return a function that makes an interchange within a subspace of trained numbers."""
    return lambda site, raw: interchange(site, subspace=make(raw))


SQUARE, VECTOR, TABLE = (WIDTH, WIDTH), (WIDTH,), (2 * WIDTH + 2, FEATURES)
THRESHOLD = torch.full((FEATURES,), 0.05).double()
GROUPS = {"one": (0, 3), "two": (1,)}

# Shape of what is trained, and the intervention made of it.
TRAINED = {
    "add": (VECTOR, lambda site, raw: add(site, raw, scale=2.0)),
    "subtract": (VECTOR, subtract),
    "constant": (VECTOR, constant),
    "constant, rotated": (
        VECTOR, lambda site, raw: constant(site, raw, subspace=rotated(torch.eye(4), k=2)),
    ),
    "rotated": (SQUARE, within(lambda raw: rotated(turned(raw), k=2))),
    "low rank": (SQUARE, within(lambda raw: low_rank(thin(raw)))),
    "boundless": (SQUARE, within(lambda raw: boundless(turned(raw), temperature=2.0))),
    "boundary": ((), within(lambda raw: boundless(turned(torch.eye(4).double()), boundary=raw / 9,
                                                  temperature=2.0))),
    "mask": (VECTOR, within(lambda raw: sigmoid_mask(raw, temperature=0.5))),
    "rotated mask": (SQUARE, within(lambda raw: sigmoid_mask(raw[0], rotation=turned(raw)))),
    "pca": (SQUARE, within(lambda raw: pca(turned(raw), mean=raw[0], scale=raw[1].exp(), k=2))),
    "pca, no error": (
        SQUARE, within(lambda raw: pca(thin(raw).mT, mean=raw[0], k=1, keep_error=False)),
    ),
    "partition": (
        SQUARE, within(lambda raw: partition(GROUPS, by="number", basis=turned(raw))),
    ),
    "relu": (TABLE, within(coder)),
    "jumprelu": (TABLE, within(lambda raw: coder(raw, "jumprelu", threshold=THRESHOLD))),
    "topk": (TABLE, within(lambda raw: coder(raw, "topk", top=3, centred=True))),
    "identity": (TABLE, within(lambda raw: coder(raw, "identity", keep_error=False))),
    "set features": (TABLE, lambda site, raw: features(site, raw, "set")),
    "add to features": (TABLE, lambda site, raw: features(site, raw, "add")),
    "scale features": (TABLE, lambda site, raw: features(site, raw, "scale")),
    "adapter": ((2 * WIDTH, 2), lambda site, raw: adapter(site, raw[:WIDTH], raw[WIDTH:].mT)),
    "function": (VECTOR, lambda site, raw: apply_function(site, lambda base, _: base * raw)),
}  # fmt: skip


def features(site: Site, raw: Tensor, change) -> FeatureEdit:
    """Return an edit of features in which the values are trained too."""
    from causaltest.interventions import Array

    return FeatureEdit((site,), coder(raw), change, Array(raw[-1, [1, 2, 4, 5]] + 0.1))


def numbers(shape: tuple[int, ...]) -> Tensor:
    """Return numbers to train, well away from the kinks of ReLU and of the thresholds."""
    generator = torch.Generator().manual_seed(8)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def logits_of(model: Model, intervention: Intervention) -> Tensor:
    """Return the logits of both pairs under an intervention."""
    with differentiable(model, intervention, PAIRS) as outputs:
        return torch.stack([output.logits for output in outputs])


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()], ids=["relu", "tanh"])
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_trained_numbers(name, activation):
    """Gradients with respect to what is trained agree with finite differences."""
    shape, make = TRAINED[name]
    model = network(activation)
    for where in ("body.0", "body.1"):
        site = module(where, pos=(0, 2))

        def run(raw: Tensor, site: Site = site) -> Tensor:
            return logits_of(model, make(site, raw))

        raw = numbers(shape)
        assert torch.autograd.gradcheck(run, raw)
        run(raw).square().sum().backward()
        assert raw.grad.abs().max() > 1e-6


# Interventions that hold no trained numbers let gradients pass to the network.
FIXED = {
    "interchange": interchange,
    "zero": zero_ablate,
    "mean": mean_ablate,
    "noise": lambda site: noise(site, sd=0.3, draws=1),
    "scale": lambda site: scale(site, -0.5),
    "skip": skip,
    "partition": lambda site: interchange(site, subspace=partition(GROUPS, by="number")),
}


@pytest.mark.parametrize("name", FIXED)
def test_gradients_of_the_network(name):
    """Gradients with respect to the network's weights agree with finite differences."""
    model = network(nn.Tanh())
    intervention = FIXED[name](module("body.0", pos=1))
    # A layer behind the edit, on which what is read from other prompts does not depend; and, where
    # nothing is read, one before it.
    weights = [model.network.body[2].weight]
    if name in ("scale", "skip", "noise"):
        weights.append(model.network.embed.weight)
    for weight in weights:

        def loss() -> Tensor:
            return logits_of(model, intervention).square().sum()

        (slope,) = torch.autograd.grad(loss(), weight)
        index = int(slope.abs().argmax())
        assert abs(slope.flatten()[index]) > 1e-6
        values: list[float] = []
        for step in (1e-5, -2e-5):
            weight.data.view(-1)[index] += step
            values.append(float(loss().detach()))
        weight.data.view(-1)[index] += 1e-5
        difference = (values[0] - values[1]) / 2e-5
        assert difference == pytest.approx(float(slope.flatten()[index]), rel=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_survive_checkpointing(name):
    """Activations that are computed anew in the backward pass are computed with the edit."""
    shape, make = TRAINED[name]
    site = module("body.1", pos=(0, 2))
    slopes: list[Tensor] = []
    for recompute in (False, True):
        model, raw = network(nn.ReLU(), recompute=recompute), numbers(shape)
        with differentiable(model, make(site, raw), PAIRS) as outputs:
            sum(output.logits.square().sum() for output in outputs).backward()
        slopes += [raw.grad, model.network.embed.weight.grad]
    assert torch.equal(slopes[0], slopes[2])
    assert torch.equal(slopes[1], slopes[3])
    assert slopes[0].abs().max() > 1e-6


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()], ids=["relu", "tanh"])
@pytest.mark.parametrize("name", FIXED)
def test_gradients_of_the_network_survive_checkpointing(name, activation):
    """Weights get the same gradients whether or not activations are computed anew with the edit."""
    intervention = FIXED[name](module("body.0", pos=1))
    slopes: list[list[Tensor]] = []
    for recompute in (False, True):
        model = network(activation, recompute=recompute)
        with differentiable(model, intervention, PAIRS) as outputs:
            # A run in between has no part in what is computed anew.
            model.run(list(PAIRS))
            sum(output.logits.square().sum() for output in outputs).backward()
        slopes.append([each.grad for each in model.network.parameters()])
    assert all(map(torch.equal, *slopes))
    plain = network(activation)
    with differentiable(plain, scale(module("body.0"), 1.0), PAIRS) as outputs:
        sum(output.logits.square().sum() for output in outputs).backward()
    assert not torch.equal(plain.network.body[2].weight.grad, slopes[0][3])


def test_the_network_is_left_as_it_was():
    """After the context, and after an error in it, no hook is left and training goes on."""
    model = network(nn.ReLU())
    model.network.train()
    intervention = scale(module("body.0"), 2.0)
    with differentiable(model, intervention, PAIRS):
        pass
    with pytest.raises(ZeroDivisionError), differentiable(model, intervention, PAIRS):
        raise ZeroDivisionError
    assert model.network.body[0].training
    assert not any(each._forward_hooks for each in model.network.modules())


def test_training_lowers_the_loss():
    """A direction that is trained with Adam carries more of the source with each step."""
    model = network(nn.Tanh())
    raw = numbers(SQUARE)
    optimiser = torch.optim.Adam([raw], lr=0.05)
    wanted = logits_of(model, interchange(module("body.0"))).detach()
    losses: list[float] = []
    for _ in range(30):
        subspace = low_rank(turned(raw)[:, :3])
        with differentiable(model, interchange(module("body.0"), subspace=subspace), PAIRS) as runs:
            loss = (torch.stack([run.logits for run in runs]) - wanted).square().sum()
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_trained_tensors_are_listed_once():
    """`trained` gives each tensor once, however many parts refer to it."""
    steer = torch.zeros(4, requires_grad=True)
    both = add(module("a"), steer) + subtract(module("b"), steer) + add(module("c"), [1.0])
    assert [each is steer for each in both.trained] == [True]
    assert both.frozen().trained == ()
    assert both.frozen() == both.frozen() != both


def test_pairs_that_make_several_batches_are_refused():
    """Without padding, prompts of unequal length cannot be one batch."""
    pairs = Pairs([Pair((1, 2)), Pair((1, 2, 3))], name="unequal", cluster=None)
    with (
        pytest.raises(InterventionError, match=r"^2 pairs make 2 batches of small, but gradients"),
        differentiable(network(nn.ReLU()), scale(module("body.0"), 2.0), pairs),
    ):
        pass
