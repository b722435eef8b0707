"""Numbers of plain runs that are kept: what changes on the way is seen, and nothing is stale."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from causaltest import Causal, Model, Pair, Pairs, interchange, module
from causaltest.cache import Cache
from causaltest.engine.standing import standing

EDIT = interchange(module("0", pos="end"))
CHANGED = "the network was changed since earlier numbers were measured"


def pairs_of(*, ids: tuple[str, ...] = ("a", "b", "c")) -> Pairs:
    """Pairs whose last tokens differ."""
    made = [Pair((1, i), (2, i + 3), base_answer=i, source_answer=i + 3) for i in range(3)]
    named = [
        Pair(each.base, each.source, each.base_answer, each.source_answer, id=name)
        for each, name in zip(made, ids, strict=True)
    ]
    return Pairs(named, name="toy", cluster=None)


def toy() -> nn.Sequential:
    """An embedding and a linear map."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))


def said(network: nn.Module, prompt: object) -> list[float]:
    """What a network says at the last token of a prompt."""
    assert isinstance(prompt, tuple)
    with torch.no_grad():
        return network(torch.tensor(list(prompt)))[-1].tolist()


def by_hand(network: nn.Sequential, pairs: Pairs) -> list[float]:
    """The change in logit difference when the last embedding is the source's."""
    found = []
    for pair in pairs:
        base, source = said(network, pair.base), said(network, pair.source)
        here, there = int(pair.base_answer or 0), int(pair.source_answer or 0)
        found.append((source[here] - source[there]) - (base[here] - base[there]))
    return found


def _in_place(network: nn.Sequential) -> None:
    with torch.no_grad():
        network[1].weight *= 0.5


def _behind_the_back(network: nn.Sequential) -> None:
    network[1].weight.data *= 0.5


def _two_rows(network: nn.Sequential) -> None:
    network[1].weight.data[[0, 3]] = network[1].weight.data[[3, 0]]


def _another_tensor(network: nn.Sequential) -> None:
    network[1].weight.data = network[1].weight.data * 0.5


def _another_module(network: nn.Sequential) -> None:
    network[1] = nn.Linear(8, 9)


def _a_hook(network: nn.Sequential) -> None:
    network[1].register_forward_hook(lambda _module, _given, output: output * 0.5)


WAYS = [_in_place, _behind_the_back, _two_rows, _another_tensor, _another_module, _a_hook]


@pytest.mark.parametrize("kept", [False, True], ids=["", "cached"])
@pytest.mark.parametrize("change", WAYS)
def test_a_network_that_was_changed_is_measured_anew(change, kept, tmp_path) -> None:
    """Base runs are those of the network as it is now, and the report says that it changed."""
    network, pairs = toy(), pairs_of()
    causal = Causal(network, cache=Cache(tmp_path) if kept else None)
    before = causal.effect(EDIT, on=pairs)
    assert not [note for note in causal.trail.notes if note.startswith(CHANGED)]
    change(network)
    after = causal.effect(EDIT, on=pairs)
    assert [note for note in causal.trail.notes if note.startswith(CHANGED)]
    assert list(after.values) == pytest.approx(by_hand(network, pairs), abs=1e-5)
    assert list(after.values) != pytest.approx(list(before.values), abs=1e-3)


def test_a_network_that_stays_is_run_no_more_often() -> None:
    """Base runs are not repeated for a second measurement, whatever mode the network is in."""
    network, pairs = toy(), pairs_of()
    causal = Causal(network)
    causal.effect(EDIT, on=pairs)
    calls: list[int] = []
    before = standing(network)
    network.train()
    assert standing(network) == before
    causal._runs._model.run = calls.append  # type: ignore[method-assign]
    causal.effect(EDIT, on=pairs)
    assert not calls


def test_a_forward_of_ones_own_is_asked_each_time() -> None:
    """A function that runs the network may depend on anything, so that nothing of it is kept."""
    network, pairs, factor = toy(), pairs_of(), [1.0]
    causal = Causal(Model(network, forward=lambda net, ids, _mask: factor[0] * net(ids)))
    causal.effect(EDIT, on=pairs)
    factor[0] = 2.0
    after = causal.effect(EDIT, on=pairs)
    assert list(after.values) == pytest.approx([2 * each for each in by_hand(network, pairs)])


def test_a_metric_that_depends_on_more_than_its_output_is_asked_each_time() -> None:
    """What a caller's function said once is not taken for what it says later."""
    network, pairs, wanted = toy(), pairs_of(), [0]

    def one_logit(output, _pair):
        return output.at("end")[wanted[0]]

    causal = Causal(network)
    for wanted[0] in (0, 4):
        effect = causal.effect(EDIT, on=pairs, metric=one_logit)
        expected = [
            said(network, each.source)[wanted[0]] - said(network, each.base)[wanted[0]]
            for each in pairs
        ]
        assert list(effect.values) == pytest.approx(expected, abs=1e-5)


def test_a_metric_sees_the_pairs_that_it_is_asked_about() -> None:
    """Pairs of the same content have their own ids in the eyes of a metric."""
    causal, seen = Causal(toy()), []

    def noted(output, pair):
        seen.append(pair.id)
        return output.at("end")[0]

    for ids in (("a", "b", "c"), ("d", "e", "f")):
        seen.clear()
        causal.effect(EDIT, on=pairs_of(ids=ids), metric=noted)
        assert set(seen) == set(ids)


@pytest.mark.parametrize("way", ["torch", "numpy"])
def test_a_metric_may_write_on_what_it_is_given(way) -> None:
    """What one metric does to its logits, another does not read."""
    network, pairs = toy(), pairs_of()

    def scribbling(output, _pair):
        logits = output.logits if way == "torch" else output.logits.detach().numpy()
        value = float(logits[-1][2])
        logits *= 3.0
        logits += 1.0
        return value

    causal = Causal(network)
    effect = causal.effect(EDIT, on=pairs, metric=scribbling)
    third = [said(network, each.source)[2] - said(network, each.base)[2] for each in pairs]
    assert list(effect.values) == pytest.approx(third, abs=1e-5)
    after = causal.effect(EDIT, on=pairs)
    assert list(after.values) == pytest.approx(by_hand(network, pairs), abs=1e-5)


def test_the_hash_of_a_model_is_that_of_its_weights_now() -> None:
    """A hash that was asked before the weights changed is not that of the model any more."""
    model = Model(toy())
    before = model.sha256
    assert model.sha256 == before == Model(toy()).sha256
    model.network.get_submodule("1").weight.data *= 2.0
    assert model.sha256 != before
    assert model.sha256 == Model(model.network).sha256


@pytest.mark.parametrize(
    "kind",
    [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 3, 700, 40_000])
def test_any_one_number_that_changes_shows(kind, size) -> None:
    """In weights of every type and size, at the beginning, in the middle and at the end."""
    network = nn.Module()
    network.register_buffer("held", torch.zeros(size, dtype=kind))
    before = standing(network)
    for place in (0, size // 2, size - 1):
        network.get_buffer("held").data[place] = 1
        assert standing(network) != before
        network.get_buffer("held").data[place] = 0
        assert standing(network)[0][-1] == before[0][-1]  # type: ignore[index]
