"""A network whose circuit is known, and its twin of shuffled weights: the check C38.

The network has a layer of four parallel units that read a window of three tokens. One unit, which
one depends on the seed, writes whether the first two tokens agree in parity; the others write
noise. In the twin the same numbers stand in other places.
"""

import numpy as np
import pytest
import torch

from causaltest import Causal, EvidenceError, Model, Pair, Pairs, interchange, module, recovery

TOKENS, WIDTH, WINDOW, UNITS = 10, 12, 3, 4
EQUAL, DIFFERENT = 0, 1
PARITY = 1.0 - 2.0 * (torch.arange(TOKENS) % 2)
TIERS = pytest.mark.parametrize(
    "seeds", [pytest.param(6, id="quarter"), pytest.param(30, id="full", marks=pytest.mark.slow)]
)


class Parallel(torch.nn.Module):
    """Embedding, parallel units over the last three tokens, the sum of them, a read-out."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(TOKENS, WIDTH)
        self.units = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(WINDOW * WIDTH, 6), torch.nn.ReLU(), torch.nn.Linear(6, WIDTH)
            )
            for _ in range(UNITS)
        )
        self.head = torch.nn.Linear(WIDTH, TOKENS)

    def forward(self, ids):
        """Return logits, (rows, tokens, vocabulary)."""
        seen = torch.nn.functional.pad(self.embedding(ids), (0, 0, WINDOW - 1, 0))
        window = seen.unfold(1, WINDOW, 1).transpose(2, 3).flatten(2)
        return self.head(sum(unit(window) for unit in self.units))


@torch.no_grad()
def planted(seed):
    """Return the network with its circuit written in by hand, and the unit that holds it."""
    torch.manual_seed(seed)
    network = Parallel()
    network.embedding.weight.normal_()
    # Ten tokens in twelve dimensions: a linear map reads any function of the token.
    parity = torch.linalg.pinv(network.embedding.weight) @ PARITY
    holder = int(torch.randint(UNITS, ()))
    unit = network.units[holder]
    read, write = (layer for layer in unit.children() if isinstance(layer, torch.nn.Linear))
    # |p + q| is 2 for equal parities and 0 for different ones.
    read.weight[:2] = torch.cat([parity, parity, torch.zeros(WIDTH)])
    read.weight[1] *= -1
    read.bias[:2] = 0
    direction = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
    write.weight[:, :2] = 3 * direction[:, None]
    write.bias -= 3 * direction
    network.head.weight[EQUAL], network.head.weight[DIFFERENT] = direction, -direction
    return Model(network, name=f"planted {seed}", forward=lambda net, ids, _mask: net(ids)), holder


def comparisons(seed, count=60):
    """Return pairs of triples, one with equal parities and one with different ones."""
    rng = np.random.default_rng([38, seed])
    pairs = []
    for k in range(count):
        one, other = (
            (int(p), int((p + odd) % 2 + 2 * rng.integers(5)), int(rng.integers(TOKENS)))
            for odd, p in enumerate(rng.integers(TOKENS, size=2))
        )
        sides = [(one, EQUAL), (other, DIFFERENT)]
        (base, answer), (source, other_answer) = sides if k % 2 else sides[::-1]
        pairs.append(Pair(base, source, base_answer=answer, source_answer=other_answer))
    return Pairs(pairs, name=f"comparisons {seed}", cluster=None)


def claims(causal, holder, pairs):
    """Return the claims that the circuit makes true; a claim that cannot be judged is False."""
    unit = module(f"units.{holder}", pos="end")
    others = [module(f"units.{k}", pos="end") for k in range(UNITS) if k != holder]
    everything = [unit, *others]
    made = {
        "accuracy > .9": lambda: causal.accuracy(on=pairs) > 0.9,
        "recovery > .5": lambda: causal.effect(interchange(unit), on=pairs, metric=recovery) > 0.5,
        "interchange accuracy > .75": lambda: (
            causal.accuracy(interchange(unit), on=pairs, expect="source_answer") > 0.75
        ),
        "necessity > .5": lambda: causal.necessity([unit], among=everything, on=pairs) > 0.5,
        "faithfulness > .75": lambda: (
            causal.faithfulness([unit], among=everything, on=pairs) > 0.75
        ),
    }
    return {name: judged(claim) for name, claim in made.items()}


def judged(claim):
    """Return whether a claim is supported; one refused for want of a total effect is not."""
    try:
        return claim().name == "supported"
    except EvidenceError:
        return False


@TIERS
def test_c38_a_planted_circuit_and_its_twin(seeds, calibration):
    """Each true claim is supported in nine of ten networks, and in the twins hardly ever."""
    found, salmon = {}, {}
    for seed in range(seeds):
        network, holder = planted(seed)
        pairs, causal = comparisons(seed), Causal(network)
        for name, supported in claims(causal, holder, pairs).items():
            found[name] = found.get(name, 0) + supported
        for name, supported in claims(causal.twin(seed=seed), holder, pairs).items():
            salmon[name] = salmon.get(name, 0) + supported
    least, most = 27 * seeds // 30, 2 * seeds // 30
    for name, count in found.items():
        calibration.record(
            "C38", name, count / seeds, bound=least / seeds, runs=seeds,
            quantity="planted claims", least=True,
        )  # fmt: skip
        calibration.record(
            "C38", name, salmon[name] / seeds, bound=most / seeds, runs=seeds,
            quantity="the same claims in the twin",
        )  # fmt: skip
    assert min(found.values()) >= least
    assert max(salmon.values()) <= most


def test_c38_catches_claims_about_another_unit(calibration):
    """Mutant: a circuit that is named one unit off is supported in hardly any network."""
    found = {}
    for seed in range(6):
        network, holder = planted(seed)
        wrong = claims(Causal(network), (holder + 1) % UNITS, comparisons(seed))
        for name in ("recovery > .5", "interchange accuracy > .75", "necessity > .5"):
            found[name] = found.get(name, 0) + wrong[name]
    for count in found.values():
        calibration.mutant(
            "C38", "one unit off", count / 6, bound=27 / 30, runs=6, quantity="planted claims",
            least=True,
        )  # fmt: skip
    assert max(found.values()) < 27 / 5


def test_c38_catches_a_verdict_from_the_estimate(calibration):
    """Mutant: an estimate above 0 taken for support confirms the claim in twins as well."""
    confirmed = 0
    for seed in range(6):
        network, holder = planted(seed)
        twin = Causal(network).twin(seed=seed)
        unit = interchange(module(f"units.{holder}", pos="end"))
        effect = twin.effect(unit, on=comparisons(seed))
        confirmed += effect.estimate > 0
    calibration.mutant(
        "C38", "any estimate above 0 counts", confirmed / 6, bound=2 / 30, runs=6,
        quantity="the same claims in the twin",
    )  # fmt: skip
    assert confirmed / 6 > 2 / 30
