"""Finished jobs of a sweep as plain data, so that a sweep that was stopped can be taken up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from causaltest.engine.ledger import Entry
from causaltest.engine.sweeps.plan import Job

Way = Literal["packed", "suffixes", "whole"]
"""Which tokens rows run: from their own first edit on, from the first edit of some, or all."""

_NUMBERS = "<f8"


@dataclass(frozen=True)
class Finished:
    """What one job gave.

    Parameters
    ----------
    values
        The metric, (pairs of the job, cells of the job), as little-endian doubles.
    changed
        Prompts that each cell changed.
    plain, identity
        What base prompts scored, (metric and others, pairs), and the identity control's metric,
        (pairs,), NaN where it was not run; nothing where not asked for.
    entries, given
        What was edited in the runs, and in the runs of their sources.
    rows, work, known
        As in `Plan`; arithmetic is `forward_equivalents` there.
    checked, difference, largest
        Cells that were checked in this job, by how much they were off, and their largest logit.
    way, hindrance
        Which tokens rows ran, and why no fewer.
    """

    values: bytes
    changed: tuple[int, ...]
    plain: bytes = b""
    identity: bytes = b""
    entries: tuple[Entry, ...] = ()
    given: tuple[Entry, ...] = ()
    rows: int = 0
    work: float = 0.0
    known: int = 0
    checked: tuple[int, ...] = ()
    difference: float | None = None
    largest: float = 0.0
    way: Way = "whole"
    hindrance: str = ""

    def matrix(self, job: Job) -> np.ndarray:
        """Return the values, (pairs of the job, cells of the job)."""
        return unpacked(self.values, (len(job.pairs), len(job.cells)))


class Keeper(Protocol):
    """Keeps finished jobs."""

    def get(self, job: Job) -> Finished | None:
        """Return what a job gave, where it was kept."""

    def put(self, job: Job, finished: Finished) -> None:
        """Keep what a job gave."""


def packed(values: np.ndarray) -> bytes:
    """Return numbers as bytes, exactly.

    Examples
    --------
    >>> unpacked(packed(np.array([[0.1, -0.0]])), (1, 2)).tolist()
    [[0.1, -0.0]]
    """
    return np.ascontiguousarray(values, dtype=_NUMBERS).tobytes()


def unpacked(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of a shape from bytes.

    Raises
    ------
    ValueError
        There are more or fewer.
    """
    return np.frombuffer(data, dtype=_NUMBERS).reshape(shape).astype(np.float64)
