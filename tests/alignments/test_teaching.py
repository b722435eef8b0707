"""Interchange intervention training: networks that are made to hold a variable at a place."""

import itertools
import random
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from causaltest import (
    Causal,
    EvidenceError,
    InterventionError,
    Model,
    Pair,
    PairError,
    Pairs,
    interchange,
    mlp_output,
    module,
    zero_ablate,
)
from causaltest.causal_models import CausalModel
from causaltest.engine.gradients import differentiable
from causaltest.interventions import adapter, from_source

VALUES = 3
SITE = module("first", dims=range(8))


class Network(nn.Module):
    """Four values to two classes, in three layers."""

    def __init__(self, *, recomputes=False) -> None:
        super().__init__()
        self.embed = nn.Embedding(VALUES, 6)
        self.first = nn.Sequential(nn.Linear(24, 32), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.out = nn.Linear(32, 2)
        self.recomputes = recomputes

    def forward(self, ids):
        """Return logits (rows, 2): different, same."""
        vectors = self.embed(ids).flatten(1)
        if self.recomputes:
            return self.out(self.second(checkpoint(self.first, vectors, use_reentrant=False)))
        return self.out(self.second(self.first(vectors)))


def network(**given):
    """The network with numbers that a seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(**given)


@pytest.fixture(scope="module")
def split():
    """Pairs of hierarchical equality; train, dev and test share no input, as base or source."""
    equality = CausalModel(
        dict.fromkeys("wxyz", range(VALUES)),
        {
            "left": lambda w, x: w == x,
            "right": lambda y, z: y == z,
            "answer": lambda left, right: left == right,
        },
    )
    inputs = list(itertools.product(range(VALUES), repeat=4))
    random.Random(0).shuffle(inputs)
    parts = {"test": inputs[:20], "dev": inputs[20:32], "train": inputs[32:]}

    def drawn(part, count):
        pairs = Pairs.from_causal_model(
            equality, "left", count,
            prompt=lambda s: (s["w"], s["x"], s["y"], s["z"]),
            answer=lambda s: int(s["answer"]), name=part, cluster=None,
            where=lambda pair: all(
                tuple(each.values()) in parts[part] for each in (pair.base, pair.source)
            ),
        )  # fmt: skip
        labelled = [
            Pair(
                pair.base, pair.source, pair.base_answer, pair.source_answer,
                labels={**pair.labels, "base": str(pair.base)},
            )
            for pair in pairs
        ]  # fmt: skip
        return Pairs(labelled, name=part, cluster="base")

    return drawn("train", 600), drawn("dev", 60), drawn("test", 160)


def taught(split, **given):
    """The causal that was asked, and what it taught."""
    causal = Causal(Model(network(), name="equality"))
    train, dev, _ = split
    how = {"variable": "left", "on": train, "dev": dev, "by": "base", "epochs": 60}
    return causal, causal.train_by_interchange(
        interchange(SITE), **{**how, "learning_rate": 0.01, **given}
    )


def test_a_network_taught_by_interchange_holds_the_variable_where_it_was_told(split):
    """Exchanges and plain runs are right on unseen inputs; the weights of the model stay."""
    causal, found = taught(split)
    test = split[2]
    assert found.alignment.accuracy(on=test).estimate > 0.97
    assert bool(found.alignment.accuracy(on=test) > found.alignment.unchanged(on=test))
    assert found.causal.accuracy(on=test).estimate > 0.97
    assert found.losses.interchange[-1] < 0.01 < found.losses.interchange[0]
    for kept, fresh in zip(causal.model.network.parameters(), network().parameters(), strict=True):
        assert torch.equal(kept, fresh)
    assert found.causal.model.sha256 != causal.model.sha256
    assert found.alignment.origin.model_sha256 == found.causal.model.sha256
    (note,) = [note for note in causal.trail.notes if "weights trained on" in note]
    assert "kept apart by 'base'; accuracy of interchange(first.output" in note
    with pytest.raises(EvidenceError, match="cannot be judged on the data it rests on"):
        found.alignment.accuracy(on=split[0])


def test_a_network_taught_the_task_alone_does_not(split):
    """With no weight on exchanges the task is learned as well, but the variable lies elsewhere."""
    _, found = taught(split, weight=0.0)
    assert found.causal.accuracy(on=split[0]).estimate == 1.0
    assert found.alignment.accuracy(on=split[2]).estimate < 0.8
    assert not bool(found.alignment.accuracy(on=split[2]) > 0.9)


def test_the_same_seed_teaches_the_same(split):
    """Two trainings give the same weights, bit for bit; another seed gives others."""
    hashes = [taught(split, epochs=2, seed=seed)[1].causal.model.sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_gradients_flow_through_live_sources():
    """They are those of a hand-written exchange in which both runs are differentiated."""
    pair = Pair((0, 1, 2, 0), (1, 1, 0, 2))
    net, again = network(), network()
    with differentiable(
        Model(net), interchange(SITE), Pairs([pair], name="one", cluster=None), sources="live"
    ) as (output,):
        output.at()[1].backward()
    base, source = (
        again.first(again.embed(torch.tensor([ids])).flatten(1)) for ids in (pair.base, pair.source)
    )
    again.out(again.second(torch.cat([source[:, :8], base[:, 8:]], dim=1)))[0, 1].backward()
    for each, by_hand in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.allclose(each.grad, by_hand.grad, atol=1e-6)
    constant = network()
    with differentiable(
        Model(constant), interchange(SITE), Pairs([pair], name="one", cluster=None)
    ) as (output,):
        output.at()[1].backward()
    assert not torch.allclose(constant.first[0].weight.grad, net.first[0].weight.grad)


def test_live_sources_cannot_be_recomputed_or_intervened_on():
    """Gradient checkpointing, and sources read under another edit, are refused by name."""
    pairs = Pairs([Pair((0, 1, 2, 0), (1, 1, 0, 2))], name="one", cluster=None)
    model = Model(network(recomputes=True), name="thrifty")
    with (
        pytest.raises(InterventionError, match="thrifty computed first anew for its gradients"),
        differentiable(model, interchange(SITE), pairs, sources="live") as (output,),
    ):
        output.at()[1].backward()
    with (
        pytest.raises(InterventionError, match="sources is 'life'; expected 'constant' or 'live'"),
        differentiable(model, interchange(SITE), pairs, sources="life"),
    ):
        pass
    nested = from_source("source", interchange(SITE), under=zero_ablate(module("embed")))
    with (
        pytest.raises(InterventionError, match="reads runs that are themselves intervened on"),
        differentiable(Model(network()), nested, pairs, sources="live"),
    ):
        pass


def test_an_adapter_is_trained_as_an_intervention(split):
    """Low-rank weights beside a frozen layer learn the task; the network stays as it is."""
    model = Model(network(), name="frozen")
    before = model.sha256
    for each in model.network.parameters():
        each.requires_grad = False
    drawn = torch.randn(32, 4, generator=torch.Generator().manual_seed(1)) / 6
    down, up = drawn.requires_grad_(), torch.zeros(4, 32, requires_grad=True)
    train = split[0][:200]
    answers = torch.tensor([pair.base_answer for pair in train])
    edit = adapter(module("second.0"), down, up)
    optimiser = torch.optim.Adam([down, up], lr=0.03)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        with differentiable(model, edit, train) as outputs:
            logits = torch.stack([output.at() for output in outputs])
            loss = nn.functional.cross_entropy(logits, answers)
            loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    causal = Causal(model)
    plain = causal.accuracy(on=train).estimate
    adapted = causal.accuracy(edit.frozen(), on=train, expect="base_answer").estimate
    assert losses[-1] < 0.5 * losses[0]
    assert adapted > plain + 0.3
    assert Model(model.network).sha256 == before


def adapted(split, **given):
    """A causal on a network of its own, and the adapter that it trained."""
    causal = Causal(Model(network(), name="frozen"))
    how = {"rank": 4, "on": split[0], "dev": split[1], "by": "base", "epochs": 40, "patience": 40}
    return causal, causal.train_adapter(
        module("second.0"), **{**how, "learning_rate": 0.03, **given}
    )


def test_train_adapter_turns_the_answer_beside_a_frozen_network():
    """Pronouns change in sentences never seen; weights and flags stay, the same seed repeats."""
    folder = Path(__file__).parents[2] / "hypotheses"
    pairs = Pairs.read(folder / "pairs" / "pronouns.jsonl", cluster="template")
    templates = list(dict.fromkeys(pairs.units))
    rest, test = pairs.split(by="template", test=templates[8:])
    train, dev = rest.split(by="template", test=templates[5:8])

    def trained(seed=0):
        causal = Causal(Model.load(str(folder / "schoolbook")))
        return causal, causal.train_adapter(
            mlp_output(0, pos="name"), rank=4, on=train, dev=dev, by="template", seed=seed,
            expect="source_answer", epochs=40, patience=40, learning_rate=0.02,
        )  # fmt: skip

    before = Model.load(str(folder / "schoolbook")).sha256
    causal, found = trained()
    assert causal.accuracy(on=test, expect="source_answer").estimate == 0.0
    assert causal.accuracy(found.intervention, on=test).estimate > 0.85
    fresh = Causal(Model.load(str(folder / "schoolbook")))
    assert found.fit.dev_accuracy == fresh.accuracy(found.intervention, on=dev).estimate
    assert found.losses[-1] < 0.1 * found.losses[0]
    assert Model(causal.model.network).sha256 == Model(fresh.model.network).sha256
    assert causal.model.sha256 == before
    for each in causal.model.network.parameters():
        assert each.requires_grad
        assert each.grad is None
    assert trained()[1] == found
    assert trained(seed=1)[1].intervention != found.intervention
    (note,) = [note for note in causal.trail.notes if "kept apart by 'template'" in note]
    assert note.startswith("adapter(mlp_output[0]@name, rank=4, scale=1) trained on 20 pairs of")


def test_an_adapter_is_not_judged_on_what_it_was_trained_on(split):
    """Training and dev pairs are refused."""
    causal, found = adapted(split, epochs=1)
    for seen in split[:2]:
        with pytest.raises(EvidenceError, match="an adapter cannot be judged on the data it rests"):
            causal.accuracy(found.intervention, on=seen, expect="base_answer")
    with pytest.raises(EvidenceError, match="an adapter cannot be judged on the data it rests"):
        adapted(split, dev=split[0])


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"rank": 0}, InterventionError, "rank is 0; expected a whole number from 1 to 32"),
        ({"rank": 33}, InterventionError, "rank is 33; expected a whole number from 1 to 32"),
        ({"epoch": 3}, InterventionError, "train_adapter: Recipe.__init__() got an unexpected"),
        ({"learning_rate": 1e38}, InterventionError, "the training loss is nan; use a lower"),
    ],
)
def test_adapters_that_make_no_sense_are_refused(split, arguments, error, message):
    """A wrong setting is named with its value."""
    with pytest.raises(error, match=re.escape(message)):
        adapted(split, **arguments)


def test_adapters_need_the_answer_that_they_are_trained_to_give(split):
    """A pair without it is named."""
    bare = Pairs([Pair((0, 0, 0, 0), labels={"base": "x"})], name="bare", cluster=None)
    with pytest.raises(PairError, match="pair bare/0 has no base_answer, which it is trained to"):
        adapted(split, on=bare)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"weight": -1.0}, InterventionError, "weight is -1.0; expected a number from 0"),
        ({"epoch": 3}, InterventionError, "train_by_interchange: Recipe.__init__() got an unexp"),
        ({"variable": "right"}, PairError, "'left' is exchanged, but the alignment is of 'right'"),
        ({"epochs": 0}, InterventionError, "epochs is 0; expected a whole number from 1"),
        ({"learning_rate": 1e30}, InterventionError, "the training loss is nan; use a lower"),
    ],
)
def test_trainings_that_make_no_sense_are_refused(split, arguments, error, message):
    """A wrong setting is named with its value."""
    with pytest.raises(error, match=re.escape(message)):
        taught(split, **arguments)


def test_networks_and_pairs_that_cannot_be_trained_are_refused(split):
    """Frozen weights, edits without a source, pairs without answers, and seen dev pairs."""
    train, dev, _ = split
    causal = Causal(Model(network(), name="equality"))
    how = {"variable": "left", "on": train, "dev": dev, "by": "base", "epochs": 1}
    with pytest.raises(InterventionError, match="takes nothing from a source prompt; train with"):
        causal.train_by_interchange(zero_ablate(SITE), **how)
    with pytest.raises(EvidenceError, match="a training cannot be judged on the data it rests on"):
        causal.train_by_interchange(interchange(SITE), **{**how, "dev": train})
    bare = Pairs(
        [Pair((0, 0, 0, 0), (0, 1, 0, 0), labels={"base": "x"})], name="bare", cluster=None
    )
    with pytest.raises(PairError, match="pair bare/0 has no base_answer; training needs both"):
        causal.train_by_interchange(interchange(SITE), **{**how, "on": bare})
    for each in causal.model.network.parameters():
        each.requires_grad = False
    with pytest.raises(InterventionError, match=r"every weight of equality .* is frozen; unfreeze"):
        causal.train_by_interchange(interchange(SITE), **how)
