"""Sweeps: every plan against one run for each cell, and what is refused, said and checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import score
from causaltest.engine.sweeps import calling, fast, growing, prefix, sweep
from causaltest.errors import InterventionError, PairError, SiteError
from causaltest.interventions import (
    add,
    apply_function,
    autoencoder,
    constant,
    freeze,
    from_source,
    interchange,
    mean_ablate,
    noise,
    pca,
    resample_ablate,
    rotated,
    scale,
    skip,
    subtract,
    zero_ablate,
)
from causaltest.metrics import as_metric, log_probability, logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    Site,
    block_output,
    embedding,
    head_attention_pattern,
    head_attention_value_output,
    mlp_activation,
    mlp_output,
    module,
)

_ALL_TOKENS = {"bert", "mamba", "jamba"}
"""Architectures whose rows cannot run on a suffix of the tokens alone."""


def one_by_one(model: Model, cells: Any, pairs: Pairs, metric: Any) -> np.ndarray:
    """Return (pairs, cells): each cell by a run of its own."""
    columns = [score(model, cell, pairs, metric, allow_inert=True).values for cell in cells]
    return np.array(columns).T


def grid(model: Model, tokens: int) -> list[Any]:
    """Return interchanges of each block's output at each token."""
    layers = range(model.n_layers)
    return [interchange(block_output(layer, pos=at)) for layer in layers for at in range(tokens)]


@pytest.mark.parametrize("ragged", [False, True], ids=["even", "ragged"])
def test_every_plan_gives_what_one_run_for_each_cell_gives(
    architecture, some_pairs, many_cells, ragged
):
    """Values agree within 1e-5 on every architecture, with prompts of one length and of several."""
    pairs, cells = some_pairs(3, ragged=ragged), many_cells(architecture)
    wanted = one_by_one(architecture, cells, pairs, logit_diff)
    for plan in ("batched", "growing"):
        found = sweep(architecture, cells, pairs, logit_diff, plan=plan)
        assert found.plan.name == plan, found.plan
        np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    assert "all tokens" in str(found.plan) or architecture.name not in _ALL_TOKENS
    assert len(found.plan.checked) >= 2
    assert found.plan.difference is not None
    assert found.plan.difference < 1e-5


def test_the_loop_is_score_cell_by_cell(small, some_pairs, many_cells):
    """The plan that others are compared with is `score` itself."""
    model, pairs = small("gpt2"), some_pairs(2)
    cells = many_cells(model)[:5]
    found = sweep(model, cells, pairs, logit_diff, plan="loop")
    assert (found.values == one_by_one(model, cells, pairs, logit_diff)).all()
    assert (found.plan.name, found.plan.reasons) == ("loop", ("asked for",))


PLACED = Pairs(
    [
        Pair((5, 9, 17, 4, 30, 8), (6, 10, 2, 44, 12), base_answer=5, source_answer=7,
             sources={"second": (33, 8, 21, 12)},
             positions={"it": {"base": [1, 3], "source": [2, 0], "second": [0, 3]}}),
        Pair((8, 3, 14), (41, 12, 9, 5), base_answer=6, source_answer=9,
             sources={"second": (7, 44)},
             positions={"it": {"base": [0, 1], "source": [3, 1], "second": [1, 0]}}),
    ],
    name="placed", cluster=None,
)  # fmt: skip

_HALVES = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(2)))[0]
_VECTOR = [0.3] * 24


