"""Threads, nested contexts and the caller's hooks: no run ever has the edits of another."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causaltest.engine.gradients import differentiable
from causaltest.engine.hooks import attached, evaluating
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.engine.turns import callers_hooks, in_training, muted, turn
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention, add, interchange, noise, scale, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import attention_output, block_output, embedding, mlp_output, module

IDS = (3, 14, 15, 9, 26)
PAIRS = Pairs(
    [Pair((4, 8, 15, 16), (23, 42, 4, 8)), Pair((16, 23, 42), (8, 15, 16))],
    name="numbers",
    cluster=None,
)


def kinds(width: int, layer: int) -> list[Intervention]:
    """Return edits of different kinds and places."""
    return [
        zero_ablate(mlp_output(layer, pos=1)),
        add(block_output(layer, pos=2), [1.0] * width),
        scale(attention_output(layer), -2.0),
        noise(embedding(pos="end"), sd=1.0, draws=1),
    ]


def logits_under(model: Model, edit: Intervention | None) -> torch.Tensor:
    """Return the logits of the prompt under an edit, or without."""
    if edit is None:
        return model.run([IDS])[0].logits
    with intervene(model, edit) as run:
        return run(IDS).logits


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run jobs in threads that start together."""
    barrier = threading.Barrier(len(jobs))

    def start(job: Callable[[], Any]) -> Any:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(start, jobs))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("training", [False, True])
def test_threads_share_a_model(family, training, fresh) -> None:
    """Runs, reads, edits and texts in eight threads give what they give alone."""
    model = fresh(family)
    model.network.train(training)
    width = model.access(embedding()).width
    site = block_output(1)
    jobs: list[Callable[[], torch.Tensor]] = [
        functools.partial(logits_under, model, edit) for edit in [*kinds(width, 0), None]
    ]
    jobs += [
        lambda: model.read(site, [IDS])[site][0],
        lambda: torch.tensor(model.generate(IDS, max_new_tokens=3)[0].ids),
        lambda: torch.tensor(
            model.generate(IDS, max_new_tokens=3, intervention=scale(site, 3.0), when="every step")[
                0
            ].ids
        ),
    ]
    alone = [job() for job in jobs]
    assert not any(torch.equal(alone[4], each) for each in alone[:4])
    repeated = [functools.partial(_many, job, 6) for job in jobs]
    for found, expected in zip(at_once(repeated), alone, strict=True):
        assert all(torch.equal(each, expected) for each in found)
    assert all(each.training == training for each in model.network.modules())


def _many(job: Callable[[], torch.Tensor], times: int) -> list[torch.Tensor]:
    return [job() for _ in range(times)]


def test_threads_share_a_part_of_a_network(fresh) -> None:
    """A model of a network and a model of its body never see each other's edits."""
    whole = fresh("gpt2")
    body = Model(whole.network.transformer, name="body")
    edit = scale(block_output(1), 3.0)
    plain = logits_under(body, None)
    alone = logits_under(whole, edit)
    found = at_once([
        lambda: [logits_under(whole, edit) for _ in range(20)],
        lambda: [logits_under(body, None) for _ in range(20)],
    ])  # fmt: skip
    assert all(torch.equal(each, alone) for each in found[0])
    assert all(torch.equal(each, plain) for each in found[1])


def test_another_thread_waits_for_gradients_to_be_taken(fresh) -> None:
    """A run that begins while a context with edits is open goes on when it has ended."""
    model = fresh("gpt2")
    plain = logits_under(model, None)
    found: list[torch.Tensor] = []
    other = threading.Thread(target=lambda: found.append(logits_under(model, None)))
    with differentiable(model, scale(block_output(0), 2.0), PAIRS[:1]):
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
        assert not found
    other.join(timeout=20)
    assert torch.equal(found[0], plain)


def test_networks_that_share_nothing_run_side_by_side() -> None:
    """A turn on one network keeps nobody from another."""
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    done = threading.Event()

    def other() -> None:
        with turn(two):
            done.set()

    with turn(one):
        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(timeout=20)
    thread.join()


def test_turns_that_end_at_once_leave_nobody_waiting() -> None:
    """Thousands of short turns of many threads come one after the other, and all come."""
    networks = [nn.Sequential(shared := nn.Linear(2, 2)), nn.Sequential(shared)]
    inside: list[int] = []
    most: list[int] = []

    def often(network: nn.Module) -> int:
        for _ in range(1000):
            with turn(network):
                inside.append(0)
                most.append(len(inside))
                inside.pop()
        return 1000

    done = at_once([lambda each=each: often(each) for each in networks * 4])
    assert done == [1000] * 8
    assert set(most) == {1}


