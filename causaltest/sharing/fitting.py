"""Which model an intervention was saved with, and whether it fits another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from causaltest.engine.model import Model
from causaltest.errors import CausaltestError, RecordError
from causaltest.interventions import (
    Adapter,
    Addition,
    Constant,
    FeatureEdit,
    FromSource,
    Intervention,
    Replacement,
    Subspace,
    Subtraction,
)
from causaltest.sites import Site


@dataclass(frozen=True)
class Fingerprint:
    """The model that an intervention was made for.

    Parameters
    ----------
    name
        What it was called.
    network
        Class of the network.
    sha256
        Hash of all weights.
    widths
        Width of each site, where it is known before a run.
    """

    name: str
    network: str
    sha256: str
    widths: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def fingerprint_of(model: Model, value: Intervention | Subspace) -> Fingerprint:
    """Return the fingerprint of a model at the sites of an intervention.

    Raises
    ------
    RecordError
        The intervention does not fit the model it is to be saved with.
    """
    check_fits(model, value, None, other_weights=False)
    widths: dict[str, int] = {}
    for site in _sites(value):
        width = model.access(site).width
        if width is not None:
            widths[str(site)] = width
    return Fingerprint(model.name, type(model.network).__name__, model.sha256, widths)


def check_fits(
    model: Model,
    value: Intervention | Subspace,
    saved: Fingerprint | None,
    *,
    other_weights: bool,
) -> None:
    """Refuse an intervention that was made for another model, or cannot be made in this one.

    Parameters
    ----------
    model
        Where it is to be used.
    value
        The intervention.
    saved
        The model it was saved with; None where none was named.
    other_weights
        Accept a model of the same class and widths whose weights are different.

    Raises
    ------
    RecordError
        With the name of what does not fit.
    """
    network = type(model.network).__name__
    if saved is not None and saved.network != network:
        raise RecordError(
            f"the intervention was saved with {saved.name}, a {saved.network}; {model.name} is a "
            f"{network}\nload it without model=, and save it anew, if it is meant for both"
        )
    for site in _sites(value):
        try:
            width = model.access(site).width
        except CausaltestError as error:
            raise RecordError(f"the intervention does not fit {model.name}: {error}") from error
        before = None if saved is None else saved.widths.get(str(site))
        if before is not None and width is not None and before != width:
            raise RecordError(
                f"the intervention does not fit {model.name}: {site} is {width} wide there, and "
                f"was {before} wide in {saved.name if saved else ''}"
            )
        for what, needed in _needs(value, site):
            if width is not None and needed != width:
                raise RecordError(
                    f"the intervention does not fit {model.name}: {site} is {width} wide, but "
                    f"{what} is made for {needed}"
                )
    if saved is not None and not other_weights and saved.sha256 != model.sha256:
        raise RecordError(
            f"the intervention was saved with other weights: {saved.name} had "
            f"{saved.sha256[:12]}, {model.name} has {model.sha256[:12]}\n"
            "what was learned on one model need not hold in another; where you mean it, say "
            "other_weights=True"
        )


def _pieces(value: Intervention) -> Iterator[Intervention]:
    """Yield what an intervention comes down to, edits of source runs included."""
    for part in value.parts:
        if isinstance(part, FromSource):
            yield from _pieces(part.taken)
            if part.under is not None:
                yield from _pieces(part.under)
        else:
            yield part


def _sites(value: Intervention | Subspace) -> tuple[Site, ...]:
    if isinstance(value, Intervention):
        return tuple(dict.fromkeys(site for piece in _pieces(value) for site in piece.sites))
    return () if value.site is None else (value.site,)


def _needs(value: Intervention | Subspace, site: Site) -> Iterator[tuple[str, int]]:
    """Yield what has a width of its own, and that width."""
    if isinstance(value, Subspace):
        if value.width is not None:
            yield str(value), value.width
        return
    for part in _pieces(value):
        if site not in part.sites:
            continue
        subspace = part.subspace if isinstance(part, Replacement) else None
        if isinstance(part, FeatureEdit):
            subspace = part.basis
        if subspace is not None and subspace.width is not None:
            yield str(subspace), subspace.width
        if isinstance(part, Constant) and part.value.shape:
            yield "the value of constant", part.value.shape[0]
        if isinstance(part, (Addition, Subtraction)):
            yield "the vector", part.vector.shape[0]
        if isinstance(part, Adapter):
            yield "the adapter", part.up.shape[1]