def _mixed(old: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return 0.5 * old + 0.5 * there


CELLS = {
    "named": interchange(block_output(1, pos="it")),
    "first": interchange(block_output(0, pos="it.first")),
    "subspace": interchange(block_output(1, pos="it"), subspace=rotated(_HALVES, k=4)),
    "zero": zero_ablate(mlp_output(1, pos="end")),
    "mean": mean_ablate(mlp_output(1, pos="end")),
    "constant": constant(block_output(0, pos="it"), 0.5),
    "resample": resample_ablate(block_output(1, pos=1), draws=3),
    "noise": noise(block_output(1, pos=1), sd=0.5, draws=3),
    "add": add(block_output(1, pos="end"), _VECTOR),
    "subtract": subtract(block_output(2, pos="end"), _VECTOR),
    "scale": scale(block_output(1), 0.5),
    "skip": skip(block_output(1)),
    "function": apply_function(block_output(1, pos="it"), _mixed, source=True),
    "neurons": interchange(mlp_activation(2, pos="it", dims=(3, 5))),
    "other source": from_source("second", interchange(block_output(1, pos="it"))),
    "edited source": from_source(
        "source", interchange(block_output(2, pos="end")), under=zero_ablate(mlp_output(0))
    ),
    "frozen": zero_ablate(mlp_output(0)) + freeze(mlp_output(1)),
    "embedding": zero_ablate(embedding(pos="it")),
    "positions": zero_ablate(module("transformer.wpe", pos=1)),
    "inside": zero_ablate(module("transformer.h.1.mlp.c_fc", pos="end")),
    "input": zero_ablate(module("transformer.h.2", side="input", pos="end")),
    "behind": scale(module("transformer.ln_f", pos="end"), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("plan", ["batched", "growing"])
def test_every_kind_of_intervention_gives_what_it_gives_alone(small, plan):
    """Cells of all kinds share passes, and each has the value of its own run, and its ledger."""
    model, cells = small("gpt2"), list(CELLS.values())
    found = sweep(model, cells, PLACED, logit_diff, plan=plan)
    wanted = one_by_one(model, cells, PLACED, logit_diff)
    off = dict(zip(CELLS, np.abs(found.values - wanted).max(axis=0), strict=True))
    assert {name: value for name, value in off.items() if value > 1e-5} == {}
    loop = sweep(model, cells, PLACED, logit_diff, plan="loop")
    shown = [
        {(e.intervention, e.site, e.module): (e.rows, e.positions, e.dims, e.changed) for e in each}
        for each in (found.ledger, loop.ledger)
    ]
    assert shown[0] == shown[1]


_ENCODER = torch.randn(24, 30, generator=torch.Generator().manual_seed(5))
_DRAWN_ONCE = noise(block_output(0, pos=1), sd=0.5, draws=1)
_DRAWN_OFTEN = noise(block_output(0, pos=2), sd=0.5, draws=3)

SAME_AT_FIRST = {
    "autoencoder": autoencoder(_ENCODER, 0.2 * _ENCODER.T, keep_error=False),
    "pca": pca(torch.eye(24)[:3], mean=[0.1] * 24, k=2, keep_error=False),
}


@pytest.mark.parametrize("plan", ["batched", "growing"])
@pytest.mark.parametrize("subspace", SAME_AT_FIRST)
def test_a_reconstruction_is_an_edit_where_base_and_source_agree(small, some_pairs, plan, subspace):
    """What drops the error changes tokens before the first that differs, and is run there."""
    model, pairs = small("gpt2"), some_pairs(2)
    lossy = SAME_AT_FIRST[subspace]
    cells = [interchange(block_output(1, pos=at), subspace=lossy) for at in (1, "end")]
    found = sweep(model, cells, pairs, logit_diff, plan=plan)
    assert found.plan.known == 0
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("under", [_DRAWN_ONCE, resample_ablate(mlp_output(0, pos=1), draws=1)])
def test_sources_are_drawn_anew_in_each_draw_of_their_cell(small, some_pairs, under):
    """An edited source that is drawn once by itself is drawn as often as its cell is run."""
    model, pairs = small("gpt2"), some_pairs(2)
    taken = from_source("source", interchange(block_output(1, pos="end")), under=under)
    cells = [taken + _DRAWN_OFTEN]
    found = sweep(model, cells, pairs, logit_diff)
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_a_hook_of_the_caller_that_counts_tokens_sees_whole_prompts(own, some_pairs):
    """With hooks of one's own every pass runs all tokens, and the plan says why."""
    model, pairs = own("gpt2"), some_pairs(3)

    def raise_last(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        raised = output.clone()
        raised[:, -1] += 3.0
        return raised

    def metric(output: Output) -> float:
        return float(output.at(3 + pairs.index(output.row.pair))[5])

    cells = [interchange(block_output(0, pos=3)), zero_ablate(mlp_output(1, pos=2))]
    handle = model.network.transformer.h[2].mlp.register_forward_hook(raise_last)
    found = sweep(model, cells, pairs, metric)
    assert found.plan.reasons == (
        "not growing: the network has hooks of yours, which may count tokens",
    )
    wanted = one_by_one(model, cells, pairs, metric)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    handle.remove()
    assert sweep(model, cells, pairs, metric).plan.name == "growing"


def test_patterns_of_prompts_of_several_lengths_are_swept(small, some_pairs):
    """Numbers that belong to keys are read for prompts of one length at a time, as by `score`."""
    model, pairs = small("llama"), some_pairs(3, ragged=True)
    cells = [interchange(head_attention_pattern(1, head, pos="end")) for head in range(2)]
    found = sweep(model, cells, pairs, logit_diff)
    assert [job.pairs for job in found.plan.jobs] == [(0, 2), (1,)]
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_cells_behind_the_blocks_are_batched(small):
    """What edits beside the walk is run by plain passes, and the plan says how many cells."""
    cells = [CELLS["behind"], CELLS["named"]]
    found = sweep(small("gpt2"), cells, PLACED, logit_diff)
    assert found.plan.name == "growing"
    assert "1 cells edit beside the blocks and are batched" in found.plan.reasons
    assert [job.cells for job in found.plan.jobs if job.plan == "batched"] == [(0,)]


def test_one_row_at_a_time_gives_the_same(small, some_pairs, many_cells):
    """The memory budget cuts passes and changes nothing else."""
    model, pairs = small("llama"), some_pairs(3)
    cells = many_cells(model)
    wide = sweep(model, cells, pairs, logit_diff)
    narrow = sweep(model, cells, pairs, logit_diff, memory=1)
    assert narrow.plan.rows == 1 < wide.plan.rows
    np.testing.assert_allclose(narrow.values, wide.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "mistral", "bert"])
def test_a_block_runs_so_many_rows_at_once_as_a_cache_holds(name, small, some_pairs, monkeypatch):
    """Rows that fall into several calls, some with edits in the block, come out as alone."""
    model, pairs = small(name), some_pairs(1)
    sizes: list[int] = []

    def step(call: Any, track: Any, stream: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(stream.shape[0] * stream.shape[1])
        return calling.step(call, track, stream, *rest)

    def grown() -> tuple[np.ndarray, list[int]]:
        sizes.clear()
        return sweep(model, cells, pairs, logit_diff, plan="growing").values, list(sizes)

    tokens = len(pairs[0].base)
    cells = grid(model, tokens) + [
        each
        for at in range(tokens)
        for each in (
            zero_ablate(mlp_output(1, pos=at)),
            zero_ablate(mlp_output(1, pos=at)) + zero_ablate(mlp_output(2, pos=at)),
        )
    ]
    monkeypatch.setattr(growing, "step", step)
    grown()  # the first looks into the model beforehand
    _, at_once = grown()
    limit = 3 * tokens
    monkeypatch.setattr("causaltest.engine.sweeps.task._TOKENS", limit)
    monkeypatch.setattr("causaltest.engine.sweeps.task._CACHED", 1)
    values, in_parts = grown()
    wanted = sweep(model, cells, pairs, logit_diff, plan="loop").values
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5)
    assert sum(size > limit for size in in_parts) < sum(size > limit for size in at_once)
    assert len(in_parts) > len(at_once)
    assert sum(in_parts) == sum(at_once)


@pytest.mark.parametrize("plan", ["batched", "growing"])
def test_passes_are_halved_where_memory_runs_out(own, some_pairs, plan):
    """Passes that fail for memory are run again in halves, and nothing is counted twice."""
    model, pairs = own("gpt2"), some_pairs(2, same=0)
    cells = grid(model, 9)
    wanted = one_by_one(model, cells, pairs, logit_diff)

    def refuse(_module: Any, args: Any) -> None:
        if args[0].shape[0] > 5:
            raise torch.OutOfMemoryError("out of memory")

    refuse.__module__ = "causaltest"  # a caller's own hooks are run on whole prompts
    handle = model.network.transformer.h[1].register_forward_pre_hook(refuse)
    found = sweep(model, cells, pairs, logit_diff, plan=plan)
    handle.remove()
    assert 2 <= found.plan.rows <= 10
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_a_fast_plan_that_is_wrong_is_found_out(small, some_pairs, monkeypatch):
    """Wrong keys of earlier tokens fail the check; all tokens are run, and the plan says why."""
    model, pairs = small("llama"), some_pairs(2, same=0)
    cells = grid(model, 9)
    right = prefix.in_front

    def wrong(base, new, start, rows):
        return right(base * 1.5, new, start, rows)

    monkeypatch.setattr(prefix, "in_front", wrong)
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.name == "growing"
    assert found.plan.reasons[0].startswith(
        "rows run all tokens of the blocks behind their first edit: its logits differ from those "
        "of a plain forward pass by "
    )
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_a_fast_plan_that_stays_wrong_is_given_up(small, some_pairs, monkeypatch):
    """Where the check fails on all tokens too, the sweep is batched and says why."""
    model, pairs = small("llama"), some_pairs(2, same=0)
    cells = grid(model, 9)
    right = fast.readout_of

    monkeypatch.setattr(fast, "readout_of", lambda model: replace(right(model), factor=1.5))
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.name == "batched"
    assert found.plan.reasons[0].startswith(
        "not growing: its logits differ from those of a plain forward pass by "
    )
    assert (found.plan.checked, found.plan.difference) == ((), None)
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_networks_without_blocks_are_batched():
    """A network of no known form is swept too, by plain passes."""
    torch.manual_seed(0)

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(20, 8)
            self.cell = torch.nn.LSTM(8, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 20)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.cell(self.table(ids))[0])

    model = Model(Recurrent(), name="lstm")
    pairs = Pairs(
        [Pair((1, 2, 3), (4, 5, 6), base_answer=1, source_answer=2),
         Pair((7, 2), (8, 9), base_answer=3, source_answer=2)],
        name="p", cluster=None,
    )  # fmt: skip
    cells = [interchange(module("cell", pos=at)) for at in (0, 1, "end")]
    cells.append(interchange(module("table", pos=0)))
    found = sweep(model, cells, pairs, logit_diff)
    assert (found.plan.name, found.plan.reasons) == (
        "batched",
        ("not growing: no stack of blocks is recognised",),
    )
    wanted = one_by_one(model, cells, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-6)


def _whole(output: Output) -> float:
    return float(output.logits.double().square().mean())


def _wandering(output: Output) -> float:
    """Read another place where the answer at the end is another one."""
    return float(output.at(int(output.at("end").argmax()) % 9)[3])


def _choosy(output: Output) -> float:
    """Read another class where the first is unlikely: others than in the base run."""
    first = float(output.of([3])[0])
    return first if first > 0 else float(output.of([7, 9], 5).sum())


def _careful(output: Output) -> float:
    """Give a number of its own where something goes wrong, which nothing does."""
    try:
        return _wandering(output)
    except Exception:  # noqa: BLE001 - as metrics of careful users do
        return -100.0


def _scribbling(output: Output, _pair: Pair) -> float:
    """Write on logits that other cells of the same prompt share."""
    value = 0.0
    for place in (0, "end"):
        logits = output.at(place)
        value += float(logits[3])
        logits *= 2.0
    return value


@pytest.mark.parametrize(
    "metric",
    [_whole, _wandering, _choosy, _careful, as_metric(_scribbling), log_probability.at(4)],
)
def test_any_metric_reads_what_it_likes(small, some_pairs, many_cells, metric):
    """All logits, other places and classes from one run to the next, and places before an edit."""
    model, pairs = small("qwen3"), some_pairs(2, same=1)
    cells = many_cells(model)
    found = sweep(model, cells, pairs, metric)
    assert found.plan.name == "growing"
    wanted = one_by_one(model, cells, pairs, metric)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_whole_prompts_are_run_from_the_first_other_token_on(small, some_pairs):
    """An interchange at all tokens costs what those cost behind which base and source differ."""
    model, work = small("llama"), {}
    cells = [interchange(block_output(0)), interchange(head_attention_value_output(1, 0))]
    for same in (0, 6):
        pairs = some_pairs(2, same=same)
        found = sweep(model, cells, pairs, logit_diff)
        np.testing.assert_allclose(
            found.values, one_by_one(model, cells, pairs, logit_diff), rtol=0, atol=1e-5
        )
        work[same] = found.plan.forward_equivalents - 2 - 2 - 2  # base, sources and the check
        assert [each.site for each in found.ledger if each.site.startswith("block")] == [
            "block_output[0]"
        ]
    assert work[6] == pytest.approx(work[0] * 3 / 9, rel=0.3)


class _Twice(torch.nn.Module):
    """More than a linear map's weights."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return twice what the map gives."""
        return 2 * self.inner(given)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_logits_of_classes_that_nobody_reads_are_not_computed(
    own, some_pairs, monkeypatch, wrapped
):
    """A difference of two logits unembeds two classes alone, but through a map that is wrapped."""
    model, pairs = own("llama"), some_pairs(2, same=1)
    if wrapped:
        model.network.lm_head = _Twice(model.network.lm_head)
        model = Model(model.network, name="wrapped")
    cells = grid(model, 9)
    wanted = one_by_one(model, cells, pairs, logit_diff)
    sweep(model, cells, pairs, logit_diff)
    rows: list[int] = []
    linear = torch.nn.Linear.forward

    def note(module: torch.nn.Linear, given: torch.Tensor) -> torch.Tensor:
        if module.out_features == model.architecture.vocabulary:
            rows.append(given.shape[:-1].numel())
        return linear(module, given)

    monkeypatch.setattr(torch.nn.Linear, "forward", note)
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.name == "growing"
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    base = 2  # their last tokens
    assert (sum(rows) == base) if not wrapped else (sum(rows) > base)


def test_a_metric_may_read_no_logits(small, some_pairs):
    """A metric of something else is taken in each cell, as in a loop."""
    model, pairs = small("gpt2"), some_pairs(2, same=1)
    found = sweep(model, grid(model, 9), pairs, lambda _output: 0.5)
    assert (found.values == 0.5).all()
    assert found.plan.name == "growing"


def test_cells_before_the_first_other_token_take_no_arithmetic(small, some_pairs):
    """Such cells have exactly the base value, are listed, and their rows are not run."""
    model = small("gpt2")
    pairs = some_pairs(2, same=6)
    cells = grid(model, 9)
    found = sweep(model, cells, pairs, logit_diff)
    base = [logit_diff(output) for output in model.run(pairs)]
    np.testing.assert_allclose(found.plain[0], base, rtol=0, atol=1e-6)
    early = [index for index in range(len(cells)) if index % 9 < 6]
    assert (found.values[:, early] == found.plain[0][:, None]).all()
    assert found.plan.inert == tuple(early)
    assert found.plan.known == 2 * len(early)
    # Base and source, the check, and three tokens of nine through what is left of three blocks.
    assert found.plan.forward_equivalents < 2 + 2 + 3 + 3 * 2 * 3 * 0.4 * 2 / 3


def test_work_is_what_the_cells_need(small):
    """Blocks in front of an edit and tokens before it are not run again."""
    model = small("gpt2")
    rows: list[tuple[int, tuple[int, int]]] = []

    def count(index: int) -> Any:
        def note(_module: Any, args: Any) -> None:
            rows.append((index, tuple(args[0].shape[:2])))

        note.__module__ = "causaltest"  # a caller's own hooks are run on whole prompts
        return note

    blocks = enumerate(model.network.transformer.h)
    handles = [block.register_forward_pre_hook(count(index)) for index, block in blocks]
    pairs = Pairs([Pair((5, 9, 17, 4), (6, 8, 2, 3), base_answer=1, source_answer=2)],
                  name="one", cluster=None)  # fmt: skip
    sweep(model, grid(model, 4), pairs, logit_diff)
    rows.clear()
    found = sweep(model, [interchange(block_output(1, pos=2))], pairs, logit_diff)
    for handle in handles:
        handle.remove()
    # Base, source and check beside each other, and one row of two tokens: keys of both, the
    # answer of the last.
    assert rows == [(0, (3, 4)), (1, (3, 4)), (2, (3, 4)), (2, (1, 2)), (2, (1, 1))]
    assert found.plan.forward_equivalents == pytest.approx(3 + (1 + 0.5) / (4 * 3))


def test_the_jobs_of_a_plan_cover_each_value_once(small, some_pairs):
    """Jobs are disjoint, and together they are the whole sweep."""
    pairs = some_pairs(5, ragged=True)
    cells = [interchange(block_output(0, pos="end")), CELLS["behind"], zero_ablate(mlp_output(1))]
    found = sweep(small("gpt2"), cells, pairs, logit_diff)
    values = [(pair, cell) for job in found.plan.jobs for pair in job.pairs for cell in job.cells]
    assert sorted(values) == [(pair, cell) for pair in range(5) for cell in range(3)]


@pytest.mark.parametrize("plan", ["growing", "batched", "loop"])
def test_progress_goes_up_to_the_number_of_values(small, some_pairs, plan):
    """Progress never goes back and ends with all values done."""
    told: list[tuple[int, int]] = []
    cells = [CELLS["resample"], interchange(block_output(0, pos="end"))]
    sweep(small("gpt2"), cells, some_pairs(3), logit_diff, plan=plan, memory=40_000,
          progress=lambda done, values: told.append((done, values)))  # fmt: skip
    assert told[-1] == (6, 6)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_network_is_left_as_it_was(own, some_pairs):
    """No hook stays, and a network in training mode is in training mode afterwards."""
    model = own("gpt2", resid_pdrop=0.5)
    model.network.train()
    found = sweep(model, grid(model, 9), some_pairs(2), logit_diff)
    assert found.plan.name == "growing"
    assert all(part.training for part in model.network.modules())
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in model.network.modules()
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"plan": "growning"},
            "there is no plan 'growning'; did you mean 'growing'?; plans: auto, growing, batched, "
            "loop",
        ),
        ({"memory": 0}, "memory is 0; expected a number of bytes"),
        ({"cells": []}, "a sweep needs at least one intervention; there is none"),
    ],
)
def test_what_cannot_be_run_is_refused(small, some_pairs, arguments, message):
    """A plan of no known name, no memory, and no cells are refused by name."""
    given = {"cells": [zero_ablate(mlp_output(0))], **arguments}
    with pytest.raises(InterventionError) as caught:
        sweep(small("gpt2"), pairs=some_pairs(1), metric=logit_diff, **given)
    assert str(caught.value) == message


