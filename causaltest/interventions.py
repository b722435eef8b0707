"""Interventions: frozen descriptions of edits; the engine interprets them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from causaltest.errors import InterventionError
from causaltest.pairs import Pairs
from causaltest.sites import Site


@dataclass(frozen=True)
class Intervention:
    """An edit at one or more sites; abstract, see the functions of this module.

    `a + b` is the intervention that makes both edits in one forward pass.
    """

    sites: tuple[Site, ...]

    def __post_init__(self) -> None:
        _check_sites(self.sites, type(self).__name__)

    @property
    def parts(self) -> tuple[Intervention, ...]:
        """The single-kind interventions that make up this one."""
        return (self,)

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return 1

    def __add__(self, other: Intervention) -> Joint:
        if not isinstance(other, Intervention):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return Joint(parts_of_joint=self.parts + other.parts)

    def __str__(self) -> str:
        return f"{self._verb()}({self._arguments()})"

    def _verb(self) -> str:
        raise TypeError(f"{type(self).__name__} is abstract; use interchange(), zero_ablate(), ...")

    def _arguments(self) -> str:
        shown = [abbreviate([str(site) for site in self.sites])]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "sites" and item.metadata.get("shown") and value != item.default:
                shown.append(f"{item.name}={value}")
        return ", ".join(shown)


@dataclass(frozen=True)
class Interchange(Intervention):
    """The base run takes the source run's activation."""

    def _verb(self) -> str:
        return "interchange"


@dataclass(frozen=True)
class ZeroAblation(Intervention):
    """The activation becomes zero."""

    def _verb(self) -> str:
        return "zero_ablate"


@dataclass(frozen=True)
class MeanAblation(Intervention):
    """The activation becomes its mean over a reference pair set."""

    over: Pairs | None = None

    def _verb(self) -> str:
        return "mean_ablate"

    def _arguments(self) -> str:
        over = "" if self.over is None else f", over={self.over.name}"
        return super()._arguments() + over


@dataclass(frozen=True)
class ResampleAblation(Intervention):
    """The activation becomes that of another, randomly drawn prompt."""

    over: Pairs | None = None
    seed: int = field(default=0, metadata={"shown": True})
    draws_per_pair: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_draws(self.draws_per_pair)

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return self.draws_per_pair

    def _verb(self) -> str:
        return "resample_ablate"

    def _arguments(self) -> str:
        over = "" if self.over is None else f", over={self.over.name}"
        return f"{super()._arguments()}{over}, draws={self.draws_per_pair}"


@dataclass(frozen=True)
class Noise(Intervention):
    """Gaussian noise is added to the activation."""

    sd: float = 1.0
    seed: int = field(default=0, metadata={"shown": True})
    draws_per_pair: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.sd) or self.sd <= 0:
            raise InterventionError(
                f"noise sd is {self.sd!r}; expected a positive number in units of the activation"
            )
        _check_draws(self.draws_per_pair)

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return self.draws_per_pair

    def _verb(self) -> str:
        return "noise"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, sd={self.sd:g}, draws={self.draws_per_pair}"


