"""What runs beside the base runs of a job, and the identity control on the base runs themselves."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch

from causaltest import attention_output, block_output, interchange, logit_diff
from causaltest.engine import applied
from causaltest.engine.run import score, score_identity
from causaltest.engine.sweeps import Beside, sweep

SITES = (block_output(0), attention_output(1))
CELLS = [interchange(block_output(layer, pos=at)) for layer in (0, 1) for at in (4, 6)]


def test_the_identity_control_takes_no_rows(own, some_pairs, monkeypatch):
    """Two base runs, their sources and two rows to be checked; as many without the control."""
    model, pairs = own("gpt2"), some_pairs(2)
    sweep(model, CELLS, pairs, logit_diff)
    kind: Any = type(model.network)
    forward, rows = kind.forward, list[int]()

    @wraps(forward)
    def counted(self: Any, input_ids: Any = None, **named: Any) -> Any:
        rows.append(len(input_ids))
        return forward(self, input_ids, **named)

    monkeypatch.setattr(kind, "forward", counted)
    found = sweep(
        model, CELLS, pairs, logit_diff, beside=Beside(sites=SITES, sample=frozenset({1}))
    )
    assert rows == [2 + 2 + 2]
    assert np.isnan(found.identity[0])
    assert found.identity[1] == found.plain[0][1]
    alone = score_identity(model, SITES, list(pairs), logit_diff)
    np.testing.assert_allclose(found.identity[1], alone[1], rtol=0, atol=1e-5)


def test_what_the_identity_control_moves_is_measured(own, some_pairs, monkeypatch):
    """Where activations do not come back as they were, a pass of its own says by how much."""
    model, pairs = own("gpt2"), some_pairs(2)
    put = applied.put

    def blurred(tensor: torch.Tensor, where: Any, access: Any, new: torch.Tensor) -> torch.Tensor:
        return put(tensor, where, access, new * 1.01)

    monkeypatch.setattr(applied, "put", blurred)
    beside = Beside(sites=SITES, sample=frozenset({0, 1}))
    found = sweep(model, CELLS, pairs, logit_diff, beside=beside)
    assert found.plan.name == "growing"
    wanted = score_identity(model, SITES, list(pairs), logit_diff)
    assert np.abs(np.array(wanted) - found.plain[0]).min() > 1e-4
    np.testing.assert_allclose(found.identity, wanted, rtol=0, atol=1e-5)
    plain = [logit_diff(output) for output in model.run(pairs)]
    np.testing.assert_allclose(found.plain[0], plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("metric", [logit_diff, lambda output: float(output.logits.sum())])
def test_sources_are_read_for_cells_that_are_run_alone(own, some_pairs, metric):
    """Known cells put in nothing; what the others put in is the source run's all the same."""
    model, pairs = own("llama"), some_pairs(2, same=5)
    cells = [interchange(block_output(1, pos=at)) for at in range(9)]
    found = sweep(model, cells, pairs, metric)
    assert found.plan.known == 2 * 5
    for index, cell in enumerate(cells):
        alone = score(model, cell, pairs, metric, allow_inert=True).values
        np.testing.assert_allclose(found.values[:, index], alone, rtol=1e-5, atol=1e-5)
