"""A search: fits of one task from every seed, learned or read back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import count

from causaltest.alignments.fitting import Fitting
from causaltest.alignments.origin import Fit
from causaltest.alignments.prepared import Prepared
from causaltest.alignments.resuming import Finished
from causaltest.interventions import Intervention
from causaltest.progress import progress

Fits = Mapping[int, tuple[Intervention, Fit]]
"""What was learned from each seed."""


class Search:
    """Learns from every seed of a task.

    Parameters
    ----------
    fitting
        The task.
    keep_in
        Folder that takes fits, finished or on their way; None keeps nothing.

    Raises
    ------
    RecordError, InterventionError
        As for `Finished`.
    """

    def __init__(self, fitting: Fitting, keep_in: str | os.PathLike[str] | None) -> None:
        self._fitting = fitting
        self._finished = Finished(keep_in, fitting)

    def run(self, what: str, dealt: Sequence[int | None] = (None,)) -> list[Fits]:
        """Learn from every seed, for each way to deal out the answers.

        Parameters
        ----------
        what
            What is done, for the bar that shows how far it has got.
        dealt
            As for `Prepared.fit`.
        """
        steps, seeds = self._fitting.steps, self._fitting.recipe.seeds
        total = len(dealt) * len(seeds) * steps
        done = 0
        found: list[Fits] = []
        with progress(what) as advance:
            for deal in dealt:
                fits: dict[int, tuple[Intervention, Fit]] = {}
                for seed in seeds:
                    each = count(done + 1)
                    fits[seed] = self._one(seed, deal, lambda each=each: advance(next(each), total))
                    done += steps
                    advance(done, total)
                found.append(fits)
        return found

    def _one(
        self, seed: int, dealt: int | None, tick: Callable[[], None]
    ) -> tuple[Intervention, Fit]:
        name = f"{seed}" if dealt is None else f"shuffled-{dealt}-{seed}"
        known = self._finished.get(name)
        if known is None:
            learned, curve = self._prepared.fit(
                seed, dealt=dealt, keeper=self._finished.running(name), tick=tick
            )
            best = curve.best
            known = learned, Fit(seed, curve.dev[best], curve.losses[best], len(curve.dev))
            self._finished.add(name, *known)
        return known

    @cached_property
    def _prepared(self) -> Prepared:
        return Prepared(self._fitting)


def best_of(fits: Fits) -> int:
    """Return the seed that did best on the dev pairs; of equals, the one of the least loss."""
    return max(fits, key=lambda seed: (fits[seed][1].dev_accuracy, -fits[seed][1].loss))
