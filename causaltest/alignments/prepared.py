"""A learning task whose sources and lower part were run: what its fits share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from causaltest.alignments.course import Curve, Keeper
from causaltest.alignments.fitting import Fitting
from causaltest.alignments.training import Examples, train
from causaltest.engine.upper import Upper
from causaltest.errors import PairError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs


class Prepared:
    """What is kept of the runs below the sites, for as many fits as are wanted.

    It may be as large as the model, so nothing that lives on should hold it.

    Parameters
    ----------
    fitting
        The task.

    Raises
    ------
    PairError
        A pair has no source answer.
    """

    def __init__(self, fitting: Fitting) -> None:
        self._fitting = fitting
        guess = fitting.drawn(0)
        self._on, self._dev = (
            Examples(Upper(fitting.model, guess, pairs, fitting.at), _answers(fitting, pairs))
            for pairs in (fitting.train, fitting.dev)
        )

    @property
    def plan(self) -> str:
        """Which part of the network every step runs."""
        return self._on.upper.plan

    def fit(
        self,
        seed: int,
        *,
        dealt: int | None = None,
        keeper: Keeper | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> tuple[Intervention, Curve]:
        """Learn from one seed.

        Parameters
        ----------
        seed
            Of the first guess and the order of the pairs.
        dealt
            Seed by which answers are dealt out anew among the pairs, so that there is nothing to
            learn but the pairs themselves; None learns from the answers as they are.
        keeper
            Keeps how far the fit has got, and goes on from there.
        tick
            Called after each step.
        """
        on, dev = self._on, self._dev
        if dealt is not None:
            on, dev = (_dealt(each, dealt) for each in (on, dev))
        fitting = self._fitting
        parts = fitting.guess(seed)

        def build(temperature: float) -> Intervention:
            return fitting.joined(part.subspace(temperature) for part in parts)

        curve = train(parts, build, on, dev, fitting.recipe, seed=seed, keeper=keeper, tick=tick)
        found = fitting.joined(part.frozen(curve.temperature) for part in parts)
        return found.frozen(), curve


def _answers(fitting: Fitting, pairs: Pairs) -> Tensor:
    found: list[int] = []
    for pair in pairs:
        if pair.source_answer is None:
            raise PairError(
                f"pair {pair.id} has no source_answer, the answer that the exchange should give"
            )
        found.append(fitting.model.prompts.answer_id(pair.base, pair.source_answer, pair))
    return torch.tensor(found)


def _dealt(examples: Examples, seed: int) -> Examples:
    stream = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(examples), generator=stream)
    return Examples(examples.upper, examples.answers[order])
