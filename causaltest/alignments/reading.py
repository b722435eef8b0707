"""What learned directions are made of: how much of each lies in every head or dim of its site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from causaltest.engine.model import Model
from causaltest.engine.subspaces import as_held
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention, Subspace
from causaltest.interventions.arrays import Array
from causaltest.interventions.subspaces import Boundless, Partition, Rotation
from causaltest.sites import Site

if TYPE_CHECKING:
    import altair

_MOST_DIMS = 64
"""Width up to which every dim stands for itself."""
TOGETHER = "together"


@dataclass(frozen=True)
class DirectionMap:
    """How much of each direction of a subspace lies in every part of its site.

    Directions of one length span the same subspace in many ways, and training has no reason to
    prefer any; what they share together is the same in all of them.

    Parameters
    ----------
    site
        Where the subspace was found.
    part
        What the site is cut into: `head`, `dim`, or `dims` for several at a time.
    parts
        Label of each.
    directions
        Label of each direction.
    shares
        (directions, parts): the squared length of a direction within a part; they add up to 1.
    """

    site: Site
    part: str
    parts: tuple[str, ...]
    directions: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]

    @property
    def together(self) -> tuple[float, ...]:
        """Mean over the directions, whichever basis of the subspace they are."""
        columns = zip(*self.shares, strict=True)
        return tuple(sum(each) / len(self.directions) for each in columns)

    def __repr__(self) -> str:
        most = max(range(len(self.parts)), key=self.together.__getitem__)
        return (
            f"<DirectionMap of {self.site}: {len(self.directions)} directions, "
            f"{self.together[most]:.0%} of them in {self.part} {self.parts[most]}>"
        )

    def plot(self, *, title: str = "") -> altair.TopLevelMixin:
        """Draw the shares as a heat map, the mean over all directions below.

        Parameters
        ----------
        title
            Written over it; by default the site.

        Returns
        -------
        altair.TopLevelMixin
            A chart, with `save` for SVG, PNG, PDF and HTML.
        """
        from causaltest.report.directions import direction_chart

        several = len(self.directions) > 1
        return direction_chart(
            [*self.directions, TOGETHER] if several else self.directions,
            self.parts,
            [*self.shares, self.together] if several else self.shares,
            across=self.part,
            title=title or f"What directions of {self.site} are made of",
            subtitle=("Shares of squared length; each row adds up to 100 %.",),
        )


def direction_map(
    model: Model, intervention: Intervention, site: Site | None = None, parts: int | None = None
) -> DirectionMap:
    """Say how much of each direction of an intervention lies in every part of its site.

    Parameters
    ----------
    model
        The model.
    intervention
        Interchanges in directions of a rotation, a partition of one, or within a boundary.
    site
        Which of its sites; None where there is one.
    parts
        Number of equal parts to cut the site into; None for heads where the site has heads, else
        for dims up to 64, else for 64 parts or as near to it as divides the width.

    Returns
    -------
    DirectionMap

    Raises
    ------
    InterventionError
        The site is none of the intervention's, its subspace has no directions, or its width
        cannot be cut into as many parts.

    Notes
    -----
    With orthonormal directions r_j, the share of r_j in a part P is the sum of r_ij^2 over the
    dims i of P. The mean over directions is the trace of the projection onto their span within P,
    divided by their number; it does not depend on the basis of that span.

    Examples
    --------
    >>> import torch
    >>> from causaltest.interventions import interchange, low_rank
    >>> from causaltest.sites import module
    >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
    >>> one = interchange(module("0"), subspace=low_rank([[0.6], [0.8], [0.0], [0.0]]))
    >>> [round(share, 2) for share in direction_map(toy, one).shares[0]]
    [0.36, 0.64, 0.0, 0.0]
    """
    part, where = _chosen(intervention, site)
    labels, basis = _directions(getattr(part, "subspace", None), part)
    access = model.access(where)
    width = basis.shape[0]
    heads = access.heads if where.head is None and where.dims is None else None
    if parts is None:
        fitting = next(n for n in range(min(width, _MOST_DIMS), 0, -1) if not width % n)
        count = heads or fitting
    else:
        count = parts
    if not 0 < count <= width or width % count:
        raise InterventionError(
            f"{where} is {width} wide, which cannot be cut into {count} equal parts; "
            f"{', '.join(str(n) for n in range(1, width + 1) if not width % n)} would fit"
        )
    size = width // count
    squares = basis.double().square().reshape(count, size, -1).sum(dim=1).T
    kind = "head" if count == heads else "dim" if size == 1 else "dims"
    names = tuple(range(width)) if where.dims is None else where.dims
    cut = [names[start : start + size] for start in range(0, width, size)]
    if kind == "head":
        labelled = tuple(map(str, range(count)))
    else:
        labelled = tuple(str(each[0]) if size == 1 else f"{each[0]}-{each[-1]}" for each in cut)
    shares = tuple(tuple(row) for row in squares.tolist())
    return DirectionMap(where, kind, labelled, labels, shares)


def _chosen(intervention: Intervention, site: Site | None) -> tuple[Intervention, Site]:
    """Return the part of an intervention that is made at a site, and the site."""
    known = [(part, each) for part in intervention.parts for each in part.sites]
    found = [(part, each) for part, each in known if site is None or each == site]
    if len(found) == 1:
        return found[0]
    sites = ", ".join(sorted({str(each) for _, each in known}))
    if site is None:
        raise InterventionError(f"{intervention} has {len(known)} sites; say site=, one of {sites}")
    if found:
        raise InterventionError(f"{site} is edited {len(found)} times in {intervention}")
    raise InterventionError(f"{site} is no site of {intervention}; it has {sites}")


def _directions(subspace: Subspace | None, part: Intervention) -> tuple[tuple[str, ...], Tensor]:
    """Return directions as columns, (width, directions), and a label for each."""
    if isinstance(subspace, Rotation):
        labels = tuple(f"direction {index}" for index in subspace.dims)
        return labels, _held(subspace.basis)[:, list(subspace.dims)]
    if isinstance(subspace, Partition) and isinstance(subspace.basis, Rotation):
        names = [f"{name} {index}" for name, dims in subspace.groups for index in dims]
        columns = [index for _, dims in subspace.groups for index in dims]
        return tuple(names), _held(subspace.basis.basis)[:, columns]
    if isinstance(subspace, Boundless):
        rotation = _held(subspace.rotation)
        boundary = float(_held(subspace.boundary).reshape(()))
        count = max(1, round(min(1.0, max(0.0, boundary)) * rotation.shape[0]))
        return tuple(f"direction {index}" for index in range(count)), rotation[:, :count]
    raise InterventionError(
        f"{part} exchanges {'a whole site' if subspace is None else subspace}, which has no "
        "directions; a map is drawn of rotations, partitions of them, and boundless subspaces"
    )


def _held(values: Array) -> Tensor:
    return values.tensor.detach().cpu() if values.trainable else as_held(values)
