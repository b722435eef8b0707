"""The network is left as it was found: hooks, flags, weights, captures, and the caller's things."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from causaltest.engine.hooks import attached, evaluating, watched
from causaltest.engine.intervening import intervene
from causaltest.engine.loading import fingerprint
from causaltest.engine.model import Model
from causaltest.engine.run import score, score_identity
from causaltest.errors import InterventionError
from causaltest.interventions import add, interchange, mean_ablate, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    Site,
    block_input,
    block_output,
    mlp_input,
    mlp_output,
    module,
)

# The components of a transformer's block; other kinds of network have others.
HEAD_COMPONENTS = (
    "head_attention_value_output", "head_query_output", "head_key_output", "head_value_output",
)  # fmt: skip
IN_A_BLOCK = (
    "block_input", "block_output", "attention_input", "attention_output",
    "attention_value_output", "query_output", "key_output", "value_output", "mlp_input",
    "mlp_activation", "mlp_output",
)  # fmt: skip
PAIRS = Pairs(
    [
        Pair((4, 8, 15, 16), (23, 42, 4, 8), positions={"one": 1}),
        Pair((16, 23, 42, 4), (8, 15, 16, 23), positions={"one": {"base": 2, "source": 0}}),
        Pair((9, 8, 7), (1, 2, 3), positions={"one": -1}),
    ],
    name="numbers",
    cluster=None,
)
SITES = (block_output(0, pos="one"), mlp_output(1, pos="one"), block_input(1, pos="one"))


def state(network: nn.Module) -> dict[str, object]:
    """Return everything about a network that a run could leave changed."""
    return {
        "hooks": {
            f"{path}.{kind}": tuple(getattr(each, kind))
            for path, each in network.named_modules()
            for kind in vars(each)
            if kind.startswith("_") and "hooks" in kind and hasattr(getattr(each, kind), "keys")
        },
        "training": {path: each.training for path, each in network.named_modules()},
        "requires_grad": {name: each.requires_grad for name, each in network.named_parameters()},
        "weights": fingerprint(network),
        "attributes": {path: set(vars(each)) for path, each in network.named_modules()},
        "grads": {name: each.grad for name, each in network.named_parameters()},
    }


class Broken(Exception):  # noqa: N818 - it is nobody's error
    """An error of the network's own."""


def run_well(model: Model) -> None:
    """Score every pair under interchanges."""
    score(model, interchange(*SITES), PAIRS, lambda output: float(output.logits.sum()))


def read_early(model: Model) -> None:
    """Read a site before the last module, so that the pass ends early."""
    model.read(block_output(0), list(PAIRS))


def fail_in_forward(model: Model) -> None:
    """Let a module after the edits raise."""
    last = model.network.get_submodule(model.architecture.blocks[-1])
    handle = last.register_forward_hook(_raise)
    try:
        with pytest.raises(Broken):
            score(model, zero_ablate(*SITES), PAIRS, lambda _output: 0.0)
    finally:
        handle.remove()


def _raise(*_: object) -> None:
    raise Broken


def fail_in_edit(model: Model) -> None:
    """Let the edit itself be refused, inside the forward pass."""
    with pytest.raises(InterventionError, match="the vector has 2 numbers"):
        score(model, add(mlp_output(1), [1.0, 2.0]), PAIRS, lambda _output: 0.0)


def fail_in_metric(model: Model) -> None:
    """Let the metric raise, after the forward pass."""
    with pytest.raises(ZeroDivisionError):
        score(model, zero_ablate(mlp_output(1)), PAIRS, lambda _output: 1 / 0)


def fail_in_body(model: Model) -> None:
    """Raise in the body of `with intervene(...)`."""
    with pytest.raises(Broken), intervene(model, zero_ablate(mlp_output(1))) as run:  # noqa: PT012
        run((1, 2, 3))
        raise Broken


def survey_by_path(model: Model) -> None:
    """Have the engine watch every module, as it does for sites by path."""
    model.read(module(model.architecture.blocks[0] + ".mlp"), list(PAIRS))


