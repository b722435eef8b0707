"""Source runs that are edited themselves: what many sets of them share, and that values stay."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pytest

from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.sweeps import sweep
from causaltest.interventions import (
    Intervention,
    freeze,
    from_source,
    interchange,
    mean_ablate,
    noise,
    resample_ablate,
)
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    attention_output,
    block_output,
    head_attention_value_output,
    head_query_output,
    mlp_input,
    mlp_output,
)


def path(sender: Any, receiver: Any) -> Intervention:
    """Return the path from a head of block 0 to something in block 2, block 1 held."""
    under = freeze(attention_output(1), mlp_output(0), mlp_output(1)) + interchange(sender)
    return from_source("base", interchange(receiver), under=under)


def paths(heads: int, receivers: int) -> list[Intervention]:
    """Return paths between several senders and several receivers."""
    return [
        path(head_attention_value_output(0, sender), head_query_output(2, receiver, pos="end"))
        for sender in range(heads)
        for receiver in range(receivers)
    ]


def one_by_one(model: Model, cells: list[Intervention], pairs: Pairs) -> np.ndarray:
    """Return (pairs, cells): each cell by a run of its own."""
    columns = [score(model, cell, pairs, logit_diff, allow_inert=True).values for cell in cells]
    return np.array(columns).T


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Model], list[int]]:
    """Return a function that begins to note the rows of each forward pass of a model."""

    def begin(model: Model) -> list[int]:
        noted: list[int] = []
        kind = type(model.network)
        forward = kind.forward

        @wraps(forward)
        def counted(self: Any, input_ids: Any = None, **given: Any) -> Any:
            noted.append(len(input_ids))
            return forward(self, input_ids, **given)

        monkeypatch.setattr(kind, "forward", counted)
        return noted

    return begin


@pytest.mark.parametrize("plan", ["batched", "growing"])
def test_all_sets_of_senders_and_receivers_share_their_runs(small, some_pairs, passes, plan):
    """Sixteen sets take as many passes as one: of base, source, edited and intervened runs."""
    model, pairs = small("gpt2"), some_pairs(3)
    sweep(model, paths(1, 1), pairs, logit_diff, plan=plan)  # finds out about the model
    noted = passes(model)
    sweep(model, paths(1, 1), pairs, logit_diff, plan=plan)
    alone = len(noted)
    noted.clear()
    found = sweep(model, paths(4, 4), pairs, logit_diff, plan=plan)
    assert len(noted) == alone
    assert found.plan.name == plan
    # Base and source once, and one edited run for each sender: receivers read the same.
    edited = [rows for rows in noted if rows == 4 * len(pairs)]
    assert len(edited) == 1
    assert noted.count(len(pairs)) <= 3
    np.testing.assert_allclose(
        found.values, one_by_one(model, paths(4, 4), pairs), rtol=0, atol=1e-5
    )


_OTHER = Pairs(
    [Pair((9, 4, 31, 7, 22, 8, 16, 40, 12)), Pair((19, 14, 3, 27, 2, 48, 6, 4, 42))],
    name="other", cluster=None,
)  # fmt: skip
_SENDER = head_attention_value_output(0, 1)
_HELD = freeze(attention_output(1))

UNDER = {
    "draws": [
        from_source("base", interchange(block_output(1, pos=at)), under=edit)
        for at in (4, "end")
        for edit in (
            noise(block_output(0, pos=3), sd=0.4, draws=3),
            resample_ablate(mlp_output(0, pos=5), draws=2) + _HELD,
            resample_ablate(mlp_output(0, pos=5), draws=3) + interchange(_SENDER),
        )
    ],
    "means": [
        from_source("base", interchange(block_output(1, pos="end")), under=edit)
        for edit in (mean_ablate(mlp_output(0)), mean_ablate(mlp_output(0), over=_OTHER))
    ],
    "chain": [
        from_source("base", interchange(block_output(2, pos="end")), under=path(_SENDER, site))
        for site in (mlp_input(2, pos="end"), head_query_output(2, 0))
    ],
    "two of one run": [
        from_source("base", interchange(mlp_output(1)), under=interchange(_SENDER))
        + from_source("base", interchange(attention_output(2)), under=interchange(_SENDER)),
    ],
    "beside plain": [
        path(_SENDER, head_query_output(2, 1)) + interchange(block_output(0, pos=4)),
        interchange(_SENDER) + _HELD,
    ],
    "the same under source": [
        from_source("source", interchange(mlp_output(1)), under=interchange(_SENDER) + _HELD),
        from_source("source", interchange(mlp_output(1)), under=freeze(mlp_output(0))),
    ],
}


@pytest.mark.parametrize("ragged", [False, True], ids=["even", "ragged"])
@pytest.mark.parametrize("plan", ["batched", "growing"])
@pytest.mark.parametrize("kind", UNDER)
def test_runs_of_every_kind_give_what_they_give_alone(small, some_pairs, kind, plan, ragged):
    """Edits that are drawn, averaged, chained or read in the source run keep their values."""
    model, pairs, cells = small("gpt2"), some_pairs(3, ragged=ragged), UNDER[kind]
    found = sweep(model, cells, pairs, logit_diff, plan=plan)
    wanted = one_by_one(model, cells, pairs)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    assert np.ptp(wanted, axis=0).min() > 1e-3


@pytest.mark.parametrize("kind", UNDER)
def test_the_ledger_is_that_of_single_runs(small, some_pairs, kind):
    """What was edited in the source runs is counted as the loop counts it."""
    model, pairs, cells = small("gpt2"), some_pairs(3), UNDER[kind]
    shown = [
        {
            (e.intervention, e.site, e.module): (e.positions // max(1, e.rows), e.dims)
            for e in sweep(model, cells, pairs, logit_diff, plan=plan).ledger
        }
        for plan in ("loop", "batched")
    ]
    assert shown[0] == shown[1]


def test_pairs_without_an_optional_source_are_left_alone(small):
    """Where some pairs lack the prompt that is edited, the others are run and these are not."""
    model = small("gpt2")
    pairs = Pairs(
        [
            Pair((5, 9, 17, 4), (6, 9, 2, 44), base_answer=5, source_answer=7,
                 sources={"second": (33, 8, 21, 12)}),
            Pair((8, 3, 14, 7), (41, 12, 9, 5), base_answer=6, source_answer=9),
        ],
        name="optional", cluster=None,
    )  # fmt: skip
    cells: list[Intervention] = [
        from_source(
            "second", interchange(block_output(layer, pos="end")),
            under=interchange(_SENDER), optional=True,
        )
        for layer in (1, 2)
    ]  # fmt: skip
    found = sweep(model, cells, pairs, logit_diff, plan="batched")
    np.testing.assert_allclose(found.values, one_by_one(model, cells, pairs), rtol=0, atol=1e-5)
    assert (found.values[1] == found.values[1, 0]).all()


def test_edited_runs_go_on_in_halves_when_memory_runs_out(small, some_pairs, passes, monkeypatch):
    """Too many rows at once are cut, and the values are the same."""
    model, pairs, cells = small("gpt2"), some_pairs(3), paths(4, 1)
    wanted = one_by_one(model, cells, pairs)
    kind, limit = type(model.network), 5
    forward = kind.forward

    @wraps(forward)
    def small_memory(self: Any, input_ids: Any = None, **given: Any) -> Any:
        if len(input_ids) > limit:
            raise RuntimeError("not enough memory")
        return forward(self, input_ids, **given)

    monkeypatch.setattr(kind, "forward", small_memory)
    noted = passes(model)
    found = sweep(model, cells, pairs, logit_diff, plan="batched")
    assert max(noted) == 12
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
