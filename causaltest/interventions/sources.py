"""Where activations are taken from: further sources, edited sources, and the base run itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from causaltest.errors import InterventionError
from causaltest.interventions.base import Intervention, Joint, some_sites
from causaltest.interventions.kinds import Interchange
from causaltest.sites import Site


@dataclass(frozen=True)
class FromSource(Intervention):
    """An intervention that takes its activations from a named prompt of the pair.

    Parameters
    ----------
    taken
        What is done with the activations of the source run.
    source
        `source`, `base`, or the name of one of the pair's further sources.
    under
        An intervention on the source run itself; None for a plain run.
    optional
        Leave pairs without that source as they are.
    """

    sites: tuple[Site, ...] = field(init=False, default=())
    taken: Intervention = field(kw_only=True)
    source: str = field(kw_only=True)
    under: Intervention | None = field(default=None, kw_only=True)
    optional: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.taken, Intervention) or isinstance(self.taken, (Joint, FromSource)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"from_source({self.source!r}, ...) takes an intervention such as "
                f"interchange(block_output(0)); got {self.taken!r} ({type(self.taken).__name__})"
            )
        if not self.taken.needs_source:
            raise InterventionError(
                f"{self.taken} takes nothing from a source run, so from_source has no meaning"
            )
        if not isinstance(self.source, str) or not self.source:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"the source is {self.source!r}; expected 'source', 'base' or the name of one of "
                "the pair's further sources"
            )
        if self.under is not None and not isinstance(self.under, Intervention):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"under= takes an intervention on the source run; got {self.under!r}"
            )
        object.__setattr__(self, "sites", self.taken.sites)
        super().__post_init__()

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return max(self.taken.draws, 1 if self.under is None else self.under.draws)

    @property
    def needs_source(self) -> bool:
        """Whether the source run of each pair is read."""
        if self.source == "source" and not self.optional:
            return True
        return self.under is not None and self.under.needs_source

    @property
    def needs_input(self) -> bool:
        """Whether an edit of a module's output makes use of that module's input."""
        return self.taken.needs_input

    def __str__(self) -> str:
        if self.source == "base" and self.under is None and isinstance(self.taken, Interchange):
            return str(self.taken).replace("interchange(", "freeze(", 1)
        under = "" if self.under is None else f" under ({self.under})"
        return f"{self.taken} from {self.source}{under}"


def from_source(
    source: str,
    intervention: Intervention,
    *,
    under: Intervention | None = None,
    optional: bool = False,
) -> Intervention:
    """Take the activations of an intervention from a named prompt of the pair.

    Several sources act in one base run as the sum of interventions, in the order written:
    `from_source("one", interchange(a)) + from_source("two", interchange(b))`. All sites of one
    source are read in one pass. With `under=` the source run is itself intervened on, so that
    sources form a chain, of any length.

    Parameters
    ----------
    source
        `source`, `base` (the base prompt's own plain run), or a name in the pair's `sources`.
    intervention
        One that takes from a source, such as `interchange(...)`, or a sum of such.
    under
        What is edited in the source run. Its positions are those of the prompt that is run.
    optional
        Leave pairs that do not have this source as they are; otherwise they are an error.

    Returns
    -------
    Intervention

    Raises
    ------
    InterventionError
        The intervention takes nothing from a source.

    Examples
    --------
    >>> from causaltest.interventions.edits import interchange
    >>> from causaltest.sites import block_output
    >>> str(from_source("second", interchange(block_output(2, pos="name"))))
    'interchange(block_output[2]@name) from second'
    """
    parts = intervention.parts if isinstance(intervention, Joint) else (intervention,)
    named = tuple(
        FromSource(taken=part, source=source, under=under, optional=optional) for part in parts
    )
    return named[0] if len(named) == 1 else Joint(parts_of_joint=named)


def freeze(*sites: Site) -> FromSource:
    """Hold sites at what they are in the plain run of the base prompt.

    With an interchange upstream, only what does not pass through the frozen sites has an effect:
    `interchange(sender) + freeze(*everything_else)` is the sender's direct path.

    Parameters
    ----------
    sites
        One or more sites. A frozen site that is to stay so despite others stands last in a sum.

    Returns
    -------
    FromSource

    Raises
    ------
    InterventionError
        No site, or the same site twice.

    Notes
    -----
    The building block of path patching: Goldowsky-Dill et al. 2023 (arXiv 2304.05969).

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(freeze(mlp_output(1)))
    'freeze(mlp_output[1])'
    """
    return FromSource(taken=Interchange(some_sites(sites, "freeze")), source="base")
