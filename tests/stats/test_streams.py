"""Resamples depend on the seed and the number of units, and on nothing else."""

import numpy as np
import pytest

from causaltest.stats import streams


def drawn(units, resamples, seed):
    """Return all resamples as one array."""
    return np.concatenate(list(streams.resample_indices(units, resamples, seed)))


def test_the_same_seed_draws_the_same_resamples():
    """Drawing again, with other draws in between, changes nothing."""
    first = drawn(12, 99, 3).copy()
    for other in range(10):
        drawn(12, 99, 100 + other)
    assert np.array_equal(first, drawn(12, 99, 3))


def test_blocks_continue_one_stream(monkeypatch):
    """Many resamples begin with those that fewer would have been: blocks do not restart."""
    whole = drawn(50, 1000, 7)
    monkeypatch.setattr(streams, "_BLOCK", 50 * 64)
    assert np.array_equal(whole, drawn(50, 1000, 7))


@pytest.mark.parametrize("seeds", [(1, 2), (0, 2**63)])
def test_seeds_differ(seeds):
    """Two seeds give two streams."""
    assert not np.array_equal(drawn(12, 99, seeds[0]), drawn(12, 99, seeds[1]))


def test_every_unit_is_drawn_equally_often():
    """Counts of 100,000 draws of 10 units lie within 5 standard errors of 10,000."""
    counts = np.bincount(drawn(10, 10_000, 0).ravel(), minlength=10)
    assert np.all(np.abs(counts - 10_000) < 5 * np.sqrt(100_000 * 0.1 * 0.9))


def test_counts_are_the_same_resamples():
    """Counts times values are the sums of the drawn values."""
    values = np.arange(7.0)
    (counts,) = streams.resample_counts(7, 50, 1)
    assert np.allclose(counts @ values, values[drawn(7, 50, 1)].sum(axis=1))


def test_kept_draws_cannot_be_changed():
    """What comparisons share is read-only."""
    block = next(streams.resample_indices(12, 99, 3))
    with pytest.raises(ValueError, match="read-only"):
        block[0, 0] = 1
