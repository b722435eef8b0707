"""Hierarchical equality in a trained network: the alignment of Geiger et al. 2023, section 4.

A three-layer network learns on fresh random vectors whether (w = x) = (y = z). One direction of
its first hidden layer is found to hold `w = x`, and is right on entities that neither the network
nor the search has seen.
"""

import pytest
import torch
from torch import nn

from causaltest import Causal, Model, module

WIDTH = 4
ENTITIES = 120
SITE = module("first")


class Vectors(nn.Module):
    """Four entities, each a fixed random vector, to two classes in three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(ENTITIES, WIDTH)
        self.first = nn.Sequential(nn.Linear(4 * WIDTH, 16), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        self.third = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        self.out = nn.Linear(16, 2)

    def forward(self, ids):
        """Return logits (rows, 2): different, same."""
        return self.judged(self.embed(ids).flatten(1))

    def judged(self, vectors):
        """Return logits for vectors."""
        return self.out(self.third(self.second(self.first(vectors))))


def trained():
    """The network, trained on vectors drawn afresh in each step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Vectors()
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.embed.weight.uniform_(-1, 1, generator=stream)
    layers = (network.first, network.second, network.third, network.out)
    steps = 3000
    moved = [each for layer in layers for each in layer.parameters()]
    optimiser = torch.optim.Adam(moved, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        vectors = torch.rand(512, 4, WIDTH, generator=stream) * 2 - 1
        left, right = torch.rand(2, 512, generator=stream) < 0.5
        vectors[left, 1] = vectors[left, 0]
        vectors[right, 3] = vectors[right, 2]
        answers = (left == right).long()
        loss = nn.functional.cross_entropy(network.judged(vectors.flatten(1)), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


@pytest.fixture(scope="module")
def found(pairs_of):
    """One direction of the first hidden layer, learned for `left`; and the test pairs."""
    causal = Causal(Model(trained(), name="equality"))
    alignment = causal.align(
        SITE,
        variable="left",
        on=pairs_of("train", range(60), 2000),
        dev=pairs_of("dev", range(60, 90), 300, seed=1),
        by="entities",
        width=1,
        seeds=(0, 1),
        epochs=30,
        patience=6,
        batch=128,
        learning_rate=0.03,
    )
    return alignment, pairs_of("test", range(90, ENTITIES), 300, seed=2)


@pytest.mark.slow
def test_one_direction_holds_left(found):
    """Exchanging it gives the counterfactual answer on unseen entities, and beats the baseline."""
    alignment, test = found
    rate = alignment.accuracy(on=test)
    assert rate.estimate >= 0.97
    assert bool(rate > 0.95)
    assert alignment.unchanged(on=test).estimate < 0.55


@pytest.mark.slow
def test_random_directions_do_not(found):
    """Directions drawn at random are near chance, and the alignment outranks them all."""
    alignment, test = found
    controls = alignment.controls("random directions", on=test)
    assert abs(controls.estimates.mean() - 0.5) < 0.12
    assert bool(alignment.accuracy(on=test) > controls)


@pytest.mark.slow
def test_an_untrained_twin_is_refuted(found):
    """The same search in a network that learned nothing finds nothing."""
    alignment, test = found
    assert not bool(alignment.untrained(on=test) > 0.9)