@pytest.mark.parametrize(
    "action",
    [
        run_well, read_early, fail_in_forward, fail_in_edit, fail_in_metric, fail_in_body,
        survey_by_path,
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox-parallel"])
def test_the_network_is_left_as_found(family, action: Callable[[Model], None], fresh) -> None:
    """Hooks, training flags, gradients, weights and attributes are afterwards what they were."""
    model = fresh(family)
    network = model.network.train()
    list(network.modules())[5].eval()  # training flags that differ from module to module
    next(network.parameters()).requires_grad_(False)
    network.register_forward_hook(lambda *_: None)
    before = state(network)
    action(model)
    assert state(network) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("action", [run_well, read_early, fail_in_forward, fail_in_edit])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_hidden_states_can_still_be_asked_for(family, action, fresh) -> None:
    """`output_hidden_states` gives every layer's state, before and after the engine ran."""
    model = fresh(family)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        before = model.network(ids, output_hidden_states=True).hidden_states
        action(model)
        after = model.network(ids, output_hidden_states=True).hidden_states
    assert len(after) == len(before) == model.n_layers + 1
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_hidden_states_asked_for_first_afterwards(fresh) -> None:
    """Captures that transformers installs after the engine ran see every layer."""
    model = fresh("llama")
    run_well(model)
    states = model.network(torch.tensor([[3, 1, 4]]), output_hidden_states=True).hidden_states
    assert len(states) == 3


def test_hooks_of_the_caller_see_what_they_saw(fresh) -> None:
    """The caller's hooks fire once in each pass, in their order, and see a module's own output."""
    model = fresh("gpt2")
    target = model.network.transformer.h[1].mlp.c_proj
    seen: list[tuple[str, torch.Tensor]] = []
    handles = [
        target.register_forward_pre_hook(lambda _m, args: seen.append(("pre", args[0].clone()))),
        target.register_forward_hook(lambda _m, _a, output: seen.append(("post", output.clone()))),
    ]
    assert model.components  # found by passes of their own
    seen.clear()
    model.run([PAIRS[0]])
    plain = list(seen)
    seen.clear()
    with intervene(model, zero_ablate(mlp_output(1))) as run:
        run(PAIRS[0].base)
    for handle in handles:
        handle.remove()
    assert [kind for kind, _ in seen] == ["pre", "post"]
    assert [kind for kind, _ in plain] == ["pre", "post"]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, seen, strict=True))


def test_a_hook_of_the_caller_that_edits_is_respected(fresh) -> None:
    """The engine reads what the caller's own hooks made of an activation."""
    model = fresh("gpt2")
    handle = model.network.transformer.h[0].register_forward_hook(lambda _m, _a, out: out + 1)
    shifted = model.read(block_output(0), [(1, 2)])[block_output(0)][0]
    handle.remove()
    plain = model.read(block_output(0), [(1, 2)])[block_output(0)][0]
    assert torch.allclose(shifted, plain + 1)


def test_things_of_the_caller_stay_as_they_are(fresh) -> None:
    """Prompts, lists and vectors that were handed over are not written to."""
    model = fresh("llama")
    ids = [3, 1, 4]
    prompts = [ids, (5, 6)]
    vector = torch.ones(32)
    sites = [block_output(0), mlp_output(1)]
    model.read(sites, prompts)
    model.run(prompts)
    with intervene(model, add(block_input(0, pos=0), vector)) as run:
        run(ids)
    assert prompts == [[3, 1, 4], (5, 6)]
    assert sites == [block_output(0), mlp_output(1)]
    assert torch.equal(vector, torch.ones(32))


def test_what_was_read_is_a_copy(fresh) -> None:
    """Writing to an activation that was read reaches neither the network nor a later read."""
    model = fresh("gpt2")
    site = block_output(0)
    first = model.read(site, [(1, 2)])[site][0]
    kept = first.clone()
    first.zero_()
    assert torch.equal(model.read(site, [(1, 2)])[site][0], kept)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox-sequential", "bert", "gemma2"])
