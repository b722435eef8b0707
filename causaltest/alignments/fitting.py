"""What is to be learned of an alignment: the task, before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

from causaltest.alignments.directions import Groups, Learned, learned
from causaltest.alignments.recipe import Recipe
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.errors import EvidenceError, InterventionError, PairError
from causaltest.interventions import Intervention, Subspace, interchange
from causaltest.pairs import Pairs
from causaltest.sites import Pos, Site
from causaltest.spelling import listed

APART = 1_000_003
"""Between the seeds of two sites of one alignment."""
_EXCHANGED = "exchanged"


@dataclass(frozen=True)
class Fitting:
    """A learning task.

    Parameters
    ----------
    model
        The model; it stays as it is.
    sites
        Where the variables are looked for, each site with directions of its own.
    variables
        Names of the causal variables; several share one basis, and pairs say by their label
        `exchanged` whose directions are exchanged.
    width
        Directions of each variable at each site; None where the recipe learns it.
    train, dev
        Pairs to learn from, and to stop and choose by.
    at
        Where the answer is read.
    recipe
        How.
    """

    model: Model
    sites: tuple[Site, ...]
    variables: tuple[str, ...]
    width: int | None
    train: Pairs
    dev: Pairs
    at: Pos
    recipe: Recipe

    def __post_init__(self) -> None:
        for pairs in (self.train, self.dev):
            check_variables(self.variables, pairs)
        _check_answers(self.train)
        self.guess(0)

    @property
    def steps(self) -> int:
        """Number of gradients of one fit, at most."""
        return self.recipe.epochs * -(-len(self.train) // self.recipe.batch)

    def plain(self) -> dict[str, object]:
        """Return what decides the outcome of a fit, seeds left out; a loss counts by its name."""
        recipe = self.recipe.plain()
        del recipe["seeds"]
        return {
            "model": self.model.sha256,
            "sites": [str(site) for site in self.sites],
            "variables": list(self.variables),
            "width": self.width,
            "train": self.train.sha256,
            "dev": self.dev.sha256,
            "at": self.at,
            "recipe": recipe,
        }

    def drawn(self, seed: int) -> Intervention:
        """Return a first guess: directions that nothing was learned of."""
        last = self.recipe.temperature[1]
        return self.joined(part.frozen(last) for part in self.guess(seed)).frozen()

    def guess(self, seed: int) -> list[Learned]:
        """Return what is learned, before it is."""
        count, groups = self._count, self._groups
        found: list[Learned] = []
        for index, site in enumerate(self.sites):
            # Far apart, so that sites begin with directions of their own.
            own = seed + APART * index
            found.append(learned(self.recipe, self._widths[site], count, groups, own))
        return found

    def joined(self, subspaces: Iterable[Subspace]) -> Intervention:
        """Return the interchange of a subspace of each site."""
        parts: list[Intervention] = [
            interchange(site, subspace=subspace)
            for site, subspace in zip(self.sites, subspaces, strict=True)
        ]
        return reduce(add, parts)

    @property
    def _count(self) -> int | None:
        return None if self.width is None else self.width * len(self.variables)

    @property
    def _groups(self) -> Groups | None:
        if len(self.variables) == 1:
            return None
        size = self.width or 0
        return {
            name: range(index * size, (index + 1) * size)
            for index, name in enumerate(self.variables)
        }

    @cached_property
    def _widths(self) -> dict[Site, int]:
        """Width of each site, measured on one prompt."""
        read = self.model.read(self.sites, [Row.of(self.train[0], "base")])
        return {site: int(read[site][0].shape[-1]) for site in self.sites}


def check_variables(variables: Sequence[str], pairs: Pairs) -> None:
    """Refuse pairs in which other variables are exchanged than those that are looked for.

    Raises
    ------
    InterventionError
        No variable is named, or one twice.
    PairError
        A pair exchanges another, or does not say which of several.
    """
    if not variables or len(set(variables)) < len(variables):
        raise InterventionError(
            f"variable= names {listed(variables)}; expected one, or several that differ"
        )
    for pair in pairs:
        exchanged = pair.labels.get(_EXCHANGED)
        if exchanged is None and len(variables) > 1:
            raise PairError(
                f"pair {pair.id} of {pairs.name} has no label {_EXCHANGED!r}, which says whose "
                f"directions are exchanged: {listed(variables)}"
            )
        if exchanged is not None and exchanged not in variables:
            raise PairError(
                f"in pair {pair.id} of {pairs.name} {exchanged!r} is exchanged, but the alignment "
                f"is of {listed(variables)}\nchoose its pairs: "
                f"{pairs.name}.where({_EXCHANGED}={variables[0]!r})"
            )


def _check_answers(train: Pairs) -> None:
    answers = {pair.source_answer for pair in train}
    if len(answers) == 1 and None not in answers:
        raise EvidenceError(
            f"every pair of {train.name} has the source answer {answers.pop()!r}: whatever pushes "
            "towards that is right, and nothing is learned of a variable\n"
            "take pairs whose source answers differ"
        )
