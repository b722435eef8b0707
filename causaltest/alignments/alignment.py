"""Alignment: a learned subspace, judged on pairs that it has not seen."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from causaltest.alignments.directions import drawn_like
from causaltest.alignments.fitting import APART, Fitting, check_variables
from causaltest.alignments.origin import Origin
from causaltest.alignments.prepared import Prepared
from causaltest.alignments.reading import DirectionMap, direction_map
from causaltest.alignments.rowspace import row_space_part
from causaltest.alignments.searching import Search, best_of
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.progress import progress
from causaltest.sites import Site
from causaltest.spelling import did_you_mean, listed
from causaltest.stats import Rate
from causaltest.stats.controls import Controls, Test

if TYPE_CHECKING:
    from causaltest.alignments.aligning import Aligning

Rival = Literal["random directions", "shuffled labels"]


class Alignment:
    """A learned claim of where a network holds a variable; given by `causal.align`.

    Parameters
    ----------
    causal
        What measures it.
    intervention
        The interchange of what was learned.
    origin
        What it was learned from.
    fitting
        How to learn it again; None for an alignment that was loaded.
    keep_in
        A folder for the fits of controls; None keeps none.
    """

    def __init__(
        self,
        causal: Aligning,
        intervention: Intervention,
        origin: Origin,
        fitting: Fitting | None = None,
        keep_in: str | os.PathLike[str] | None = None,
    ) -> None:
        self._causal = causal
        self.intervention = intervention
        self.origin = origin
        self._fitting = fitting
        self._keep_in = None if keep_in is None else Path(keep_in)
        for seen in (origin.train, origin.dev):
            causal.remember(self._what, intervention, seen, by=origin.by)

    def __repr__(self) -> str:
        best = next(fit for fit in self.origin.fits if fit.seed == self.origin.kept)
        return (
            f"<Alignment of {' and '.join(self.origin.variables)}: {self.intervention}, "
            f"{best.dev_accuracy:.0%} on {self.origin.dev.pairs} dev pairs>"
        )

    @property
    def plan(self) -> str:
        """Which part of the network each step of the training ran, and why not less.

        It is found out anew, for which the part below is run again.
        """
        return Prepared(self._refit()).plan

    def accuracy(self, *, on: Pairs) -> Rate:
        """Measure how often exchanging what was learned gives the counterfactual answer.

        Parameters
        ----------
        on
            Pairs that share no value of the splitting label, and no prompt, with those it was
            learned from.

        Returns
        -------
        Rate
            Interchange-intervention accuracy.

        Raises
        ------
        EvidenceError
            The alignment has seen some of these pairs.
        """
        self.check_unseen(on)
        return self._causal.accuracy(self.intervention, on=on, at=self.origin.at)

    def unchanged(self, *, on: Pairs) -> Rate:
        """Measure how often the counterfactual answer comes with nothing exchanged.

        A network that ignores the exchange scores this; `accuracy > unchanged` is the least that
        an alignment must do.
        """
        self.check_unseen(on)
        return self._causal.accuracy(on=on, expect="source_answer", at=self.origin.at)

    def controls(
        self,
        rival: Rival,
        *,
        on: Pairs,
        k: int = 39,
        seed: int = 1000,
        test: Test | None = None,
    ) -> Controls:
        """Measure k rivals of the alignment, so that `accuracy > controls` says it beats them.

        Where `align` was given a folder, the fits of rivals are kept in it as well.

        Parameters
        ----------
        rival
            `random directions`: as many, drawn at random; of a boundless alignment within the same
            boundary, of a mask the same values for other dims. `shuffled labels`: learned as the
            alignment was, from answers dealt out anew among the training pairs and among the dev
            pairs; each from as many seeds, the best on its dev pairs kept, so that the alignment
            owes nothing to having been chosen.
        on
            The pairs that the accuracy is measured on.
        k
            How many; 39 is the fewest at which a rank test reaches .025.
        seed
            Of the first; those after it count on.
        test
            `rank`, or `prediction` for few rivals whose accuracies are roughly normal.

        Raises
        ------
        InterventionError
            The rival is unknown, what was learned has no directions, or nothing can be learned
            again since the alignment was loaded.
        EvidenceError
            The alignment has seen some of these pairs, or k is below 5.
        """
        self.check_unseen(on)
        known = ("random directions", "shuffled labels")
        if rival not in known:
            raise InterventionError(
                f"rival is {rival!r}{did_you_mean(str(rival), known)}; expected one of "
                f"{listed(known)}"
            )
        numbers = range(seed, seed + k)
        if rival == "random directions":
            edits = [_drawn(self.intervention, number) for number in numbers]
        else:
            search = Search(self._refit(), self._keep_in)
            rounds = search.run(f"{self._what} on {rival}", list(numbers))
            edits = [fits[best_of(fits)][0] for fits in rounds]
        found: list[Rate] = []
        with progress(f"rivals of {self._what}") as advance:
            for edit in edits:
                found.append(self._causal.accuracy(edit, on=on, at=self.origin.at))
                advance(len(found), k)
        kind = rival if rival == "random directions" else "refits on shuffled labels"
        return Controls(found, kind=kind, test=test)

    def untrained(
        self, *, on: Pairs, weights: Literal["shuffled", "untrained"] = "untrained", seed: int = 0
    ) -> Rate:
        """Learn the same alignment in a twin of the model that learned nothing, and measure it.

        As for the alignment, the best of all seeds is kept.

        Parameters
        ----------
        on
            The pairs that the accuracy is measured on.
        weights, seed
            As for `causal.twin`.
        """
        self.check_unseen(on)
        fitting = self._refit()
        other = self._causal.twin(weights, seed=seed)
        kept = None if self._keep_in is None else self._keep_in / f"{weights}-{seed}"
        search = Search(replace(fitting, model=other.model), kept)
        (fits,) = search.run(f"{self._what} in a twin, {weights}")
        return other.accuracy(fits[best_of(fits)][0], on=on, at=self.origin.at)

    def row_space(self, *, on: Pairs) -> Rate:
        """Measure the part of the alignment that the next linear map can see at all.

        Of a subspace that works through a direction which no later weight reads directly, little
        is left: an interpretability illusion (Makelov et al. 2024, arXiv 2311.17030).

        Raises
        ------
        InterventionError
            The sites are not the inputs of one linear map, or the subspace is no rotation.
        """
        self.check_unseen(on)
        part = row_space_part(self._causal.model, self.intervention)
        return self._causal.accuracy(part, on=on, at=self.origin.at)

    def directions(self, site: Site | None = None, *, parts: int | None = None) -> DirectionMap:
        """Say how much of each learned direction lies in every head or dim of its site.

        Parameters
        ----------
        site
            Which of the alignment's sites; None where there is one.
        parts
            Number of equal parts to cut the site into; None for heads, where the site has heads,
            or dims, where it is narrow.

        Returns
        -------
        DirectionMap
            With the shares, and a picture of them.

        Raises
        ------
        InterventionError
            What was learned has no directions, as a mask, or the site has no such parts.
        """
        return direction_map(self._causal.model, self.intervention, site, parts)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Save to a folder that `load_alignment`, `sharing.load` and `causaltest judge` read.

        Raises
        ------
        RecordError
            The folder cannot be written.
        """
        from causaltest.alignments.saving import save

        return save(self, self._causal.model, folder)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, client: Any = None) -> str:
        """Upload the folder that `save` writes to the Hub, and return where the commit is.

        Parameters
        ----------
        repo_id, private, client
            As for `sharing.push_to_hub`.

        Raises
        ------
        RecordError
            The Hub refuses.
        """
        from causaltest.alignments.saving import push

        return push(self, self._causal.model, repo_id, private=private, client=client)

    def check_unseen(self, on: Pairs) -> None:
        """Refuse pairs that the alignment has seen, or in which something else is exchanged.

        Raises
        ------
        EvidenceError
            They share a value of the splitting label, or a prompt, with what it was learned from.
        PairError
            They lack that label, or exchange other variables.
        """
        if not isinstance(on, Pairs):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PairError(f"on= takes a pair set (Pairs); got {type(on).__name__}")
        check_variables(self.origin.variables, on)
        for seen in (self.origin.train, self.origin.dev):
            seen.check(on, what=self._what, by=self.origin.by, ids=self._causal.model.prompts.ids)
        learned, here = self.origin.model_sha256, self._causal.model.sha256
        if learned != here:
            self._causal._note(  # noqa: SLF001
                f"{self._what} was learned with other weights ({learned[:8]}) than those it is "
                f"judged with ({here[:8]})"
            )

    # What follows serves the methods above

    @property
    def _what(self) -> str:
        return f"an alignment of {' and '.join(self.origin.variables)}"

    def _refit(self) -> Fitting:
        if self._fitting is None:
            raise InterventionError(
                "an alignment that was loaded holds no training pairs, so it cannot be learned "
                "again for a control\nlearn it anew with causal.align(...)"
            )
        return self._fitting


def _drawn(intervention: Intervention, seed: int) -> Intervention:
    """Return the same exchange in directions drawn at random."""
    parts: list[Intervention] = []
    for index, part in enumerate(intervention.parts):
        # Far apart, so that sites have directions of their own.
        drawn = drawn_like(getattr(part, "subspace", None), seed + APART * index)
        parts.append(replace(part, subspace=drawn))  # pyright: ignore[reportCallIssue]
    return reduce(add, parts)