def test_a_turn_ends_with_an_error() -> None:
    """A turn that ends by an exception leaves the network to others."""
    network = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), turn(network), turn(network):
        raise ZeroDivisionError
    assert at_once([lambda: _taken(network)]) == [True]


def _taken(network: nn.Module) -> bool:
    with turn(network):
        return True


class Odd(nn.Module):
    """A part that has no training flag of its own, as compiled ones."""

    @property
    def training(self) -> bool:
        """The flag."""
        return self.flag

    @training.setter
    def training(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.flag = value


def _deep() -> nn.Module:
    inner: nn.Module = nn.Dropout()
    for _ in range(16):  # 2 ** 16 ways lead to it
        inner = nn.Sequential(inner, inner)
    return inner


def _cyclic() -> nn.Module:
    network = nn.Sequential(nn.Dropout())
    network.add_module("itself", network)
    return network


def _gap() -> nn.Module:
    network = nn.Sequential(nn.Dropout())
    network.add_module("none", None)
    return network


@pytest.mark.parametrize(
    "made", [_deep, _cyclic, _gap, Odd, lambda: nn.Sequential(Odd(), nn.Dropout())]
)
def test_every_module_in_training_is_found(made: Callable[[], nn.Module]) -> None:
    """Also where modules stand in many places, hold themselves, or keep their flag elsewhere."""
    network = made()
    assert set(in_training(network)) == set(network.modules())
    last = list(network.modules())[-1]
    last.training = False
    assert set(in_training(network)) == set(network.modules()) - {last}
    with evaluating(network):
        assert not any(each.training for each in network.modules())
    assert set(in_training(network)) == set(network.modules()) - {last}


# Contexts within contexts


def test_nested_contexts_have_their_own_edits(fresh) -> None:
    """Two interventions open at once, on one model or two, each run as if it were alone."""
    model, other = fresh("gpt2"), fresh("llama")
    first, second = kinds(24, 0)[:2]
    third = zero_ablate(mlp_output(1))
    alone = [logits_under(model, first), logits_under(model, second), logits_under(other, third)]
    plain = logits_under(model, None)
    with (
        intervene(model, first) as a,
        intervene(model, second) as b,
        intervene(other, third) as c,
    ):
        for run, expected in zip((a, b, c, b, a), (*alone, alone[1], alone[0]), strict=True):
            assert torch.equal(run(IDS).logits, expected)
        assert torch.equal(logits_under(model, None), plain)
    assert [len(run.ledger) for run in (a, b, c)] == [1, 1, 1]


def test_runs_within_a_context_of_gradients_are_plain(fresh) -> None:
    """Runs, reads, edits and the exploration of the model do not have the outer edits."""
    model = fresh("gpt2")
    twin = Model(model.network, name="twin")
    edit, inner, site = scale(block_output(0), 2.0), zero_ablate(mlp_output(1)), block_output(2)
    plain, alone = logits_under(model, None), logits_under(model, inner)
    read = model.read(site, [IDS])[site][0]
    with differentiable(model, edit, Pairs([Pair(IDS)], name="one", cluster=None)) as (output,):
        assert not torch.equal(output.logits, plain)
        assert torch.equal(logits_under(model, None), plain)
        assert torch.equal(logits_under(model, inner), alone)
        assert torch.equal(model.read(site, [IDS])[site][0], read)
        assert twin.components == model.components
        output.logits.square().sum().backward()
        again = torch.cat([each.grad.flatten() for each in model.network.parameters()])
    model.network.zero_grad()
    with differentiable(model, edit, Pairs([Pair(IDS)], name="one", cluster=None)) as (output,):
        output.logits.square().sum().backward()
    assert torch.equal(
        again, torch.cat([each.grad.flatten() for each in model.network.parameters()])
    )


def test_gradients_under_two_interventions_at_once_are_refused(fresh) -> None:
    """Recomputed activations could have the edits of either, so one context must end first."""
    model = fresh("gpt2")
    edit = scale(block_output(0), 2.0)
    with (
        differentiable(model, edit, PAIRS[:1]),
        pytest.raises(InterventionError) as error,
        differentiable(model, edit, PAIRS[:1]),
    ):
        pass
    assert str(error.value) == (
        "scale(block_output[0], factor=2): gradients of gpt2 are being taken under another "
        "intervention\nend that context first, or join both interventions with + in one"
    )
    with differentiable(model, edit, PAIRS[:1]) as outputs:
        assert len(outputs) == 1


def test_operations_that_give_way_come_back() -> None:
    """They are aside while others are attached, even none, and after an error in force again."""
    network, x = nn.Sequential(nn.Identity()), torch.ones(1)
    with attached(network, [("0", "output", lambda t: t + 1)], give_way=True):
        assert network(x) == 2
        with attached(network, [("0", "output", lambda t: t * 10)]):
            assert network(x) == 10
            with attached(network, []):
                assert network(x) == 10
        with pytest.raises(ZeroDivisionError), attached(network, []):
            raise ZeroDivisionError
        assert network(x) == 2
    assert network(x) == 1


# What gradients cannot be taken of


class NoGradient(nn.Module):
    """A layer whose arithmetic autograd does not follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input, cut off."""
        return x.detach().clone()


@pytest.mark.parametrize("why", ["frozen", "switched off", "cut off"])
def test_outputs_without_gradients_are_refused(why) -> None:
    """The reason is told: nothing is trained, gradients are off, or a layer cuts them off."""
    network = nn.Sequential(nn.Embedding(5, 4), NoGradient() if why == "cut off" else nn.Identity())
    network.requires_grad_(why == "switched off")
    model, pairs = Model(network, name="toy"), Pairs([Pair((1, 2))], name="one", cluster=None)
    steer = torch.zeros(4, requires_grad=True) if why == "cut off" else [1.0] * 4
    messages = {
        "frozen": "add(0.output, 4 numbers) holds no trained tensor, and every weight of toy is "
        "frozen, so there is nothing to take gradients of\n"
        "give a tensor with requires_grad=True, or unfreeze weights",
        "switched off": "add(0.output, 4 numbers): gradients are switched off here; leave "
        "torch.no_grad() or torch.inference_mode()",
        "cut off": "add(0.output, 4 numbers): no gradient reaches the logits of toy: some module "
        "behind the edit computes without gradients, as quantised layers may\n"
        "edit behind it, or load the model in float32 or bfloat16",
    }
    edit = add(module("0"), steer)
    with (
        torch.set_grad_enabled(why != "switched off"),
        pytest.raises(InterventionError) as error,
        differentiable(model, edit, pairs),
    ):
        pass
    assert str(error.value) == messages[why].replace("add(0.output, 4 numbers)", str(edit))
    assert not network[0]._forward_hooks


# The caller's hooks


def test_exploring_a_network_is_not_seen_by_the_callers_hooks(fresh) -> None:
    """A hook fires in runs that were asked for, not in passes that only look at the structure."""
    model = fresh("gpt2")
    shapes: list[tuple[int, ...]] = []
    for block in model.network.transformer.h:
        block.register_forward_hook(lambda _m, _a, out: shapes.append(tuple(out[0].shape[:1])))
        block.register_forward_pre_hook(lambda _m, args: shapes.append(tuple(args[0].shape[:2])))
    assert model.components
    model.verify([module("transformer.h.1.mlp")], model.batch([Row(IDS)]))
    assert shapes == []
    model.run([IDS])
    assert len(shapes) == 6


def test_a_callers_edit_hides_no_component(fresh, tiny) -> None:
    """Components are those of the network itself, while runs have what the caller's hooks do."""
    model = fresh("gpt2")
    target = model.network.transformer.h[1]
    handle = target.register_forward_hook(lambda _m, _a, out: out * 2)
    assert model.components == tiny("gpt2").components
    doubled = model.read(block_output(1), [IDS])[block_output(1)][0]
    handle.remove()
    plain = model.read(block_output(1), [IDS])[block_output(1)][0]
    torch.testing.assert_close(doubled, 2 * plain)


def test_a_network_that_needs_the_callers_hooks_is_explored_with_them(fresh, tiny) -> None:
    """A hook without which the network cannot run fires whenever it runs."""
    model = fresh("llama")
    head = model.network.lm_head
    head.to(torch.float64)
    head.register_forward_pre_hook(lambda _m, args: (args[0].double(),))
    assert set(tiny("llama").components) == set(model.components)
    assert model.run([IDS])[0].logits.dtype == torch.float64


class Own(nn.Module):
    """A part that works by a hook, a method of its own."""

    def doubled(self, _module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        """Double an output."""
        return 2 * output


def test_hooks_that_make_up_a_network_are_not_silenced() -> None:
    """Weights that hooks of a library compute, and methods of modules, work as ever."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    prune.l1_unstructured(network[0], "weight", 2)
    network[1].register_forward_hook(Own().doubled)
    network[1].register_forward_hook(functools.partial(Own().doubled))
    seen: list[int] = []
    handle = network[2].register_forward_hook(lambda *_: seen.append(1))
    assert [key for _, key in callers_hooks(network)] == [handle.id]
    x = torch.ones(1, 2)
    expected = network(x)
    seen.clear()
    with muted(network):
        assert torch.equal(network(x), expected)
    assert seen == []
    network(x)
    assert seen == [1]


def test_a_handle_works_while_its_hook_is_silent() -> None:
    """A hook removed meanwhile stays removed; one registered meanwhile stays registered."""
    network, seen = nn.Sequential(nn.Identity()), []
    gone = network[0].register_forward_hook(lambda *_: seen.append("gone"))
    network[0].register_forward_hook(lambda *_: seen.append("kept"))
    with pytest.raises(ZeroDivisionError), muted(network):  # noqa: PT012
        network(torch.ones(1))
        gone.remove()
        network[0].register_forward_hook(lambda *_: seen.append("new"))
        raise ZeroDivisionError
    network(torch.ones(1))
    assert seen == ["kept", "new"]


def test_padding_is_proved_anew_for_other_hooks(fresh) -> None:
    """A hook that edits the last column makes padding inexact: prompts are then run apart."""
    model = fresh("gpt2")
    prompts = [(1, 2, 3, 4, 5), (6, 7), (8, 9, 10)]
    model.run(prompts)

    def steer(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, -1, 0] += 3.0
        return changed

    handle = model.network.transformer.h[0].register_forward_hook(steer)
    together = model.run(prompts)
    for prompt, output in zip(prompts, together, strict=True):
        with torch.no_grad():
            alone = model.network(torch.tensor([prompt])).logits[0]
        torch.testing.assert_close(output.logits, alone)
    handle.remove()
    assert not model.company.pads
    model.run(prompts)
    assert model.company.pads


# Interrupts and random states


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("action", ["run", "read", "score", "generate", "gradients", "explore"])
def test_an_interrupt_leaves_no_trace(action, fresh) -> None:
    """After Ctrl-C in a forward pass the network is as before and can be used at once."""
    model = fresh("gpt2")
    network = model.network.train()
    edit = interchange(block_output(0))
    plain = logits_under(Model(network), None)
    if action != "explore":
        assert model.components
        model.run(list(PAIRS))
    handle = network.transformer.h[1].mlp.register_forward_hook(_interrupt)
    if action == "explore":  # as a part of the network, since others are silent then
        handle.remove()
        handle = network.transformer.h[1].mlp.register_forward_hook(Broken().interrupt)
    hooks = _hooks(network)
    with pytest.raises(KeyboardInterrupt):
        {
            "run": lambda: model.run([IDS]),
            "read": lambda: model.read(block_output(2), [IDS]),
            "score": lambda: score(model, edit, PAIRS, lambda _output: 0.0),
            "generate": lambda: model.generate(
                IDS, max_new_tokens=2, intervention=scale(block_output(0), 2.0), when="prompt"
            ),
            "gradients": lambda: _take_gradients(model, edit),
            "explore": lambda: model.components,
        }[action]()
    assert _hooks(network) == hooks
    handle.remove()
    assert all(each.training for each in network.modules())
    assert torch.equal(at_once([lambda: logits_under(model, None)])[0], plain)
    states = network.eval()(torch.tensor([IDS]), output_hidden_states=True).hidden_states
    assert len(states) == 4


class Broken(nn.Module):
    """A part that is interrupted."""

    def interrupt(self, *_: object) -> None:
        """Stop the run."""
        raise KeyboardInterrupt


def _take_gradients(model: Model, edit: Intervention) -> None:
    with differentiable(model, edit, PAIRS[:1]):
        pass


def _hooks(network: nn.Module) -> list[tuple[int, ...]]:
    return [
        (*each._forward_hooks, *each._forward_pre_hooks, *each._forward_hooks_with_kwargs)
        for each in network.modules()
    ]


def test_random_states_of_the_caller_stand_still(fresh) -> None:
    """Noise, resampling, samples and the exploration of a model draw from streams of their own."""
    model = fresh("gpt2")
    before = _random_states()
    score(model, noise(block_output(0), sd=1.0, draws=2), PAIRS, lambda _output: 0.0)
    model.generate(IDS, max_new_tokens=3, do_sample=True, seed=4)
    with pytest.raises(ZeroDivisionError):
        score(model, noise(block_output(0), sd=1.0), PAIRS, lambda _output: 1 / 0)
    with evaluating(model.network.train()):
        model.run([IDS])
    assert _random_states() == before


def _random_states() -> list[object]:
    numpy = np.random.get_state()  # noqa: NPY002 - the state that a caller may rely on
    return [torch.get_rng_state().tolist(), str(numpy), random.getstate()]