@dataclass(frozen=True)
class Addition(Intervention):
    """A fixed vector, times a scale, is added to the activation."""

    vector: tuple[float, ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.vector or not all(math.isfinite(value) for value in self.vector):
            raise InterventionError(
                "the vector to add must be a non-empty sequence of finite numbers"
                f" (got {len(self.vector)} values)"
            )
        if not math.isfinite(self.scale):
            raise InterventionError(f"scale is {self.scale!r}; expected a finite number")

    def _verb(self) -> str:
        return "add"

    def _arguments(self) -> str:
        norm = math.sqrt(sum(value * value for value in self.vector)) * abs(self.scale)
        return f"{super()._arguments()}, norm={norm:.3g}"


@dataclass(frozen=True)
class Joint(Intervention):
    """Several interventions in one forward pass, applied in the order written."""

    sites: tuple[Site, ...] = field(init=False, default=())
    parts_of_joint: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        merged = tuple(dict.fromkeys(site for part in self.parts_of_joint for site in part.sites))
        object.__setattr__(self, "sites", merged)

    @property
    def parts(self) -> tuple[Intervention, ...]:
        """The single-kind interventions that make up this one."""
        return self.parts_of_joint

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair: as many as any part needs."""
        return max(part.draws for part in self.parts_of_joint)

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts_of_joint)


def abbreviate(names: Sequence[str], *, most: int = 4) -> str:
    """Join names, cutting a long list in the middle: `a, b, ... (12 sites)`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, ... ({len(names)} sites)"


def interchange(*sites: Site) -> Interchange:
    """Replace the activation at each site by the one from the pair's source run.

    Parameters
    ----------
    sites
        One or more sites; all are edited in the same forward pass.

    Returns
    -------
    Interchange

    Raises
    ------
    InterventionError
        No site, something that is not a site, or the same site twice.

    Notes
    -----
    Interchange intervention, Geiger et al. 2021 (arXiv 2106.02997), definition 2.

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(interchange(block_output(2, pos="name")))
    'interchange(block_output[2]@name)'
    """
    return Interchange(_tuple_of_sites(sites, "interchange"))


def zero_ablate(*sites: Site) -> ZeroAblation:
    """Set the activation at each site to zero.

    Parameters
    ----------
    sites
        One or more sites.

    Returns
    -------
    ZeroAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, or the same site twice.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(zero_ablate(mlp_output(0)))
    'zero_ablate(mlp_output[0])'
    """
    return ZeroAblation(_tuple_of_sites(sites, "zero_ablate"))


def mean_ablate(*sites: Site, over: Pairs | None = None) -> MeanAblation:
    """Replace the activation at each site by its mean over a reference pair set.

    The mean is one vector for each site: over all base and source prompts of the reference set and
    all tokens the site's position names.

    Parameters
    ----------
    sites
        One or more sites.
    over
        The reference pair set; None takes the pairs the claim is about.

    Returns
    -------
    MeanAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, or the same site twice.

    Notes
    -----
    Wang et al. 2022 (arXiv 2211.00593), section 2.1, with the reference distribution named by
    `over`.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(mean_ablate(mlp_output(0, pos="end")))
    'mean_ablate(mlp_output[0]@end)'
    """
    return MeanAblation(_tuple_of_sites(sites, "mean_ablate"), over=over)


def resample_ablate(
    *sites: Site, over: Pairs | None = None, seed: int = 0, draws: int = 10
) -> ResampleAblation:
    """Replace the activation at each site by that of another base prompt, drawn at random.

    Every pair has its own random stream, so results depend neither on order nor on batching;
    the metric is averaged over the draws within each pair.

    Parameters
    ----------
    sites
        One or more sites; in one draw all take their activation from the same prompt.
    over
        Where prompts are drawn from; None takes the pairs the claim is about.
    seed
        Root of the random streams.
    draws
        Draws averaged within each pair.

    Returns
    -------
    ResampleAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, the same site twice, or draws below 1.

    Notes
    -----
    Resample ablation, Chan et al. 2022 (causal scrubbing).

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(resample_ablate(mlp_output(0, pos="end"), draws=3))
    'resample_ablate(mlp_output[0]@end, draws=3)'
    """
    return ResampleAblation(
        _tuple_of_sites(sites, "resample_ablate"), over=over, seed=seed, draws_per_pair=draws
    )


def noise(*sites: Site, sd: float, seed: int = 0, draws: int = 10) -> Noise:
    """Add independent Gaussian noise to the activation at each site.

    Parameters
    ----------
    sites
        One or more sites.
    sd
        Standard deviation, in units of the activation itself.
    seed
        Root of the random streams; every pair, site and draw has its own.
    draws
        Draws averaged within each pair.

    Returns
    -------
    Noise

    Raises
    ------
    InterventionError
        No site, the same site twice, a standard deviation that is not positive, draws below 1.

    Notes
    -----
    Causal tracing's corruption, Meng et al. 2022 (arXiv 2202.05262), section 2.1.

    Examples
    --------
    >>> from causaltest.sites import embedding
    >>> str(noise(embedding(pos="name"), sd=0.5))
    'noise(embedding@name, sd=0.5, draws=10)'
    """
    return Noise(_tuple_of_sites(sites, "noise"), sd=float(sd), seed=seed, draws_per_pair=draws)


def add(site: Site, vector: Iterable[float], *, scale: float = 1.0) -> Addition:
    """Add a fixed vector, times a scale, to the activation at a site.

    Parameters
    ----------
    site
        Where to add.
    vector
        As many numbers as the site is wide: a list, an array or a one-dimensional tensor.
    scale
        Factor on the vector.

    Returns
    -------
    Addition

    Raises
    ------
    InterventionError
        The vector is empty, not one-dimensional, or holds numbers that are not finite.

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(add(block_output(1, pos="end"), [3.0, 4.0]))
    'add(block_output[1]@end, norm=5)'
    """
    listed = vector.tolist() if hasattr(vector, "tolist") else list(vector)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    try:
        values = tuple(float(value) for value in listed)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    except (TypeError, ValueError) as error:
        raise InterventionError(
            "the vector to add must be one-dimensional: one number for each dim of the site"
        ) from error
    return Addition(_tuple_of_sites((site,), "add"), vector=values, scale=float(scale))


def _tuple_of_sites(sites: tuple[Site, ...], verb: str) -> tuple[Site, ...]:
    if not sites:
        raise InterventionError(f"{verb}() needs at least one site, e.g. {verb}(block_output(0))")
    return sites


def _check_sites(sites: tuple[Site, ...], what: str) -> None:
    seen: set[Site] = set()
    for site in sites:
        if not isinstance(site, Site):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"{what} takes sites such as block_output(0); got {site!r} ({type(site).__name__})"
            )
        if site in seen:
            raise InterventionError(f"{what} names {site} twice")
        seen.add(site)


def _check_draws(draws: object) -> None:
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise InterventionError(f"draws is {draws!r}; expected a whole number from 1")
