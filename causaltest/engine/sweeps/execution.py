"""Running a sweep: choose a plan, run its jobs, check them, and say what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from causaltest.engine.ledger import Entry, total
from causaltest.engine.model import Model
from causaltest.engine.run import Score, score
from causaltest.engine.sweeps.plan import Choice, Job, Plan
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.spelling import did_you_mean

MEMORY = 1 << 30

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Swept:
    """What a sweep measured.

    Parameters
    ----------
    values
        The metric of the intervened runs, (pairs, cells).
    ledger
        What was edited and what changed: one entry for each intervention and site.
    plan
        How it was run.
    """

    values: np.ndarray
    ledger: tuple[Entry, ...]
    plan: Plan


def sweep(
    model: Model,
    cells: Sequence[Intervention],
    pairs: Pairs,
    metric: Score,
    *,
    plan: Choice = "auto",
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Swept:
    """Run each of many interventions on the base prompt of every pair and score the outputs.

    Parameters
    ----------
    model
        The model.
    cells
        The interventions; each is run by itself.
    pairs
        Where.
    metric
        A number for one output.
    plan
        `auto`, or the plan to be used; where it cannot be used, the next one is, and says why.
    memory
        Bytes that rows of one pass may take, about.
    progress
        Called with (values done, values in all).

    Returns
    -------
    Swept

    Raises
    ------
    InterventionError
        There is no cell, an edit does not fit or did not happen, or no cell changed anything.
    """
    cells = tuple(cells)
    _check_asked(cells, plan, memory)
    values = np.zeros((len(pairs), len(cells)))
    ledgers: list[tuple[Entry, ...]] = []
    for index, cell in enumerate(cells):
        found = score(model, cell, pairs, metric, allow_inert=True)
        values[:, index] = found.values
        ledgers.append(found.ledger)
        if progress is not None:
            progress((index + 1) * len(pairs), values.size)
    inert = tuple(i for i, each in enumerate(ledgers) if not any(e.changed for e in each))
    if len(inert) == len(cells):
        raise InterventionError(
            f"none of {len(cells)} cells changed an activation in any of {len(pairs)} pairs\n"
            "Nothing can be concluded. For an interchange, base and source agree at these sites: "
            "choose pairs that differ before them, or other sites or positions"
        )
    job = Job(tuple(range(len(pairs))), tuple(range(len(cells))), "loop")
    made = Plan(
        "loop", ("asked for",), len(pairs), len(cells), (job,), len(pairs),
        float(values.size), inert=inert,
    )  # fmt: skip
    return Swept(values, total(entry for each in ledgers for entry in each), made)


def _check_asked(cells: Sequence[Intervention], plan: str, memory: int) -> None:
    if not cells:
        raise InterventionError("a sweep needs at least one intervention; there is none")
    if plan not in (known := get_args(Choice)):
        raise InterventionError(
            f"there is no plan {plan!r}{did_you_mean(plan, known)}; plans: {', '.join(known)}"
        )
    if memory <= 0:
        raise InterventionError(f"memory is {memory!r}; expected a number of bytes")
