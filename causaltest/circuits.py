"""Circuits: sets of sites that are claimed to do a job together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from causaltest.errors import SiteError
from causaltest.interventions import abbreviate
from causaltest.sites import Site


@dataclass(frozen=True, init=False)
class Circuit:
    """A set of sites, with union (`+`, `|`), difference (`-`) and membership.

    Parameters
    ----------
    sites
        The members; order does not matter for equality.

    Raises
    ------
    SiteError
        A member is not a site.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> whole = Circuit(mlp_output(0), mlp_output(1))
    >>> str(whole - mlp_output(1))
    'mlp_output[0]'
    """

    sites: tuple[Site, ...]

    def __init__(self, *sites: Site) -> None:
        for site in sites:
            if not isinstance(site, Site):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise SiteError(
                    f"a circuit is made of sites such as mlp_output(0); got {site!r}"
                    f" ({type(site).__name__})"
                )
        object.__setattr__(self, "sites", tuple(sorted(set(sites), key=str)))

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __contains__(self, site: object) -> bool:
        return site in self.sites

    def __str__(self) -> str:
        return abbreviate([str(site) for site in self.sites]) or "(empty circuit)"

    def __add__(self, other: Site | Iterable[Site]) -> Circuit:
        return Circuit(*self.sites, *_members(other))

    __or__ = __add__

    def __sub__(self, other: Site | Iterable[Site]) -> Circuit:
        removed = set(_members(other))
        absent = removed - set(self.sites)
        if absent:
            raise SiteError(
                f"cannot remove {', '.join(sorted(map(str, absent)))}: not in the circuit {self}"
            )
        return Circuit(*(site for site in self.sites if site not in removed))


def _members(other: Site | Iterable[Site]) -> tuple[Site, ...]:
    if isinstance(other, Site):
        return (other,)
    if not isinstance(other, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SiteError(
            f"a circuit takes sites such as mlp_output(0); got {other!r} ({type(other).__name__})"
        )
    return tuple(other)
