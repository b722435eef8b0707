"""How many forward passes each kind of sweep takes, by counting calls of the network itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import wraps
from typing import Any

import numpy as np
import pytest

from causaltest import (
    Causal,
    block_output,
    head_attention_value_output,
    head_query_output,
    interchange,
)
from causaltest.errors import InterventionError


@pytest.fixture
def passes(schoolbook, even) -> Iterator[list[int]]:
    """Note the rows of each forward pass, once what is asked of every model is known."""
    Causal(schoolbook).sweep(block_output, layers=[0, 1], positions=["end"], on=even)
    noted: list[int] = []
    kind = type(schoolbook.network)
    forward = kind.forward

    @wraps(forward)
    def counted(self: Any, input_ids: Any = None, **given: Any) -> Any:
        noted.append(len(input_ids))
        return forward(self, input_ids, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", counted)
        yield noted


@pytest.fixture
def looked(instrument, even, passes) -> Causal:
    """Measures where the base prompts have been run for the baseline already."""
    instrument.effect(interchange(block_output(1, pos="end")), on=even)
    passes.clear()
    return instrument


@pytest.mark.parametrize("steps", [1, 4])
def test_attribution_takes_one_pass_of_sources_and_one_a_step(looked, even, passes, steps):
    """Input embeddings are read on the way, not in passes of their own."""
    looked.attribution(head_attention_value_output, on=even, steps=steps, verify=0)
    assert passes == [len(even)] * (1 + steps)


@pytest.mark.parametrize("steps", [1, 4])
def test_edge_attribution_takes_one_pass_of_sources_and_one_a_step(looked, even, passes, steps):
    """Beside one of two tokens, which tells whether attention and MLP run in parallel."""
    looked.edge_attribution(on=even, steps=steps)
    assert passes == [1] + [len(even)] * (1 + steps)


def test_exact_cells_bring_their_base_runs_and_their_control(looked, even, passes):
    """Verified cells add one pass: base runs, their sources, checks and the control together."""
    looked.attribution(block_output, positions="all", on=even, verify=0)
    passes.clear()
    grid = looked.attribution(block_output, positions="all", on=even, verify=5)
    assert grid.exact.sum() == 5
    assert passes[:2] == [len(even)] * 2  # the estimates
    assert len(passes) == 3


def test_exact_edges_share_their_runs(looked, even, passes):
    """Ten paths take base, source and edited runs once, not ten times."""
    looked.edge_attribution(on=even, verify=1)
    one = len(passes)
    passes.clear()
    ten = looked.edge_attribution(on=even, verify=10)
    assert len(passes) <= one + 2  # edited runs, where the one leads straight to the logits
    for edge in ten.top(10):
        alone = looked.path(edge.sender_site, edge.receiver_site, on=even)
        np.testing.assert_allclose(ten.exact[edge.name], alone.values, rtol=1e-4, atol=1e-5)


def test_a_trace_takes_clean_and_corrupted_runs_once(looked, even, passes):
    """The corrupted run is the sweep's own base run, and the control is in the check."""
    looked.trace(block_output, on=even)
    assert len(passes) == 2  # corrupted and clean runs, check and control together; clean to score


def test_paths_of_many_sets_take_the_passes_of_one(looked, even, passes):
    """Senders and receivers of one call share base, source and edited runs."""

    def grid(senders: int, receivers: int) -> Any:
        return looked.sweep(
            {
                (sender, receiver): looked.paths_to(head_query_output(2, receiver, pos="end"))(
                    head_attention_value_output(1, sender, pos="end")
                )
                for sender in range(senders)
                for receiver in range(receivers)
            },
            on=even,
        )

    grid(2, 1)
    few = len(passes)
    passes.clear()
    grid(4, 4)
    assert len(passes) == few


@pytest.mark.parametrize("verify", [-1, 2.5, "3", True])
def test_how_many_edges_is_a_number(looked, even, passes, verify):
    """It is looked at before anything is run."""
    wanted = f"verify is {verify!r}; expected a number of edges from 0"
    with pytest.raises(InterventionError, match=re.escape(wanted)):
        looked.edge_attribution(on=even, verify=verify)
    assert not passes