@pytest.mark.parametrize("plan", ["growing", "batched", "loop"])
def test_a_sweep_in_which_nothing_changes_is_refused(small, some_pairs, plan):
    """If base and source agree at every cell, nothing can be concluded."""
    cells = [interchange(block_output(layer, pos=1)) for layer in range(3)]
    with pytest.raises(InterventionError) as caught:
        sweep(small("gpt2"), cells, some_pairs(2), logit_diff, plan=plan)
    assert str(caught.value) == (
        "none of 3 cells changed an activation in any of 2 pairs\n"
        "Nothing can be concluded. For an interchange, base and source agree at these sites: "
        "choose pairs that differ before them, or other sites or positions"
    )


@pytest.mark.parametrize("plan", ["growing", "batched", "loop"])
@pytest.mark.parametrize(
    "cell, error, message",
    [
        (interchange(block_output(7)), SiteError, r"block_output\[7\] does not exist: gpt2 has"),
        (interchange(block_output(1, pos=99)), SiteError, "position 99 does not exist: "),
        (interchange(block_output(1, pos="nowhere")), PairError, "has no position 'nowhere'"),
        (interchange(block_output(1)), PairError, r"has no pos, but base \(\d tokens\) and source"),
        (add(block_output(1, pos="end"), [1.0, 2.0]), InterventionError, "vector has 2 numbers"),
    ],
    ids=["layer", "token", "name", "span", "vector"],
)
def test_cells_that_do_not_fit_are_refused_as_they_are_alone(small, plan, cell, error, message):
    """A sweep refuses what `score` refuses, with its message."""
    with pytest.raises(error, match=message):
        score(small("gpt2"), cell, PLACED, logit_diff)
    with pytest.raises(error, match=message):
        sweep(small("gpt2"), [CELLS["zero"], cell], PLACED, logit_diff, plan=plan)


