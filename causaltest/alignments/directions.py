"""What is learned of a subspace: numbers under autograd, and the subspace they make now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from causaltest.alignments.recipe import Recipe
from causaltest.errors import InterventionError
from causaltest.interventions import Subspace, boundless, low_rank, partition, sigmoid_mask
from causaltest.interventions.arrays import Array
from causaltest.interventions.subspaces import Boundless, Partition, Rotation, SigmoidMask

Groups = Mapping[str, Sequence[int]]


class Moved:
    """Numbers that an optimiser moves.

    Attributes
    ----------
    parameters
        The tensors.
    """

    parameters: list[Tensor]

    def state(self) -> list[Tensor]:
        """Return a copy of the parameters."""
        return [each.detach().clone() for each in self.parameters]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Put parameters back."""
        with torch.no_grad():
            for each, kept in zip(self.parameters, state, strict=True):
                each.copy_(kept)


class Learned(Moved, ABC):
    """A subspace that is being learned."""

    @abstractmethod
    def subspace(self, temperature: float) -> Subspace:
        """Return the subspace as it is now; gradients flow to the parameters."""

    def cost(self) -> Tensor | float:
        """Return the share of the width that is taken, where that is learned."""
        return 0.0

    def frozen(self, temperature: float) -> Subspace:
        """Return the subspace as it is now, as plain data."""
        with torch.no_grad():
            return self.subspace(temperature)


class Directions(Learned):
    """The span of a few orthonormal directions, or of some of them for each variable.

    The directions are the orthogonal factor of a free matrix, Q of X = QR with a positive diagonal
    of R, so that each subspace has one Q near which training is smooth.
    """

    def __init__(self, width: int, count: int, groups: Groups | None, seed: int) -> None:
        if not 1 <= count < width:
            raise InterventionError(
                f"the alignment would take {count} of {width} directions; choose a width from 1 "
                f"to {width - 1}: with all of them nothing is learned"
            )
        drawn = torch.randn(width, count, generator=torch.Generator().manual_seed(seed))
        self._raw = torch.linalg.qr(drawn).Q.requires_grad_()
        self._groups = groups
        self.parameters = [self._raw]

    def subspace(self, temperature: float) -> Subspace:  # noqa: ARG002 - it has none
        """Return the span."""
        basis = orthonormal(self._raw)
        if self._groups is None:
            return low_rank(basis)
        return partition(self._groups, by="exchanged", basis=basis)


class Boundary(Learned):
    """The leading directions of a rotation up to a learned soft boundary."""

    def __init__(self, width: int, seed: int) -> None:
        drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
        self._raw = torch.linalg.qr(drawn).Q.requires_grad_()
        self._boundary = torch.tensor(0.5, requires_grad=True)
        self.parameters = [self._raw, self._boundary]

    def subspace(self, temperature: float) -> Subspace:
        """Return the directions within the boundary."""
        return boundless(orthonormal(self._raw), boundary=self._boundary, temperature=temperature)

    def cost(self) -> Tensor:
        """Return the boundary."""
        return self._boundary.clamp(1e-3, 1.0)


class Mask(Learned):
    """A soft mask on the dims as they are; it begins half open."""

    def __init__(self, width: int) -> None:
        self._mask = torch.zeros(width, requires_grad=True)
        self.parameters = [self._mask]
        self._last = 1.0

    def subspace(self, temperature: float) -> Subspace:
        """Return the dims under the mask."""
        self._last = temperature
        return sigmoid_mask(self._mask, temperature=temperature)

    def cost(self) -> Tensor:
        """Return the share of dims under the mask."""
        return torch.sigmoid(self._mask / self._last).mean()


def orthonormal(raw: Tensor) -> Tensor:
    """Return the orthogonal factor of a matrix whose triangular factor has a positive diagonal.

    Parameters
    ----------
    raw
        (width, directions) of full rank.
    """
    q, r = torch.linalg.qr(raw)
    return q * torch.sign(torch.diagonal(r))


def drawn_like(subspace: Subspace | None, seed: int) -> Subspace:
    """Return a subspace of the same kind and size, drawn at random.

    Parameters
    ----------
    subspace
        What was learned. Of a mask, its values are dealt out anew among the dims.
    seed
        Of the draw.

    Raises
    ------
    InterventionError
        It has no directions.
    """
    stream = torch.Generator().manual_seed(seed)

    def directions(width: int, count: int) -> Tensor:
        return torch.linalg.qr(torch.randn(width, count, generator=stream)).Q

    if isinstance(subspace, Rotation):
        return low_rank(directions(subspace.width, len(subspace.dims)))
    if isinstance(subspace, Partition) and isinstance(subspace.basis, Rotation):
        width, count = subspace.basis.basis.shape
        return replace(subspace, basis=low_rank(directions(width, count), dims=(0,)))
    if isinstance(subspace, Boundless):
        return replace(subspace, rotation=Array(directions(subspace.width, subspace.width)))
    if isinstance(subspace, SigmoidMask) and subspace.rotation is None:
        mask = torch.tensor(list(subspace.mask), dtype=getattr(torch, subspace.mask.dtype))
        dealt = mask[torch.randperm(len(mask), generator=stream)]
        return replace(subspace, mask=Array(dealt))
    raise InterventionError(
        f"{'a whole site' if subspace is None else subspace} has no directions that others could "
        "be drawn like; compare with sites: causal.controls(...)"
    )


def learned(
    recipe: Recipe, width: int, count: int | None, groups: Groups | None, seed: int
) -> Learned:
    """Return what a recipe learns at a site.

    Parameters
    ----------
    recipe
        Says the method.
    width
        Of the site.
    count
        Directions of a rotation.
    groups
        Which of them each of several variables takes; None for one variable.
    seed
        Of the first guess.

    Raises
    ------
    InterventionError
        `width=` or several variables do not go with the method.
    """
    if recipe.method == "rotation":
        if count is None:
            raise InterventionError(
                "method 'rotation' needs width=, the number of directions of the alignment"
            )
        return Directions(width, count, groups, seed)
    if count is not None or groups is not None:
        what = "several variables" if groups is not None else "width="
        raise InterventionError(
            f"method {recipe.method!r} learns how wide the alignment is and cannot take {what}; "
            "use method='rotation'"
        )
    return Boundary(width, seed) if recipe.method == "boundless" else Mask(width)
