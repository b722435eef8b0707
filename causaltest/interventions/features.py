"""Autoencoders, sparse ones among them, whose features are read and edited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from causaltest.errors import InterventionError
from causaltest.interventions.arrays import Array, as_array, shaped, vector
from causaltest.interventions.base import Intervention
from causaltest.interventions.subspaces import (
    PrincipalComponents,
    Rotation,
    Subspace,
    check_dims,
)
from causaltest.sites import Site
from causaltest.spelling import did_you_mean

Activation = Literal["relu", "jumprelu", "topk", "identity"]
Change = Literal["set", "add", "scale"]


@dataclass(frozen=True)
class Autoencoder(Subspace):
    """Some features of a one-layer autoencoder; see `autoencoder`."""

    encoder: Array
    encoder_bias: Array
    decoder: Array
    decoder_bias: Array
    activation: Activation
    dims: tuple[int, ...]
    threshold: Array | None = None
    top: int | None = None
    centred: bool = False
    keep_error: bool = True

    def __post_init__(self) -> None:
        width, count = self._check_shapes()
        if self.activation not in get_args(Activation):
            meant = did_you_mean(str(self.activation), get_args(Activation))
            raise InterventionError(
                f"unknown activation {self.activation!r} of an autoencoder{meant}\n"
                f"expected one of {', '.join(get_args(Activation))}"
            )
        if (self.activation == "jumprelu") != (self.threshold is not None):
            raise InterventionError(
                "a JumpReLU autoencoder has a threshold for each feature, and no other has: give "
                "threshold= together with activation='jumprelu'"
            )
        if self.threshold is not None and self.threshold.shape not in ((count,), ()):
            raise InterventionError(
                f"autoencoder: threshold has shape {self.threshold.shape}; expected ({count},), "
                "one number for each feature"
            )
        if (self.activation == "topk") != (self.top is not None):
            raise InterventionError(
                "a TopK autoencoder keeps a fixed number of features, and no other does: give top= "
                "together with activation='topk'"
            )
        if self.top is not None and not (type(self.top) is int and 1 <= self.top <= count):
            raise InterventionError(
                f"autoencoder: top is {self.top!r}; expected a whole number from 1 to {count}"
            )
        check_dims(self.dims, count, "feature")
        assert width

    def _check_shapes(self) -> tuple[int, int]:
        if len(self.encoder.shape) != 2:
            raise InterventionError(
                f"autoencoder: encoder has shape {self.encoder.shape}; expected (width, features)"
            )
        width, count = self.encoder.shape
        for what, values, wanted in (
            ("encoder_bias", self.encoder_bias, (count,)),
            ("decoder", self.decoder, (count, width)),
            ("decoder_bias", self.decoder_bias, (width,)),
        ):
            if values.shape != wanted:
                raise InterventionError(
                    f"autoencoder: {what} has shape {values.shape}; with an encoder of shape "
                    f"{self.encoder.shape} (width, features) it must have {wanted}"
                )
        return width, count

    @property
    def width(self) -> int:
        """Width of the activations that it fits."""
        return self.encoder.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder.shape[1]

    def features(self, *indices: int) -> Autoencoder:
        """Return the same autoencoder with these features chosen."""
        return replace(self, dims=tuple(indices))

    def __str__(self) -> str:
        lost = "" if self.keep_error else ", error dropped"
        return (
            f"{self.activation} autoencoder({len(self.dims)} of {self.n_features} features{lost})"
        )


def autoencoder(
    encoder: Any,
    decoder: Any,
    *,
    encoder_bias: Any = None,
    decoder_bias: Any = None,
    activation: Activation = "relu",
    threshold: Any = None,
    top: int | None = None,
    centred: bool = False,
    features: Iterable[int] | None = None,
    keep_error: bool = True,
) -> Autoencoder:
    """Return features of a one-layer autoencoder, such as a sparse autoencoder of a site.

    Parameters
    ----------
    encoder
        (width, features).
    decoder
        (features, width); row i is the direction of feature i.
    encoder_bias, decoder_bias
        (features,) and (width,); None for zeros.
    activation
        `relu`, `jumprelu` (needs threshold), `topk` (needs top) or `identity`.
    threshold
        (features,); a feature at or below its threshold is off. It gets no gradient.
    top
        How many features stay on; of equal ones those of lower index.
    centred
        Subtract the decoder's bias before encoding.
    features
        Which features are interchanged; None for all of them.
    keep_error
        Keep what the autoencoder does not reconstruct. Without it the activation is also replaced
        by its reconstruction, which is an edit of its own.

    Returns
    -------
    Autoencoder

    Raises
    ------
    InterventionError
        Shapes that do not fit, an unknown activation, or one without its numbers.

    Notes
    -----
    p = (x - b_dec) W_enc + b_enc, or x W_enc + b_enc where not centred; the features z are relu(p)
    (Bricken et al. 2023), p where p > threshold and p > 0, else 0 (Rajamanoharan et al. 2024, arXiv
    2407.14435, equation 5), or the `top` largest of relu(p) (Gao et al. 2024, arXiv 2406.04093,
    equation 2). With z' the edited features and the error kept, new = base + (z' - z) W_dec
    (Marks et al. 2024, arXiv 2403.19647, section 2); without, new = z' W_dec + b_dec.

    Examples
    --------
    >>> sae = autoencoder([[1.0, -1.0]], [[1.0], [-1.0]])
    >>> print(sae.features(1))
    relu autoencoder(1 of 2 features)
    """
    enter = shaped(encoder, "encoder", 2)
    leave = shaped(decoder, "decoder", 2)
    width, count = enter.shape
    on = None if threshold is None else as_array(threshold)
    return Autoencoder(
        enter,
        vector([0.0] * count if encoder_bias is None else encoder_bias, "encoder_bias"),
        leave,
        vector([0.0] * width if decoder_bias is None else decoder_bias, "decoder_bias"),
        activation,
        tuple(range(count)) if features is None else tuple(features),
        on,
        top,
        centred,
        keep_error,
    )


@dataclass(frozen=True)
class FeatureEdit(Intervention):
    """Chosen coordinates of a basis, such as features of an autoencoder, are changed."""

    basis: Subspace | None = None
    change: Change = "set"
    values: Array = field(default_factory=lambda: Array([0.0]))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.basis, (Rotation, PrincipalComponents, Autoencoder)):
            raise InterventionError(
                f"features are those of an autoencoder, a rotation or a PCA; got {self.basis!r} "
                f"({type(self.basis).__name__})"
            )
        if self.change not in get_args(Change):
            raise InterventionError(
                f"unknown change {self.change!r} of features; expected one of "
                f"{', '.join(get_args(Change))}"
            )
        if self.values.shape != (len(self.basis.dims),):
            raise InterventionError(
                f"{len(self.basis.dims)} features are chosen, but the values have shape "
                f"{self.values.shape}; expected one number for each feature"
            )

    def _verb(self) -> str:
        return f"{self.change}_features"

    def _arguments(self) -> str:
        assert isinstance(self.basis, (Rotation, PrincipalComponents, Autoencoder))
        values = list(self.values)
        shown = [f"{dim}: {value:g}" for dim, value in zip(self.basis.dims, values, strict=True)]
        listed = ", ".join(shown if len(shown) <= 4 else [*shown[:3], f"... ({len(shown)})"])
        return f"{super()._arguments()}, {{{listed}}}, {self.basis}"


def zero_features(site: Site, basis: Subspace, features: Iterable[int]) -> FeatureEdit:
    """Switch features off at a site: their coordinates become zero.

    Parameters
    ----------
    site
        Where.
    basis
        An autoencoder, a rotation (its directions are then projected out) or a PCA.
    features
        Which.

    Returns
    -------
    FeatureEdit

    Raises
    ------
    InterventionError
        The basis has no such feature, or none is chosen.

    Notes
    -----
    z' = z with z_i = 0 for the chosen i; new as for `autoencoder`, `pca` or `rotated`. On one
    direction of a rotation this is directional ablation, Arditi et al. 2024 (arXiv 2406.11717),
    equation 4.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> sae = autoencoder([[1.0, -1.0]], [[1.0], [-1.0]])
    >>> print(zero_features(mlp_output(0), sae, [1]))
    set_features(mlp_output[0], {1: 0}, relu autoencoder(1 of 2 features))
    """
    return set_features(site, basis, dict.fromkeys(features, 0.0))


def set_features(site: Site, basis: Subspace, values: Mapping[int, float]) -> FeatureEdit:
    """Give features fixed values at a site.

    Parameters
    ----------
    site, basis
        As for `zero_features`.
    values
        The value of each feature, by its index.

    Returns
    -------
    FeatureEdit

    Raises
    ------
    InterventionError
        The basis has no such feature, a value is not finite, or there are none.

    Notes
    -----
    z' = z with z_i = v_i for the chosen i; new as for `autoencoder`, `pca` or `rotated`.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> sae = autoencoder([[1.0, -1.0]], [[1.0], [-1.0]])
    >>> print(set_features(mlp_output(0), sae, {0: 2.5}))
    set_features(mlp_output[0], {0: 2.5}, relu autoencoder(1 of 2 features))
    """
    return _edit(site, basis, values, "set")


def add_features(site: Site, basis: Subspace, values: Mapping[int, float]) -> FeatureEdit:
    """Add to features at a site, which steers along their directions.

    Parameters
    ----------
    site, basis
        As for `zero_features`.
    values
        What to add to each feature, by its index.

    Returns
    -------
    FeatureEdit

    Raises
    ------
    InterventionError
        The basis has no such feature, a value is not finite, or there are none.

    Notes
    -----
    z' = z with z_i + v_i for the chosen i; with the error kept new = base + sum of v_i times the
    direction of feature i.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> sae = autoencoder([[1.0, -1.0]], [[1.0], [-1.0]])
    >>> print(add_features(mlp_output(0), sae, {0: 2.5}))
    add_features(mlp_output[0], {0: 2.5}, relu autoencoder(1 of 2 features))
    """
    return _edit(site, basis, values, "add")


def scale_features(site: Site, basis: Subspace, values: Mapping[int, float]) -> FeatureEdit:
    """Multiply features at a site.

    Parameters
    ----------
    site, basis
        As for `zero_features`.
    values
        The factor of each feature, by its index.

    Returns
    -------
    FeatureEdit

    Raises
    ------
    InterventionError
        The basis has no such feature, a value is not finite, or there are none.

    Notes
    -----
    z' = z with v_i z_i for the chosen i; new as for `autoencoder`, `pca` or `rotated`.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> sae = autoencoder([[1.0, -1.0]], [[1.0], [-1.0]])
    >>> print(scale_features(mlp_output(0), sae, {0: 2.0}))
    scale_features(mlp_output[0], {0: 2}, relu autoencoder(1 of 2 features))
    """
    return _edit(site, basis, values, "scale")


def _edit(site: Site, basis: Subspace, values: Mapping[int, float], change: Change) -> FeatureEdit:
    if not isinstance(basis, (Rotation, PrincipalComponents, Autoencoder)):
        return FeatureEdit((site,), basis)  # refuses it
    chosen = replace(basis, dims=tuple(values), site=None)
    return FeatureEdit((site,), chosen, change, vector(list(values.values()), "feature values"))
