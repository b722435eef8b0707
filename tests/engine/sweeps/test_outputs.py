"""Logits that come about where they are asked for, and what if the network gives others."""

from __future__ import annotations

import re
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch

from causaltest import Model, block_output, interchange, logit_diff
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.engine.sweeps import sweep
from causaltest.engine.sweeps.outputs import Deferred
from causaltest.errors import MetricError

_IDS = (3, 1, 4, 1, 5)


@pytest.fixture
def both(small) -> tuple[Output, Deferred, list[int]]:
    """Give what a model said, the same with logits on demand, and how many tokens that took."""
    model: Model = small("gpt2")
    row = Row(_IDS)
    (output,) = model.run([row])
    states = torch.arange(5.0)[:, None]
    taken: list[int] = []

    def unembedded(given: torch.Tensor) -> torch.Tensor:
        taken.append(len(given))
        return output.logits[given[:, 0].long()]

    return output, Deferred(row, model, states, output.logits[-1], unembedded), taken


def test_logits_at_one_token_are_those_of_that_token(both):
    """The last token's are there; others come about once."""
    output, deferred, taken = both
    assert torch.equal(deferred.at(), output.at())
    assert deferred.classes == output.classes
    assert not taken
    for _ in range(2):
        assert torch.equal(deferred.at(1), output.at(1))
        assert torch.equal(deferred.of([7, 2], 1), output.of([7, 2], 1))
        assert torch.equal(deferred.at(-1), output.at(4))
    assert taken == [1]


def test_all_logits_are_what_is_missing_beside_what_is_there(both):
    """All at once, in the order of the tokens."""
    output, deferred, taken = both
    assert torch.equal(deferred.at(2), output.at(2))
    assert torch.equal(deferred.logits, output.logits)
    assert torch.equal(deferred.logits, output.logits)
    assert taken == [1, 3]


def test_a_copy_is_read_by_nobody_else(both):
    """Who writes on its logits leaves the others as they are."""
    output, deferred, _ = both
    copy = deferred.apart()
    copy.at()[:] = 0.0
    assert torch.equal(deferred.at(), output.at())
    assert torch.equal(copy.at(0), output.at(0))


def test_a_position_of_several_tokens_is_refused(both):
    """As it is where all logits are there."""
    output, deferred, _ = both
    for each in (output, deferred):
        with pytest.raises(MetricError, match=re.escape("position (0, 1) covers 2 tokens")):
            each.at((0, 1))
    with pytest.raises(AttributeError, match="logit"):
        _ = deferred.logit  # pyright: ignore[reportAttributeAccessIssue]


def _sum(output: Output) -> float:
    """Read the logits of all classes."""
    return float(output.at().square().sum())


@pytest.mark.parametrize("metric", [logit_diff, _sum])
def test_a_network_that_gives_other_logits_than_it_did_is_run_whole(
    own, some_pairs, monkeypatch, metric
):
    """What comes behind the unembedding is known from an earlier run; it may have changed."""
    model, pairs = own("llama"), some_pairs(2, same=1)
    cells = [interchange(block_output(layer, pos=at)) for layer in (0, 1) for at in (1, 4)]
    assert sweep(model, cells, pairs, metric).plan.name == "growing"
    kind: Any = type(model.network)
    forward = kind.forward

    @wraps(forward)
    def doubled(self: Any, *given: Any, **named: Any) -> Any:
        found = forward(self, *given, **named)
        found.logits = 2 * found.logits
        return found

    monkeypatch.setattr(kind, "forward", doubled)
    found = sweep(model, cells, pairs, metric)
    assert found.plan.name == "batched"
    assert "its logits differ from those of a plain forward pass" in found.plan.reasons[0]
    for index, cell in enumerate(cells):
        alone = score(model, cell, pairs, metric, allow_inert=True).values
        np.testing.assert_allclose(found.values[:, index], alone, rtol=1e-5, atol=1e-5)
