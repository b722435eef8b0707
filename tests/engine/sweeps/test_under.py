"""Sweeps on base runs that are edited first, against one run for each cell that does both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.sweeps import Beside, sweep
from causaltest.engine.sweeps.keeping import Finished
from causaltest.engine.sweeps.plan import Job
from causaltest.errors import SiteError
from causaltest.interventions import add, freeze, interchange, noise, zero_ablate
from causaltest.metrics import logit_diff
from causaltest.pairs import Pairs
from causaltest.sites import Site, block_output, embedding

SAMPLE = frozenset({0, 2})


def restored(model: Model) -> list[Any]:
    """Return cells that restore one place or two of the plain base run."""
    layers = range(model.n_layers)
    cells = [freeze(block_output(layer, pos=at)) for layer in layers for at in range(7)]
    cells += [freeze(block_output(layer)) for layer in layers]
    cells += [freeze(embedding(pos=at)) for at in (1, 2, 4)]
    cells.append(freeze(block_output(0, pos="end"), block_output(1, pos=3)))
    parts = [each for each in ("mlp_output", "mixer_output") if each in model.components][:1]
    return cells + [freeze(Site(part, layer=1, pos=at)) for part in parts for at in (2, 5)]


def both(model: Model, cells: Any, under: Any, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return what one run for each cell gives, and what runs without any cell give."""
    columns = [
        score(model, under + cell, pairs, logit_diff, allow_inert=True).values for cell in cells
    ]
    return np.array(columns).T, np.array(score(model, under, pairs, logit_diff).values)


@pytest.mark.parametrize("ragged", [False, True], ids=["even", "ragged"])
def test_cells_on_noisy_runs_give_what_runs_with_both_give(architecture, some_pairs, ragged):
    """Each draw is a base run of its own, and all come to the mean of the draws."""
    pairs, cells = some_pairs(3, ragged=ragged), restored(architecture)
    under = noise(embedding(pos=2), sd=0.5, draws=3)
    wanted, plain = both(architecture, cells, under, pairs)
    beside = Beside(sites=(block_output(0),), sample=SAMPLE)
    found = sweep(architecture, cells, pairs, logit_diff, under=under, beside=beside)
    assert (found.plan.name, found.plan.draws) == ("growing", 3), found.plan
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.plain, plain[None], rtol=0, atol=1e-5)
    # Putting back what is there changes nothing, in the pairs in which it was tried.
    np.testing.assert_allclose(found.identity[[0, 2]], plain[[0, 2]], rtol=0, atol=1e-5)
    assert np.isnan(found.identity[1])
    (entry,) = [each for each in found.ledger if each.intervention.startswith("noise")]
    assert entry.changed == entry.rows >= 3 * 3


def test_tokens_before_the_noise_are_known_and_take_no_arithmetic(small, some_pairs):
    """A causal model has the plain run's activations there; the others are run but once."""
    model, pairs, under = small("gpt2"), some_pairs(3), noise(embedding(pos=4), sd=1.0, draws=4)
    cells = [freeze(block_output(layer, pos=at)) for layer in range(3) for at in range(9)]
    found = sweep(model, cells, pairs, logit_diff, under=under)
    early = [index for index in range(len(cells)) if index % 9 < 4]
    assert (found.values[:, early] == found.plain[0][:, None]).all()
    assert found.plan.inert == tuple(early)
    assert found.plan.known == 3 * 4 * len(early)
    # Clean and noisy runs, checks, and five tokens of nine through what is left of three blocks.
    rows = 3 * 4
    assert found.plan.forward_equivalents < 3 + rows + 4 + rows * (5 + 4 + 3 + 2 + 1) / 9 * 3 / 3
    assert "27 cells on 3 pairs x 4 draws, 144 of 324 values known" in str(found.plan)


@pytest.mark.parametrize(
    "under",
    [
        noise(block_output(0, pos=2), sd=0.5, draws=2),
        interchange(embedding(pos=3)),
        noise(embedding(pos=2), sd=0.5, draws=2) + zero_ablate(block_output(1, pos=3)),
    ],
    ids=["behind a block", "reads the source", "in two places"],
)
def test_what_cannot_be_done_to_base_runs_first_is_done_in_every_cell(small, some_pairs, under):
    """The values are the same; nothing is kept that would be taken for other jobs."""
    model, pairs = small("llama"), some_pairs(3)
    cells, keeper = restored(model), _Kept()
    wanted, plain = both(model, cells, under, pairs)
    beside = Beside(sites=(block_output(0),), sample=SAMPLE)
    found = sweep(model, cells, pairs, logit_diff, under=under, keeper=keeper, beside=beside)
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.plain, plain[None], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.identity[[0, 2]], plain[[0, 2]], rtol=0, atol=1e-5)
    assert not keeper.kept


@pytest.mark.parametrize("plan", ["batched", "loop"])
def test_plans_that_are_asked_for_do_both_in_every_cell(small, some_pairs, plan):
    """A batched sweep and a loop give the same values."""
    model, pairs = small("gpt2"), some_pairs(2)
    under, cells = noise(embedding(pos=1), sd=0.5, draws=2), restored(model)
    wanted, _ = both(model, cells, under, pairs)
    found = sweep(model, cells, pairs, logit_diff, under=under, plan=plan)
    assert found.plan.name == plan
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-5)


def test_finished_jobs_on_edited_runs_are_taken_up(small, some_pairs):
    """A second sweep with the jobs of the first gives the same numbers without them."""
    model, pairs, keeper = small("gpt2"), some_pairs(3, ragged=True), _Kept()
    under, cells = add(embedding(pos=2), vector=np.full(24, 0.5)), restored(model)
    first = sweep(model, cells, pairs, logit_diff, under=under, keeper=keeper)
    assert len(keeper.kept) > 1
    again = sweep(model, cells, pairs, logit_diff, under=under, keeper=keeper)
    assert (again.values == first.values).all()
    assert keeper.asked == 2 * len(keeper.kept)


def test_what_is_done_first_must_be_there(small, some_pairs):
    """A token that prompts do not have is refused, as in a cell."""
    under = noise(embedding(pos=30), sd=0.5)
    with pytest.raises(SiteError, match="30"):
        sweep(small("gpt2"), restored(small("gpt2")), some_pairs(2), logit_diff, under=under)


@dataclass
class _Kept:
    """Keeps finished jobs, and counts how often one is asked for."""

    kept: dict[Job, Finished] = field(default_factory=dict)
    asked: int = 0

    def get(self, job: Job) -> Finished | None:
        """Return a job that was kept."""
        self.asked += 1
        return self.kept.get(job)

    def put(self, job: Job, finished: Finished) -> None:
        """Keep a job."""
        self.kept[job] = finished
