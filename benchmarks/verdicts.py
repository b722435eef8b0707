"""What a verdict and a map cost, beside the same numbers computed the plain way.

    OMP_NUM_THREADS=2 python benchmarks/verdicts.py

The plain way draws one resample after the other. It is timed on a twentieth of the resamples in the
same run. Times are the least of the rounds; on a busy machine the processor time says more than
the clock. Targets: a verdict on 100 units in
under 20 ms; a map of 200 units, 2,000 cells and 10,000 resamples in under 10 s on 2 threads and in
under 1 GB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray
from results import record, table

from causaltest.stats import Effect, Grid, Judge, Ratio
from causaltest.stats.judge import FEWEST_RESAMPLES

UNITS, MAP_UNITS, CELLS = 100, 200, (40, 50)
PART = 20
"""The plain way draws one resample in so many."""

Floats = NDArray[np.float64]


def names(units: int) -> list[str]:
    """Name units."""
    return [f"unit {i:03d}" for i in range(units)]


def verdict(scale: Floats | None, seed: int) -> str:
    """Judge 100 units, with resamples of their own."""
    ids = names(UNITS)
    values = np.random.default_rng(seed).normal(1.0, 1.0, UNITS)
    shared = {"units": ids, "pair_ids": ids, "judge": Judge(seed=seed)}
    if scale is None:
        return (Effect(values, **shared) > 0.8).name
    return (Ratio(values, scale=scale, **shared) > 0.2).name


def plain_t(values: Floats, resamples: int, seed: int) -> Floats:
    """Return the largest studentised deviation over columns, one resample after the other."""
    rng, n = np.random.default_rng(seed), len(values)
    centred = values - values.mean(axis=0)
    largest = np.empty(resamples)
    for b in range(resamples):
        drawn = centred[rng.integers(0, n, n)]
        t = drawn.mean(axis=0) / drawn.std(axis=0, ddof=1) * np.sqrt(n)
        largest[b] = np.abs(t).max()
    return largest


def found(values: Floats, *, differenced: bool) -> int:
    """Count the cells that a map finds."""
    ids = names(MAP_UNITS)
    axes = {"layer": range(CELLS[0]), "pos": range(CELLS[1])}
    grid = Grid(values, axes=axes, units=ids, pair_ids=ids, differenced=differenced)
    return len(grid.significant())


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Time one call: by the clock, and of all processors."""
    start, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - spent


def compared(ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> list[float]:
    """Return the least times of ours and of the plain way, run in turn, and the ratio of work."""
    ours()
    rows = [(*seconds(ours), *seconds(plain)) for _ in range(rounds)]
    clock, work, plain_clock, plain_work = np.array(rows).min(axis=0)
    return [clock, work, PART * plain_clock, PART * plain_work / work]


def measured(rounds: int) -> list[tuple[str, list[float], str]]:
    """Time each kind of judgement: what, its times, its target."""
    part = FEWEST_RESAMPLES // PART
    rng = np.random.default_rng(0)
    values, scale = rng.normal(1.0, 1.0, (UNITS, 1)), rng.normal(3.0, 0.5, UNITS)
    seeds = count(1)
    timed: list[tuple[str, list[float], str]] = []
    for what, divisor in (("an effect", None), ("a ratio of means", scale)):
        times = compared(
            lambda divisor=divisor: verdict(divisor, next(seeds)),
            lambda: plain_t(values, part, next(seeds)),
            10 * rounds,
        )
        timed.append((f"verdict on {what}, {UNITS} units", times, "20 ms"))
    grid = rng.normal(size=(MAP_UNITS, *CELLS))
    flat = grid.reshape(MAP_UNITS, -1)
    for what, differenced in (("raw", False), ("less a placebo", True)):
        times = compared(
            lambda differenced=differenced: found(grid, differenced=differenced),
            lambda: plain_t(flat, part, next(seeds)),
            rounds,
        )
        size = f"{MAP_UNITS} units x {flat.shape[1]:,} cells x {FEWEST_RESAMPLES:,}"
        timed.append((f"map, {what}, {size}", times, "10 s"))
    return timed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args(arguments).rounds
    timed = measured(rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = [
        (what, f"{clock:.3g} s", target, f"{work:.3g} s", f"{plain:.3g} s", f"{ratio:.0f}")
        for what, (clock, work, plain, ratio), target in timed
    ]
    header = ["what", "time", "target", "processor time", "the plain way", "ratio of work"]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    text = f"{table(header, rows)}\n\nOn {threads} threads; peak memory {peak / 1e6:,.0f} MB."
    record("Verdicts and maps", f"python {' '.join(sys.argv)}", text)
    print(text)


if __name__ == "__main__":
    main()
