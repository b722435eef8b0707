"""Subspaces: the part of an activation that an intervention replaces, as frozen data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from causaltest.errors import InterventionError
from causaltest.interventions.arrays import Array, as_array, shaped, vector
from causaltest.sites import Site

Groups = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Subspace:
    """A part of an activation; abstract, see the functions of this module.

    `interchange(site, subspace=s)` replaces only this part. Where a subspace was found at a site it
    knows it: `interchange(s)` then needs no other.
    """

    holds_arrays: ClassVar[bool] = True

    site: Site | None = field(default=None, kw_only=True)

    def at(self, site: Site | None) -> Subspace:
        """Return the same subspace, known to belong to a site."""
        return replace(self, site=site)

    @property
    def width(self) -> int | None:
        """Width of the activations that it fits; None where it fits any that are wide enough."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rotation(Subspace):
    """Some directions of an orthonormal basis; see `rotated` and `low_rank`."""

    basis: Array
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        width, count = _matrix(self.basis, "the basis of a rotation")
        if count > width:
            raise InterventionError(
                f"a rotation has a basis of shape {self.basis.shape}; expected (width of the site, "
                "directions), with no more directions than the site is wide"
            )
        check_dims(self.dims, count, "direction")
        if len(self.dims) == width:
            raise InterventionError(_vacuous(width))

    @property
    def width(self) -> int:
        """Width of the activations that it fits."""
        return self.basis.shape[0]

    def __str__(self) -> str:
        return f"rotated({len(self.dims)} of {self.width} dims)"


@dataclass(frozen=True)
class Boundless(Subspace):
    """The leading directions of a rotation up to a soft boundary; see `boundless`."""

    rotation: Array
    boundary: Array
    temperature: float

    def __post_init__(self) -> None:
        _square(self.rotation)
        if math.prod(self.boundary.shape) != 1:
            raise InterventionError(f"boundary must be one number; got {self.boundary.shape}")
        check_temperature(self.temperature)

    @property
    def width(self) -> int:
        """Width of the activations that it fits."""
        return self.rotation.shape[0]

    def __str__(self) -> str:
        (boundary,) = self.boundary
        return f"boundless({boundary:.3g} of {self.width} dims, temperature={self.temperature:g})"


@dataclass(frozen=True)
class SigmoidMask(Subspace):
    """A soft mask on dims, or on the directions of a rotation; see `sigmoid_mask`."""

    mask: Array
    temperature: float
    rotation: Array | None = None

    def __post_init__(self) -> None:
        if len(self.mask.shape) != 1:
            raise InterventionError(f"mask must be one-dimensional; got shape {self.mask.shape}")
        check_temperature(self.temperature)
        if self.rotation is not None:
            width = _square(self.rotation)
            if width != self.mask.shape[0]:
                raise InterventionError(
                    f"the mask has {self.mask.shape[0]} numbers, but the rotation is {width} wide"
                )

    @property
    def width(self) -> int:
        """Width of the activations that it fits."""
        return self.mask.shape[0]

    def __str__(self) -> str:
        basis = "" if self.rotation is None else "rotated, "
        return f"sigmoid_mask({basis}{self.width} dims, temperature={self.temperature:g})"


@dataclass(frozen=True)
class PrincipalComponents(Subspace):
    """Some principal components; see `pca`."""

    components: Array
    mean: Array
    scale: Array
    dims: tuple[int, ...]
    keep_error: bool = True

    def __post_init__(self) -> None:
        count, width = _matrix(self.components, "components")
        for what, values in (("mean", self.mean), ("scale", self.scale)):
            if values.shape != (width,):
                raise InterventionError(
                    f"pca: {what} has shape {values.shape}, but the components are {width} wide"
                )
        if any(value <= 0 for value in self.scale):
            raise InterventionError("pca: a scale is not positive; divide by standard deviations")
        check_dims(self.dims, count, "component")

    @property
    def width(self) -> int:
        """Width of the activations that it fits."""
        return self.components.shape[1]

    def __str__(self) -> str:
        lost = "" if self.keep_error else ", error dropped"
        return f"pca({len(self.dims)} of {self.width} dims{lost})"


@dataclass(frozen=True)
class Partition(Subspace):
    """Dims, or directions of a basis, that differ from pair to pair; see `partition`."""

    by: str
    groups: Groups
    basis: Subspace | None = None

    def __post_init__(self) -> None:
        if not self.by or not self.groups:
            raise InterventionError(
                "a partition needs a label and dims for each of its values, e.g. "
                "partition({'singular': range(8), 'plural': range(8, 16)}, by='number')"
            )
        if isinstance(self.basis, (Boundless, SigmoidMask, Partition)):
            raise InterventionError(
                f"a partition cannot choose dims of {self.basis}; its basis is a rotation, a PCA "
                "or an autoencoder"
            )
        most = _size(self.basis)
        for name, dims in self.groups:
            try:
                check_dims(dims, most, "dim")
            except InterventionError as error:
                raise InterventionError(f"partition, group {name!r}: {error}") from None
            if isinstance(self.basis, Rotation) and len(dims) == self.basis.width:
                raise InterventionError(f"partition, group {name!r}: {_vacuous(self.basis.width)}")

    @property
    def width(self) -> int | None:
        """Width of the activations that it fits."""
        return None if self.basis is None else self.basis.width

    def __str__(self) -> str:
        return f"partition({len(self.groups)} groups by {self.by})"


