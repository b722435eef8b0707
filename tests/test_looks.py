"""Sequential measuring on a network: forward passes saved, numbers unchanged, and what is told."""

import numpy as np
import pytest
import torch

from causaltest import Model, Pair, Pairs, interchange, mean_ablate, module, noise, recovery
from causaltest.errors import InterventionError
from causaltest.experiment import Causal
from causaltest.interventions import resample_ablate
from causaltest.metrics import probability
from causaltest.stats import Judge

SIZE = 30
EMBEDDING = module("0", pos=-1)


@pytest.fixture(scope="module")
def network():
    """A network whose top answer is its last token, by a noisy margin."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Embedding(SIZE, SIZE), torch.nn.Linear(SIZE, SIZE, bias=False)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(SIZE) * 6 + torch.randn(SIZE, SIZE))
        net[1].weight.copy_(torch.eye(SIZE))
    return net


@pytest.fixture(scope="module")
def pairs():
    """240 pairs of 120 templates."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(240):
        here, there = map(int, rng.choice(SIZE, 2, replace=False))
        prompt = int(rng.integers(SIZE))
        found.append(
            Pair(
                (prompt, here), (prompt, there), base_answer=here, source_answer=there,
                labels={"template": f"t{i % 120}"},
            )
        )  # fmt: skip
    return Pairs(found, name="many", cluster="template")


class Rows:
    """Counts prompts that went through a network."""

    def __init__(self, network):
        self.count = 0
        self._handle = network.register_forward_hook(self._note)

    def _note(self, _module, inputs, _output):
        self.count += len(inputs[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._handle.remove()


def instrument(network, *, sequential=True, seed=0):
    """Something to measure with, decided at .05."""
    return Causal(
        Model(network, name="echo"), judge=lambda: Judge(seed=seed), sequential=sequential
    )


CLAIMS = {
    "effect": lambda causal, on: (
        causal.effect(interchange(EMBEDDING), on=on, metric=probability) < -0.2
    ),
    "logits": lambda causal, on: causal.effect(interchange(EMBEDDING), on=on) < -1,
    "rate": lambda causal, on: causal.accuracy(interchange(EMBEDDING), on=on) > 0.5,
    "plain rate": lambda causal, on: causal.accuracy(on=on) > 0.5,
    "paired": lambda causal, on: (
        causal.accuracy(interchange(EMBEDDING), on=on)
        > causal.accuracy(noise(EMBEDDING, sd=0.5, draws=1), on=on)
    ),
    "resampled": lambda causal, on: (
        causal.effect(resample_ablate(EMBEDDING, draws=2), on=on, metric=probability) < -0.2
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_strong_claims_run_fewer_prompts(network, pairs, name):
    """Prompts through the network are counted; the verdict is that of the run on all pairs."""
    with Rows(network) as plain:
        whole = CLAIMS[name](instrument(network, sequential=False), pairs)
    with Rows(network) as looked:
        stopped = CLAIMS[name](instrument(network), pairs)
    assert whole.name == stopped.name == "supported"
    assert stopped.n_pairs < whole.n_pairs == stopped.n_available == 240
    assert looked.count < 0.75 * plain.count


def test_the_values_are_those_of_the_run_on_all_pairs(network, pairs):
    """What was measured in looks equals what is measured at once, pair by pair."""
    stopped = CLAIMS["effect"](instrument(network), pairs)
    whole = CLAIMS["effect"](instrument(network, sequential=False), pairs)
    at_once = dict(zip(whole.pair_ids, whole.values, strict=True))
    for pair, value in zip(stopped.pair_ids, stopped.values, strict=True):
        assert value == pytest.approx(at_once[pair], abs=1e-6)


def test_numbers_do_not_depend_on_what_ran_before(network, pairs):
    """Bit-identical whether other claims were measured before or not."""
    one, other = instrument(network), instrument(network)
    for name in ("rate", "logits", "paired"):
        CLAIMS[name](one, pairs)
    first, second = CLAIMS["effect"](one, pairs), CLAIMS["effect"](other, pairs)
    assert first.values == second.values
    assert first.interval == second.interval


def test_every_hypothesis_has_its_own_order(network, pairs):
    """Another seed, other pairs first."""
    here = CLAIMS["effect"](instrument(network, seed=1), pairs)
    there = CLAIMS["effect"](instrument(network, seed=2), pairs)
    assert set(here.pair_ids) != set(there.pair_ids)


@pytest.mark.parametrize(
    "claim, note",
    [
        (
            lambda causal, on: causal.effect(interchange(EMBEDDING), on=on, metric=recovery) > 0.5,
            "not sequential: recovery is a ratio of means, for which there is no sequential "
            "procedure; all pairs were run",
        ),
        (
            lambda causal, on: (
                causal.effect(mean_ablate(EMBEDDING), on=on, metric=probability) < -0.2
            ),
            "not sequential: the means that mean_ablate(0.output@-1) puts in are those of all "
            "pairs; all pairs were run",
        ),
        (
            lambda causal, on: (
                causal.faithfulness([EMBEDDING], among=[EMBEDDING, module("0", pos=0)], on=on) > 0.5
            ),
            "not sequential: a circuit's share of the behaviour is a ratio of means, for which "
            "there is no sequential procedure; all pairs were run",
        ),
        (
            lambda causal, on: (
                causal.says(lambda new, _: bool(new.ids), on=on, max_new_tokens=1) > 0.5
            ),
            "not sequential: texts are written for all pairs at once; all pairs were run",
        ),
    ],
    ids=["recovery", "mean ablation", "faithfulness", "says"],
)
def test_what_has_no_sequential_procedure_says_so(network, pairs, claim, note):
    """Such claims are measured on all pairs, as ever, with a note."""
    causal = instrument(network)
    verdict = claim(causal, pairs)
    assert (verdict.name, verdict.n_pairs, verdict.n_available) == ("supported", 240, 0)
    assert note in causal.trail.notes


def test_controls_of_an_arriving_effect_take_all_pairs(network, pairs):
    """A comparison with controls has no sequential procedure; it is measured as ever."""
    causal = instrument(network)
    effect = causal.effect(noise(EMBEDDING, sd=3.0, draws=1), on=pairs, metric=probability)
    assert abs(causal.identity(effect).estimate) < 1e-6
    assert effect.n_pairs == 240


def test_an_inert_intervention_is_refused_as_ever(network, pairs):
    """A site at which base and source agree proves nothing, in looks neither."""
    effect = instrument(network).effect(
        interchange(module("0", pos=0)), on=pairs, metric=probability
    )
    with pytest.raises(InterventionError, match="changed no activation in any of 240 runs"):
        _ = abs(effect) < 0.4
