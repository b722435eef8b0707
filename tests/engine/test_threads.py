"""Threads on one model: what each asks is answered as if it were alone, or refused by a message."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from causaltest import Causal, logit_diff
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.turns import turn
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention, add, interchange, noise, scale, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import attention_output, block_output, mlp_output

TIMES = 8
PROMPTS = [(3, 14, 15, 9, 26), (2, 7, 18, 28), (1, 6, 18), (31, 41, 5, 9, 2, 6), (27, 1, 8)]
PAIRS = Pairs(
    [
        Pair((4, 8, 15, 16), (23, 42, 4, 8), base_answer=1, source_answer=2),
        Pair((16, 23, 42), (8, 15, 16), base_answer=3, source_answer=4),
        Pair((5, 8, 13, 21), (34, 5, 8, 13), base_answer=5, source_answer=6),
    ],
    name="numbers",
    cluster=None,
)


def edits() -> list[Intervention]:
    """Return interventions of several kinds and places, each with an effect of its own."""
    return [
        zero_ablate(mlp_output(1, pos="end")),
        interchange(block_output(0, pos="end")),
        add(block_output(1, pos=-1), [2.0] * 24),
        scale(attention_output(2), -3.0),
        noise(block_output(0, pos="end"), sd=2.0, draws=2),
    ]


def together(jobs: list[Callable[[], Any]], times: int = TIMES) -> list[list[Any]]:
    """Run each job in a thread of its own, time after time, all beginning each round at once."""
    barrier = threading.Barrier(len(jobs), timeout=60)

    def repeat(job: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        for _ in range(times):
            barrier.wait()
            try:
                found.append(job())
            except BaseException:
                barrier.abort()  # nobody waits for a thread that failed
                raise
        return found

    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(repeat, job) for job in jobs]
    errors = [error for each in futures if (error := each.exception())]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [each.result() for each in futures]


def test_contexts_of_several_threads_run_as_if_alone(fresh) -> None:
    """Logits and ledgers of contexts that are open at once are those of one context at a time."""
    model = fresh("gpt2")

    def under(edit: Intervention) -> tuple[torch.Tensor, object]:
        with intervene(model, edit, PAIRS[0]) as run:
            return run(PAIRS[0].base).logits, run.ledger

    alone = [under(edit) for edit in edits()]
    found = together([functools.partial(under, edit) for edit in edits()])
    for many, (logits, ledger) in zip(found, alone, strict=True):
        assert all(torch.equal(each, logits) and said == ledger for each, said in many)


def test_threads_that_share_a_context_lose_no_run(fresh) -> None:
    """Each run has the edit, and the ledger counts the runs of all threads."""
    model, edit = fresh("gpt2"), edits()[0]
    with intervene(model, edit) as run:
        alone = {prompt: run(prompt).logits for prompt in PROMPTS}
        for many, prompt in zip(
            together([functools.partial(run, prompt) for prompt in PROMPTS]), PROMPTS, strict=True
        ):
            assert all(torch.equal(each.logits, alone[prompt]) for each in many)
        (entry,) = run.ledger
    assert entry.fired == entry.rows == entry.changed == len(PROMPTS) * (TIMES + 1)


def test_a_context_that_ended_is_refused_in_every_thread(fresh) -> None:
    """Whoever comes too late is told so, and none runs without the edit."""
    model, edit = fresh("gpt2"), edits()[0]
    with intervene(model, edit) as run:
        run(PROMPTS[0])

    def late() -> str:
        with pytest.raises(InterventionError) as error:
            run(PROMPTS[0])
        return str(error.value)

    told = "this intervention has ended; run prompts inside its `with`"
    assert together([late] * 4, times=2) == [[told] * 2] * 4


def test_a_model_is_explored_by_whichever_thread_comes_first(fresh, tiny) -> None:
    """Threads that begin on a model which nobody has used find the same components and logits."""
    expected = [each.logits for each in tiny("gpt2").run(PROMPTS)]
    for _ in range(3):
        model = fresh("gpt2")
        jobs: list[Callable[[], Any]] = [lambda m=model: m.run(PROMPTS)] * 3
        jobs += [lambda m=model: m.components] * 2
        jobs += [lambda m=model: intervene(m, edits()[0]).__enter__()(PROMPTS[0]).logits]
        found = together(jobs, times=2)
        for many in found[:3]:
            for outputs in many:
                for one, other in zip(outputs, expected, strict=True):
                    torch.testing.assert_close(one.logits, other)
        assert {each for many in found[3:5] for each in many} == {tiny("gpt2").components}
        assert not any(
            each._forward_hooks or each._forward_pre_hooks for each in model.network.modules()
        )


def test_a_model_is_explored_by_the_thread_whose_turn_it_is(fresh) -> None:
    """A thread that waits for its turn to explore a network keeps nobody else from doing so."""
    network = fresh("gpt2").network
    late = Model(network, name="late")
    other = threading.Thread(target=lambda: late.components)
    with turn(network):
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
        mine = Model(network, name="mine").components
    other.join(timeout=60)
    assert mine == late.components


def test_effects_measured_in_threads_are_those_measured_alone(fresh) -> None:
    """One experiment asked by many threads gives every one its own numbers."""

    def measured(causal: Causal, edit: Intervention) -> tuple[float, ...]:
        return tuple(causal.effect(edit, on=PAIRS, metric=logit_diff).values)

    alone = [measured(Causal(fresh("gpt2")), edit) for edit in edits()]
    assert len(set(alone)) == len(alone)
    shared = Causal(fresh("gpt2"))
    found = together([functools.partial(measured, shared, edit) for edit in edits()], times=4)
    for many, expected in zip(found, alone, strict=True):
        for values in many:
            assert values == pytest.approx(expected, rel=1e-5, abs=1e-6)