def _vacuous(width: int) -> str:
    return (
        f"all {width} of {width} directions would be replaced: then the activation becomes the "
        "source's whatever the rotation, and nothing is learned about it\n"
        f"choose fewer than {width}, or interchange the whole site without a subspace"
    )


def _size(basis: Subspace | None) -> int | None:
    """Return how many directions a basis has to choose from; None where any."""
    if isinstance(basis, Rotation):
        return basis.basis.shape[1]
    if isinstance(basis, PrincipalComponents):
        return basis.components.shape[0]
    return getattr(basis, "n_features", None)


def _matrix(values: Array, what: str) -> tuple[int, int]:
    if len(values.shape) != 2:
        raise InterventionError(f"{what} must be two-dimensional; got shape {values.shape}")
    return values.shape[0], values.shape[1]


def _square(rotation: Array) -> int:
    rows, columns = _matrix(rotation, "a rotation")
    if rows != columns:
        raise InterventionError(
            f"a rotation has shape {rotation.shape}; expected a square matrix, (width, width)"
        )
    return rows


def check_dims(dims: tuple[int, ...], most: int | None, what: str) -> None:
    """Refuse dims that are none, no whole numbers from 0, twice the same, or too large.

    Raises
    ------
    InterventionError
        With the offending number.
    """
    if not dims:
        raise InterventionError(f"no {what} is chosen; choose at least one")
    for dim in dims:
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(f"{what} {dim!r} is no whole number from 0")
        if most is not None and dim >= most:
            raise InterventionError(f"{what} {dim} does not exist: there are {what}s 0-{most - 1}")
    if len(set(dims)) < len(dims):
        twice = next(dim for dim in dims if dims.count(dim) > 1)
        raise InterventionError(f"{what} {twice} is named twice")


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not a positive number.

    Raises
    ------
    InterventionError
        With the temperature.
    """
    if not math.isfinite(temperature) or temperature <= 0:
        raise InterventionError(f"temperature is {temperature!r}; expected a positive number")


def _chosen(count: int, k: int | None, dims: Iterable[int] | None, verb: str) -> tuple[int, ...]:
    """Return the dims that `k` (the first so many) or `dims` names."""
    if (k is None) == (dims is None):
        raise InterventionError(
            f"{verb}() needs either k, for the first k directions, or dims; e.g. {verb}(..., k=8)"
        )
    if dims is not None:
        return tuple(dims)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= count:
        raise InterventionError(f"k is {k!r}; expected a whole number from 1 to {count}")
    return tuple(range(k))


def rotated(rotation: Any, *, k: int | None = None, dims: Iterable[int] | None = None) -> Rotation:
    """Return some directions of a rotated basis; activations keep all others.

    Parameters
    ----------
    rotation
        (width, width), orthogonal; its columns are the directions.
    k
        How many: the first k columns. All of them are refused: that would be no subspace.
    dims
        Which columns, instead of k.

    Returns
    -------
    Rotation

    Raises
    ------
    InterventionError
        Neither k nor dims, or both; all directions; no matrix. A matrix whose columns are not
        orthonormal is refused when it is used.

    Notes
    -----
    With R the chosen columns: new = base + (source R - base R) R^T. Distributed interchange,
    Geiger et al. 2023 (arXiv 2303.02536), equation 3.

    Examples
    --------
    >>> print(rotated([[0.6, -0.8], [0.8, 0.6]], k=1))
    rotated(1 of 2 dims)
    """
    basis = shaped(rotation, "a rotation", 2)
    _square(basis)
    return Rotation(basis, _chosen(basis.shape[1], k, dims, "rotated"))


def low_rank(basis: Any, *, dims: Iterable[int] | None = None) -> Rotation:
    """Return the subspace that a few orthonormal directions span.

    Parameters
    ----------
    basis
        (width, rank), with orthonormal columns and a rank below the width.
    dims
        Which columns; None for all of them.

    Returns
    -------
    Rotation

    Raises
    ------
    InterventionError
        As for `rotated`.

    Notes
    -----
    new = base + (source R - base R) R^T. Low-rank distributed alignment search, Wu et al. 2023
    (arXiv 2305.08809) and Geiger et al. 2023 (arXiv 2303.02536).

    Examples
    --------
    >>> print(low_rank([[1.0], [0.0], [0.0]]))
    rotated(1 of 3 dims)
    """
    columns = shaped(basis, "the basis of a rotation", 2)
    return Rotation(columns, tuple(range(columns.shape[1])) if dims is None else tuple(dims))


def boundless(rotation: Any, *, boundary: Any = 0.5, temperature: float = 50.0) -> Boundless:
    """Return the leading directions of a rotation up to a soft, learnable boundary.

    Parameters
    ----------
    rotation
        (width, width), orthogonal.
    boundary
        Share of the directions within the boundary, clamped to 0.001-1; may be trained.
    temperature
        Softness of the boundary, in directions; annealed towards 0.

    Returns
    -------
    Boundless

    Raises
    ------
    InterventionError
        The matrix is not square, the boundary not one number, the temperature not positive.

    Notes
    -----
    m_i = s(i / T) s((clamp(b, .001, 1) d - i) / T) for direction i = 0..d-1, s the logistic
    function; new = base + (m * (source R - base R)) R^T. Boundless distributed alignment search,
    Wu et al. 2023 (arXiv 2305.08809), equations 4 and 5.

    Examples
    --------
    >>> print(boundless([[0.6, -0.8], [0.8, 0.6]], temperature=0.1))
    boundless(0.5 of 2 dims, temperature=0.1)
    """
    return Boundless(shaped(rotation, "a rotation", 2), as_array(boundary), float(temperature))


def sigmoid_mask(mask: Any, *, temperature: float = 1.0, rotation: Any = None) -> SigmoidMask:
    """Return a soft mask on the dims of an activation, or on the directions of a rotation.

    Parameters
    ----------
    mask
        (width,), logits of the mask; may be trained.
    temperature
        Softness; the mask is hard as it tends to 0.
    rotation
        (width, width), orthogonal; None for the dims as they are.

    Returns
    -------
    SigmoidMask

    Raises
    ------
    InterventionError
        Shapes that do not fit, or a temperature that is not positive.

    Notes
    -----
    m = s(mask / T), s the logistic function. Without rotation new = base + m * (source - base);
    with one new = base + (m * (source R - base R)) R^T. Differentiable masks, De Cao et al. 2020
    (arXiv 2004.14992); on rotated dims as in Wu et al. 2023 (arXiv 2305.08809).

    Examples
    --------
    >>> print(sigmoid_mask([4.0, -4.0], temperature=0.5))
    sigmoid_mask(2 dims, temperature=0.5)
    """
    turned = None if rotation is None else shaped(rotation, "a rotation", 2)
    return SigmoidMask(vector(mask, "the mask"), float(temperature), turned)


def pca(
    components: Any,
    *,
    mean: Any = None,
    scale: Any = None,
    k: int | None = None,
    dims: Iterable[int] | None = None,
    keep_error: bool = True,
) -> PrincipalComponents:
    """Return some principal components of an activation.

    Parameters
    ----------
    components
        (components, width), orthonormal rows, as scikit-learn's `components_`.
    mean, scale
        (width,); what is subtracted from activations, and what they are divided by, before they
        are projected. None for zeros and ones.
    k
        How many: the first k components.
    dims
        Which components, instead of k.
    keep_error
        Keep what the components do not express. Without it the activation is also replaced by its
        projection on them.

    Returns
    -------
    PrincipalComponents

    Raises
    ------
    InterventionError
        Shapes that do not fit, a scale that is not positive, or neither k nor dims.

    Notes
    -----
    z = ((x - mean) / scale) C^T; z' is base z with the chosen components of source z. With the
    error kept, new = base + ((z' - z) C) * scale; without, new = (z' C) * scale + mean.

    Examples
    --------
    >>> print(pca([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], k=1))
    pca(1 of 3 dims)
    """
    matrix = shaped(components, "components", 2)
    count, width = matrix.shape
    return PrincipalComponents(
        matrix,
        vector([0.0] * width if mean is None else mean, "mean"),
        vector([1.0] * width if scale is None else scale, "scale"),
        _chosen(count, k, dims, "pca"),
        keep_error,
    )


def partition(
    dims: Mapping[str, Iterable[int]], *, by: str, basis: Subspace | Any = None
) -> Partition:
    """Return a subspace that differs from pair to pair: each row changes its own dims only.

    Parameters
    ----------
    dims
        Which dims each value of the label means; with `by="id"`, which dims each pair means.
    by
        A label of the pairs, or `id`.
    basis
        What the dims index: None for the activation's own; a matrix (width, directions) with
        orthonormal columns; or a rotation, PCA or autoencoder, whose own dims then play no part.

    Returns
    -------
    Partition

    Raises
    ------
    InterventionError
        No dims, dims that the basis does not have, or all directions of a rotation.

    Notes
    -----
    For row i with the dims D_i of its value: new_i = base_i, with the dims D_i of source_i (in the
    basis where there is one).

    Examples
    --------
    >>> print(partition({"singular": range(4), "plural": [4, 5]}, by="number"))
    partition(2 groups by number)
    """
    if basis is not None and not isinstance(basis, Subspace):
        matrix = shaped(basis, "the basis of a rotation", 2)
        basis = Rotation(matrix, (0,))
    groups = tuple((str(name), tuple(chosen)) for name, chosen in dims.items())
    return Partition(by, groups, basis)
