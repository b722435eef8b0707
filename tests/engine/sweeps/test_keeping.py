"""An interrupt in the midst of one long pair set loses one job, and jobs are small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from causaltest.engine.sweeps import capture, execution, fast, planning, sweep
from causaltest.engine.sweeps.keeping import Finished
from causaltest.engine.sweeps.plan import Job
from causaltest.interventions import interchange
from causaltest.metrics import logit_diff
from causaltest.sites import block_input, block_output, mlp_output


class Stopping:
    """Keeps jobs in memory, and interrupts before one of them is begun."""

    def __init__(self) -> None:
        self.kept: dict[Job, Finished] = {}
        self.left = 10**9

    def get(self, job: Job) -> Finished | None:
        """Return what a job gave."""
        if job not in self.kept:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
        return self.kept.get(job)

    def put(self, job: Job, finished: Finished) -> None:
        """Keep what a job gave."""
        assert job not in self.kept, "run again"
        self.kept[job] = finished


@pytest.fixture
def blocks_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows and tokens of each call of a block."""
    noted: list[int] = []
    bind = capture.bind

    def watched(call: Any, arguments: Any, cache: Any) -> Any:
        stream = arguments[call.stream]
        noted.append(stream.shape[0] * stream.shape[1])
        return bind(call, arguments, cache)

    monkeypatch.setattr(capture, "bind", watched)
    monkeypatch.setattr("causaltest.engine.sweeps.calling.bind", watched)
    return noted


def test_jobs_are_cut_by_the_tokens_that_are_run(small, some_pairs, monkeypatch, blocks_run):
    """Cells that are known or begin late are little work, and not worth base runs of their own."""
    monkeypatch.setattr(planning, "WORTH_KEEPING", {"cpu": 1.0})
    monkeypatch.setattr(fast, "BASE_RUNS", 4)
    monkeypatch.setattr("causaltest.engine.sweeps.task._TOKENS", 16)
    monkeypatch.setattr("causaltest.engine.sweeps.task._CACHED", 1)
    model = small("gpt2")
    cells = [interchange(block_output(layer, pos=at)) for layer in range(3) for at in range(30)]
    sweep(model, cells, some_pairs(1, tokens=30, same=0), logit_diff)  # finds out about the model
    jobs, tokens = {}, {}
    for same in (0, 27):
        blocks_run.clear()
        pairs = some_pairs(1, tokens=30, same=same, seed=1)
        jobs[same] = len(sweep(model, cells, pairs, logit_diff).plan.jobs)
        tokens[same] = sum(blocks_run)
    assert jobs[27] == 1 < jobs[0]
    # Base, source, two rows to be checked; and 3, 2 and 1 tokens through what is left.
    assert tokens[27] <= 3 * 30 * 4 + 2 * 6 * 3


@pytest.mark.parametrize("count, stop", [(40, 7), (1, 3)])
def test_an_interrupt_in_the_midst_loses_one_job(
    small, some_pairs, monkeypatch, blocks_run, count, stop
):
    """What was done is not run again, be it of many pairs or of many cells on one."""
    monkeypatch.setattr(planning, "WORTH_KEEPING", {"cpu": 1.0})  # as little as may be
    monkeypatch.setattr(fast, "BASE_RUNS", 1)
    monkeypatch.setattr("causaltest.engine.sweeps.task._TOKENS", 16)
    monkeypatch.setattr("causaltest.engine.sweeps.task._CACHED", 1)
    model, pairs = small("gpt2"), some_pairs(count, same=0)
    cells = [
        interchange(site(layer, pos=at))
        for site in (block_input, block_output, mlp_output)
        for layer in range(3)
        for at in range(9)
    ]
    sweep(model, cells, pairs[:1], logit_diff)  # finds out about the model
    blocks_run.clear()
    whole = sweep(model, cells, pairs, logit_diff)
    in_one_go = sum(blocks_run)
    jobs = whole.plan.jobs
    assert len(jobs) > stop + 1
    # No job is much more than another.
    sizes = [len(job.pairs) * len(job.cells) for job in jobs]
    assert max(sizes) <= max(3 * len(cells), whole.values.size / 3)

    keeper = Stopping()
    keeper.left = stop
    blocks_run.clear()
    with pytest.raises(KeyboardInterrupt):
        sweep(model, cells, pairs, logit_diff, keeper=keeper)
    before = sum(blocks_run)
    assert len(keeper.kept) == stop
    keeper.left = 10**9
    blocks_run.clear()
    resumed = sweep(model, cells, pairs, logit_diff, keeper=keeper)
    assert set(keeper.kept) == set(jobs)
    assert before > 0
    assert sum(blocks_run) + before == in_one_go
    assert (resumed.values == whole.values).all()
    assert resumed.plan == whole.plan


@pytest.mark.parametrize("count", [40, 1])
def test_batched_sweeps_are_as_fine(small, some_pairs, monkeypatch, count):
    """Where no fast plan can be used, what is done is kept as often."""
    monkeypatch.setattr(planning, "WORTH_KEEPING", {"cpu": 1.0})
    monkeypatch.setattr(execution, "BASE_RUNS", 1)
    model, pairs = small("gpt2"), some_pairs(count, same=0)
    cells = [interchange(block_output(layer, pos=at)) for layer in range(3) for at in range(9)]
    one = sweep(model, cells, pairs, logit_diff)
    keeper = Stopping()
    keeper.left = 5
    with pytest.raises(KeyboardInterrupt):
        sweep(model, cells, pairs, logit_diff, plan="batched", keeper=keeper)
    assert sum(len(job.pairs) * len(job.cells) for job in keeper.kept) <= one.values.size / 2
    keeper.left = 10**9
    resumed = sweep(model, cells, pairs, logit_diff, plan="batched", keeper=keeper)
    np.testing.assert_allclose(resumed.values, one.values, rtol=0, atol=1e-5)


def test_jobs_of_one_pair_set_give_what_one_job_gives(small, some_pairs, monkeypatch):
    """How work is cut makes no difference, and is not fine where all of it is little."""
    model, pairs = small("gpt2"), some_pairs(12, ragged=True)
    cells = [interchange(block_output(layer, pos=at)) for layer in range(3) for at in range(7)]
    one = sweep(model, cells, pairs, logit_diff)
    assert len(one.plan.jobs) == 2  # one for each length
    monkeypatch.setattr(fast.Fast, "_enough", lambda *_: 1.0)
    many = sweep(model, cells, pairs, logit_diff)
    assert len(many.plan.jobs) > 12
    # Rows of each job are checked, but for those whose cells are all behind the last block.
    assert len(set(many.plan.checked)) > len(set(one.plan.checked))
    np.testing.assert_allclose(many.values, one.values, rtol=0, atol=1e-5)
    assert many.plan.known == one.plan.known
    assert {(e.site, e.changed, e.rows) for e in many.ledger} == {
        (e.site, e.changed, e.rows) for e in one.ledger
    }
