"""What all interventions share: sites, sums, draws, and the numbers inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from causaltest.errors import InterventionError
from causaltest.interventions.arrays import arrays_of, snapshot
from causaltest.sites import Site


@dataclass(frozen=True)
class Intervention:
    """An edit at one or more sites; abstract, see the functions of this package.

    `a + b` is the intervention that makes both edits in one forward pass. Edits at one site
    compose in the order written: the later one sees what the earlier one left.
    """

    holds_arrays: ClassVar[bool] = True

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

    @property
    def needs_source(self) -> bool:
        """Whether the source run of each pair is read."""
        return False

    @property
    def needs_input(self) -> bool:
        """Whether an edit of a module's output makes use of that module's input."""
        return False

    @property
    def trained(self) -> tuple[Any, ...]:
        """The tensors inside that are being trained, each once."""
        found = (each.tensor for each in arrays_of(self) if each.trainable)
        return tuple({id(tensor): tensor for tensor in found}.values())

    def frozen(self) -> Intervention:
        """Return the same intervention with trained tensors replaced by their present numbers."""
        return snapshot(self)

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
class Joint(Intervention):
    """Several interventions in one forward pass, applied in the order written."""

    sites: tuple[Site, ...] = field(init=False, default=())
    parts_of_joint: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        if len(self.parts_of_joint) < 2 or any(
            isinstance(part, Joint) for part in self.parts_of_joint
        ):
            raise InterventionError(
                "a joint intervention is the sum of two or more: interchange(...) + add(...)"
            )
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

    @property
    def needs_source(self) -> bool:
        """Whether the source run of each pair is read."""
        return any(part.needs_source for part in self.parts_of_joint)

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts_of_joint)


def abbreviate(names: Sequence[str], *, most: int = 4) -> str:
    """Join names, cutting a long list in the middle: `a, b, ... (12 sites)`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, ... ({len(names)} sites)"


def some_sites(sites: tuple[Site, ...], verb: str) -> tuple[Site, ...]:
    """Return the sites, or refuse where there are none.

    Raises
    ------
    InterventionError
        There is no site.
    """
    if not sites:
        raise InterventionError(f"{verb}() needs at least one site, e.g. {verb}(block_output(0))")
    return sites


def _check_sites(sites: tuple[Site, ...], what: str) -> None:
    if not sites:
        raise InterventionError(f"{what} names no site")
    seen: set[Site] = set()
    for site in sites:
        if not isinstance(site, Site):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"{what} takes sites such as block_output(0); got {site!r} ({type(site).__name__})"
            )
        if site in seen:
            raise InterventionError(f"{what} names {site} twice")
        seen.add(site)