@settings(max_examples=12)
@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from(["block_output", "mlp_output", "head_key_output", "embedding"]),
            st.integers(0, 2), st.integers(0, 6),
        ),
        min_size=1, max_size=8,
    ),
    same=st.integers(0, 6),
    memory=st.sampled_from([1, 200_000, 1 << 30]),
)  # fmt: skip
def test_any_choice_of_cells_gives_what_each_gives_alone(small, some_pairs, cells, same, memory):
    """Whatever cells are asked for, in whatever order and twice, each has its own run's value."""
    model, pairs = small("llama"), some_pairs(2, tokens=7, same=same)
    made = []
    for component, layer, at in cells:
        where: dict[str, Any] = {} if component == "embedding" else {"layer": layer}
        where |= {"head": 1} if component.startswith("head") else {}
        made.append(zero_ablate(block_output(0, pos=at)))
        made.append(interchange(Site(component, pos=at, **where)))
    found = sweep(model, made, pairs, logit_diff, memory=memory)
    wanted = one_by_one(model, made, pairs, logit_diff)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("plan", ["growing", "batched"])
def test_edits_of_sources_that_change_nothing_are_refused(small, plan):
    """If what is done to the source runs changes nothing, the cells are not what they say."""
    same = scale(mlp_output(0), 1.0)
    cell = from_source("source", interchange(block_output(2, pos="end")), under=same)
    with pytest.raises(InterventionError) as caught:
        sweep(small("gpt2"), [cell], PLACED, logit_diff, plan=plan)
    assert str(caught.value).startswith(
        "what the cells do to their sources changed no activation in any of 2 runs: "
    )
