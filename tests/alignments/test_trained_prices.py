"""Price tagging in a trained network, after Wu et al. 2023 (arXiv 2305.08809).

Is the amount at least the lower and at most the upper bound? The two comparisons are the variables
of the causal model; the search looks for the first in a network that learned the answer alone.
"""

import pytest
import torch
from torch import nn

from causaltest import Causal, Model, Pairs, module
from causaltest.causal_models import CausalModel

PRICES = 50
MODEL = CausalModel(
    dict.fromkeys(("lower", "upper", "amount"), range(PRICES)),
    {
        "left": lambda lower, amount: lower <= amount,
        "right": lambda upper, amount: amount <= upper,
        "answer": lambda left, right: left and right,
    },
)


class Prices(nn.Module):
    """Three prices to two classes, in three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 32), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.third = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.out = nn.Linear(32, 2)

    def forward(self, ids):
        """Return logits (rows, 2): outside, within."""
        scaled = 4 * ids.float() / PRICES - 2
        return self.out(self.third(self.second(self.first(scaled))))


def trained():
    """The network, trained on triples drawn afresh in each step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Prices()
    stream = torch.Generator().manual_seed(1)
    steps = 3000
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        drawn = torch.randint(PRICES, (512, 3), generator=stream)
        drawn[:, :2] = drawn[:, :2].sort(dim=1).values
        lower, upper, amount = drawn.unbind(1)
        answers = ((lower <= amount) & (amount <= upper)).long()
        loss = nn.functional.cross_entropy(network(drawn), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def prices(name, remainders, count, seed):
    """Pairs whose amounts have some remainders after division by 5."""

    def fits(drawn):
        ordered = all(each["lower"] <= each["upper"] for each in (drawn.base, drawn.source))
        amounts = (drawn.base["amount"], drawn.source["amount"])
        # A bracket that is missed on both sides at once does not exist.
        exists = drawn.changed["left"] or drawn.changed["right"]
        return ordered and exists and all(each % 5 in remainders for each in amounts)

    return Pairs.from_causal_model(
        MODEL, "left", count,
        prompt=lambda s: (s["lower"], s["upper"], s["amount"]),
        answer=lambda s: int(s["answer"]), name=name, cluster=None, seed=seed, where=fits,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """One direction of the first hidden layer, learned for `left`; and the test pairs."""
    causal = Causal(Model(trained(), name="prices"))
    alignment = causal.align(
        module("first"),
        variable="left",
        on=prices("train", (0, 1, 2), 600, 0),
        dev=prices("dev", (3,), 150, 1),
        by="amount",
        width=1,
        seeds=(0, 1),
        epochs=30,
        patience=6,
        batch=64,
        learning_rate=0.03,
    )
    return alignment, prices("test", (4,), 300, 2)


@pytest.mark.slow
def test_one_direction_holds_the_lower_comparison(found):
    """Exchanging it gives the counterfactual answer on amounts that the search never saw."""
    alignment, test = found
    rate = alignment.accuracy(on=test)
    assert rate.estimate >= 0.97
    assert bool(rate > 0.9)
    assert bool(rate > alignment.unchanged(on=test))
    assert bool(rate > alignment.controls("random directions", on=test))


@pytest.mark.slow
def test_an_untrained_twin_is_refuted(found):
    """The same search in a network that learned nothing does less, though more than chance.

    A direction of random features is itself a small classifier, which is why the twin is measured.
    """
    alignment, test = found
    twin = alignment.untrained(on=test)
    assert not bool(twin > 0.9)
    assert bool(alignment.accuracy(on=test) - twin > 0.05)