@pytest.mark.parametrize("pos", [None, "one"])
def test_identity_edits_leave_logits_bit_equal(family, pos, tiny) -> None:
    """Replacing any component by itself changes no bit of the logits."""
    model = tiny(family)
    plain = [output.logits for output in model.run(list(PAIRS))]
    sites = [Site("embedding", pos=pos)]
    for layer in range(model.n_layers):
        sites += [Site(name, layer=layer, pos=pos) for name in IN_A_BLOCK]
        sites += [Site(name, layer=layer, head=1, pos=pos) for name in HEAD_COMPONENTS]
    for chosen in [*([site] for site in sites), sites]:
        found: dict[str, torch.Tensor] = {}

        def keep(output, found=found) -> float:
            found[output.row.pair.id] = output.logits
            return 0.0

        score_identity(model, chosen, PAIRS, keep)
        for pair, expected in zip(PAIRS, plain, strict=True):
            assert torch.equal(found[pair.id], expected), chosen


def test_dropout_is_off_and_batch_statistics_stand_still() -> None:
    """A network in training mode runs without dropout, and its running statistics do not move."""
    network = nn.Sequential(
        nn.Embedding(9, 4), nn.Dropout(0.5), nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 5)
    ).train()
    mean = network[3].running_mean.clone()
    first, again = (Model(network).run([(1, 2, 3)])[0].logits for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(network[3].running_mean, mean)
    assert network[3].num_batches_tracked == 0
    assert all(each.training for each in network.modules())


def test_evaluating_restores_after_an_exception() -> None:
    """Each module's own training flag comes back, whatever happens in between."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    network[0].eval()
    with pytest.raises(Broken), evaluating(network):  # noqa: PT012
        assert not any(each.training for each in network.modules())
        raise Broken
    assert [each.training for each in network.modules()] == [True, False, True]


def test_handles_are_removed_if_attaching_fails() -> None:
    """A path that does not exist leaves no hook on those before it."""
    network = nn.Sequential(nn.Linear(2, 2))
    operations = [
        ("0", "output", lambda _tensor: None),
        ("nowhere", "output", lambda _tensor: None),
    ]
    with pytest.raises(AttributeError), attached(network, operations):
        pass
    assert not network[0]._forward_hooks


def test_attaching_may_switch_dropout_off_as_well() -> None:
    """With `evaluates` each module's flag is off within and back after, also where it fails."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    network[0].eval()
    for operations, error in (
        ([("0", "output", _raise)], Broken), ([("nowhere", "output", _raise)], AttributeError),
    ):  # fmt: skip
        with pytest.raises(error), attached(network, operations, evaluates=True):  # noqa: PT012
            assert not any(each.training for each in network.modules())
            network(torch.ones(1, 2))
        assert [each.training for each in network.modules()] == [True, False, True]
        assert not network[0]._forward_hooks
    with attached(network, ()):
        assert network.training


class Registering(nn.Module):
    """A module that keeps count of the hooks on it, by a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.registered = 0

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register, and count."""
        self.registered += 1
        return super().register_forward_hook(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input."""
        return x


def test_a_module_with_a_way_of_its_own_to_register_hooks_is_asked() -> None:
    """What a kind of module does where hooks are registered is done."""
    network = nn.Sequential(Registering())
    with attached(network, [("0", "output", lambda x: x + 1)]):
        assert network(torch.zeros(1)) == 1
    assert network[0].registered == 1
    assert not network[0]._forward_hooks


def test_hooks_of_the_caller_come_and_go_in_a_context() -> None:
    """Handles that the caller makes and removes while operations are attached are of no concern."""
    network = nn.Sequential(nn.Identity())
    before = network[0].register_forward_hook(lambda _m, _a, x: x + 1)
    with attached(network, [("0", "output", lambda x: x * 10)]):
        within = network[0].register_forward_hook(lambda _m, _a, x: x + 3)
        assert network(torch.zeros(1)) == 13
        before.remove()
        assert network(torch.ones(1)) == 13
    assert list(network[0]._forward_hooks) == [within.id]
    assert network(torch.zeros(1)) == 3


def test_parts_without_and_with_several_places_are_found() -> None:
    """Dropout is off in parts used twice, in parts of parts set to None, and in a ring of parts."""
    shared = nn.Sequential(nn.Dropout(0.5))
    network = nn.Sequential(shared, nn.Linear(2, 2), shared).train()
    network[1] = None
    ring = nn.Sequential(nn.Dropout(0.5)).train()
    ring[0].add_module("back", ring)
    for each, parts in ((network, [network, shared, shared[0]]), (ring, [ring, ring[0]])):
        with attached(each, (), evaluates=True):
            assert not any(part.training for part in parts)
        assert all(part.training for part in parts)


def test_operations_on_one_module_apply_in_their_order() -> None:
    """Of several operations on one side of one module each gets what the one before made."""
    network = nn.Sequential(nn.Identity())
    operations = [("0", "output", lambda x: x + 1), ("0", "output", lambda x: x * 10)]
    with attached(network, operations):
        assert network(torch.tensor([2.0])).item() == 30
    assert network(torch.tensor([2.0])).item() == 2


def test_input_and_output_of_one_module_can_both_be_edited(fresh) -> None:
    """An edit at a module's input is in force when its output is edited, and not undone by it."""
    model = fresh("gpt2")
    mlp = model.network.transformer.h[0].mlp
    both = add(mlp_input(0), [1.0] * 24) + add(mlp_output(0), [2.0] * 24)
    plain = model.read([mlp_input(0), block_output(0), mlp_output(0)], [(1, 2, 3)])
    wanted: list[torch.Tensor] = []
    handle = model.network.transformer.h[1].register_forward_pre_hook(
        lambda _m, args: wanted.append(args[0][0].detach())
    )
    with intervene(model, both) as run:
        run((1, 2, 3))
    handle.remove()
    with torch.no_grad():
        written = mlp(plain[mlp_input(0)][0] + 1.0) + 2.0
    stream = plain[block_output(0)][0] - plain[mlp_output(0)][0]
    assert torch.allclose(wanted[-1], stream + written, atol=1e-5)


class ByKeyword(nn.Module):
    """Hands activations over by keyword, as most transformers do to their sublayers."""

    def __init__(self, **names: str) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(9, 4), _Inner()
        self.names = names

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        return self.inner(**{name: x * float(scale) for name, scale in self.names.items()})


class _Inner(nn.Module):
    def forward(self, mask=None, hidden_states=None, query=None, key=None) -> torch.Tensor:
        return torch.stack([x for x in (hidden_states, query, key) if x is not None]).sum(0)


def test_an_input_by_keyword_is_read_and_edited() -> None:
    """The activation is found among keywords by its name, and by being the only tensor."""
    for names in ({"mask": "0", "hidden_states": "1"}, {"key": "1"}):
        model = Model(ByKeyword(**names))
        expected = model.network.table.weight[[3, 4]]
        site = module("inner", side="input")
        assert torch.equal(model.read(site, [(3, 4)])[site][0], expected)
        with intervene(model, zero_ablate(site.at(1))) as run:
            logits = run((3, 4)).logits
        assert torch.equal(logits, expected * torch.tensor([[1.0], [0.0]]))


def test_an_input_among_several_is_refused() -> None:
    """Where several keywords could be the activation, none is taken by guess."""
    model = Model(ByKeyword(query="1", key="2"))
    with pytest.raises(
        InterventionError,
        match=re.escape(
            "inner.input: cannot tell which argument is the activation (query, key); "
            "use the output of the module before it"
        ),
    ):
        model.read(module("inner", side="input"), [(3, 4)])


def test_a_module_without_tensors_is_refused() -> None:
    """A module that returns no tensor is named, with what it returned."""

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> str:
            return "nothing"

    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.odd = nn.Embedding(9, 4), Odd()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.table(ids)
            self.odd(x)
            return x

    with pytest.raises(InterventionError, match=r"odd.output holds no tensor .* \(it is a str\)"):
        Model(Host()).read(module("odd"), [(1, 2)])


def test_mean_ablation_leaves_no_hook_either(fresh) -> None:
    """Reading reference means and editing in one call leaves the hook dicts as they were."""
    model = fresh("gpt2")
    before = state(model.network)
    score(model, mean_ablate(*SITES), PAIRS, lambda output: float(output.logits.sum()))
    assert state(model.network) == before


def test_watched_tells_every_path_of_a_shared_module() -> None:
    """A module with two paths is told of under both, once for each call."""
    shared = nn.Linear(2, 2)
    network = nn.Sequential(shared, shared)
    calls: list[str] = []
    with watched(network, lambda path, _given, _output: calls.append(path)):
        network(torch.ones(1, 2))
    assert sorted(calls) == ["0", "0", "1", "1"]
    assert not shared._forward_hooks
