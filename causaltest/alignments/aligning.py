"""Learning alignments as calls of a causal."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from causaltest.alignments.alignment import Alignment
from causaltest.alignments.fitting import Fitting
from causaltest.alignments.origin import Fit, Origin
from causaltest.alignments.recipe import Loss, Method, Recipe
from causaltest.alignments.searching import Search, best_of
from causaltest.engine.model import Model
from causaltest.errors import InterventionError
from causaltest.fitted import Seen
from causaltest.interventions import Intervention
from causaltest.measuring import Measuring
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, Site
from causaltest.stats import Rate

_FEW_DEV = 20
"""Dev pairs below which one pair is more than 5% of the score that chooses."""


class Aligning(Measuring):
    """What measures accuracies can learn alignments and judge them."""

    @abstractmethod
    def accuracy(
        self,
        intervention: Intervention | None = None,
        *,
        on: Pairs,
        expect: Literal["base_answer", "source_answer"] | Callable[[Pair], str | int] | None = None,
        at: Pos = "end",
    ) -> Rate:
        """Measure how often the model's top answer is the expected one."""

    @abstractmethod
    def twin(self, weights: Literal["shuffled", "untrained"] = "shuffled", *, seed: int = 0) -> Any:
        """Return what measures the same on a twin of the model that learned nothing."""

    @abstractmethod
    def _on(self, model: Model) -> Any:
        """Return what measures the same on another model."""

    def align(
        self,
        site: Site | Iterable[Site],
        *,
        variable: str | Sequence[str],
        on: Pairs,
        dev: Pairs,
        by: str,
        width: int | None = None,
        method: Method = "rotation",
        seeds: Iterable[int] = (0, 1, 2, 3, 4),
        at: Pos = "end",
        loss: Loss | None = None,
        keep_in: str | os.PathLike[str] | None = None,
        **recipe: Any,
    ) -> Alignment:
        """Learn in which subspace of a site the network holds a variable of a causal model.

        Parameters
        ----------
        site
            One site, or several that hold the variable together.
        variable
            Name of the causal variable; several share one basis, and each pair's label `exchanged`
            says whose directions it exchanges.
        on
            Training pairs; their source answers are what the exchange should give.
        dev
            Pairs that say when to stop and which seed to keep.
        by
            The label that keeps training, dev and test pairs apart; there is no default.
        width
            Number of directions of each variable; method `rotation` needs it.
        method, seeds, loss
            As in `Recipe`.
        at
            Where the answer is read, one token.
        keep_in
            A folder that takes each seed's fit, and every few seconds how far it has got: the same
            call again goes on from there, to the same numbers bit for bit.
        **recipe
            epochs, patience, batch, accumulation, learning_rate, warmup, temperature,
            boundary_weight, as in `Recipe`.

        Returns
        -------
        Alignment
            `alignment.accuracy(on=test) > 0.9` is a claim; on the pairs it was learned from it is
            an error.

        Raises
        ------
        EvidenceError
            Training and dev pairs share a value of the label, or a prompt; or all training pairs
            have one source answer.
        InterventionError, PairError, SiteError
            A recipe, pair or site that does not fit.
        RecordError
            The folder holds fits of another search, or is damaged.

        Notes
        -----
        Distributed alignment search, Geiger et al. 2023 (arXiv 2303.02536); boundless, Wu et al.
        2023 (arXiv 2305.08809). What lies below the sites, and all sources, are run once.
        """
        sites = (site,) if isinstance(site, Site) else tuple(site)
        variables = (variable,) if isinstance(variable, str) else tuple(variable)
        how = recipe_of("align", method=method, seeds=tuple(seeds), loss=loss, **recipe)
        train, held = Seen.of(on, by, self._ids), Seen.of(dev, by, self._ids)
        train.check(dev, what="a fit", by=by, ids=self._ids)
        fitting = Fitting(self.model, sites, variables, width, on, dev, at, how)
        (found,) = Search(fitting, keep_in).run(f"alignment of {' and '.join(variables)}")
        fits = [fit for _, fit in found.values()]
        kept = best_of(found)
        self._report(variables, fits, kept, (train, held), by)
        origin = Origin(
            variables, by, train, held, tuple(fits), kept, how.plain(),
            self.model.name, self.model.sha256, at,
        )  # fmt: skip
        return Alignment(self, found[kept][0], origin, fitting, keep_in)

    def _report(
        self,
        variables: Sequence[str],
        fits: Sequence[Fit],
        kept: int,
        splits: tuple[Seen, Seen],
        by: str,
    ) -> None:
        scores = ", ".join(f"{fit.seed}: {fit.dev_accuracy:.0%}" for fit in fits)
        train, dev = splits
        self._note(
            f"alignment of {' and '.join(variables)} learned from {train.pairs} pairs of "
            f"{train.name}, kept apart by {by!r}; dev accuracy on {dev.pairs} pairs by seed: "
            f"{scores}; seed {kept} kept"
        )
        if dev.pairs < _FEW_DEV:
            self._note(
                f"{dev.name}, which says when to stop and which of {len(fits)} seeds to keep, "
                f"holds {dev.pairs} pair{'s' * (dev.pairs != 1)}: one more or less of them right "
                f"moves its accuracy by {1 / dev.pairs:.0%}"
            )


def recipe_of(call: str, **given: Any) -> Recipe:
    """Return a recipe of the settings of a call.

    Raises
    ------
    InterventionError
        There is no such setting, or its value makes no sense.
    """
    try:
        return Recipe(**given)
    except TypeError as error:
        raise InterventionError(f"{call}: {error}") from None
