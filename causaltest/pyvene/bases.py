"""Interventions with a basis of their own: rotations, masks, components, autoencoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.subspaces import within
from causaltest.errors import InterventionError
from causaltest.interventions import (
    Array,
    Boundless,
    PrincipalComponents,
    Rotation,
    SigmoidMask,
    Subspace,
    autoencoder,
)
from causaltest.pyvene.interventions import (
    DistributedRepresentationIntervention,
    LocalistRepresentationIntervention,
    TrainableIntervention,
)
from causaltest.pyvene.subspaces import by_rows


def _live(tensor: Tensor) -> Array:
    """Return a tensor as an array that refers to it, so that nothing is copied or hashed."""
    return Array(tensor if tensor.requires_grad else tensor.detach().requires_grad_())


def _mixed(subspace: Subspace, base: Tensor, source: Tensor) -> Tensor:
    return within(subspace, base, source, ((), ()))


class RotateLayer(nn.Module):
    """An orthogonal map, x -> x R; R is (n, n)."""

    def __init__(self, n: int, m: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, m or n))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x R."""
        return x.to(self.weight.dtype) @ self.weight


class LowRankRotateLayer(RotateLayer):
    """The first m columns of an orthogonal map; R is (n, m)."""


class _Rotated(TrainableIntervention, DistributedRepresentationIntervention):
    """What all interventions in a rotated basis share."""

    rotate_layer: Any

    def _rotation(self, layer: RotateLayer) -> None:
        self.rotate_layer = nn.utils.parametrizations.orthogonal(layer)


class RotatedSpaceIntervention(_Rotated):
    """Distributed interchange: the first k rotated coordinates come from the source.

    new = base + ((source - base) R_k) R_k^T, Geiger et al. 2023 (arXiv 2303.02536). R is (width,
    width) and orthogonal; k is `interchange_dim`, or `low_rank_dimension`, or the subspaces of each
    row. With k the whole width the result is the source whatever R is, which is refused.
    """

    def __init__(self, *, low_rank_dimension: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rotation(RotateLayer(self.embed_dim))
        if low_rank_dimension is not None:
            self.set_interchange_dim(low_rank_dimension)

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with rotated coordinates of source."""
        there = self._source(source, base)
        basis = _live(self.rotate_layer.weight)
        dims = self.dims(subspaces, len(base), self.embed_dim)
        if any(len(each) == self.embed_dim for each in dims):
            raise InterventionError(
                f"{type(self).__name__}: all {self.embed_dim} of {self.embed_dim} rotated dims "
                "would "
                "be interchanged, which gives the source whatever the rotation\n"
                "choose fewer: low_rank_dimension=k, set_interchange_dim(k) or subspaces="
            )
        return by_rows(dims, base, there, lambda own, b, s: _mixed(Rotation(basis, own), b, s))


class LowRankRotatedSpaceIntervention(_Rotated):
    """Distributed interchange in r orthonormal directions; R is (width, r).

    new = base + ((source - base) R) R^T, Wu et al. 2023 (arXiv 2305.08809), section 3. Subspaces
    choose among the r directions.
    """

    def __init__(self, *, low_rank_dimension: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if low_rank_dimension is None:
            raise InterventionError(
                "LowRankRotatedSpaceIntervention needs low_rank_dimension, the number of directions"
            )
        if not 0 < low_rank_dimension < self.embed_dim:
            raise InterventionError(
                f"low_rank_dimension is {low_rank_dimension}, but the site is {self.embed_dim} "
                "wide; "
                f"expected 1 to {self.embed_dim - 1}"
            )
        self.low_rank_dimension = low_rank_dimension
        self._rotation(LowRankRotateLayer(self.embed_dim, low_rank_dimension))

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with directions of source."""
        there = self._source(source, base)
        basis = _live(self.rotate_layer.weight)
        dims = self.dims(subspaces, len(base), self.low_rank_dimension)
        return by_rows(dims, base, there, lambda own, b, s: _mixed(Rotation(basis, own), b, s))


class _Tempered(TrainableIntervention):
    """A temperature that is set, never learned."""

    temperature: Tensor

    def get_temperature(self) -> Tensor:
        """Return the temperature."""
        return self.temperature

    def set_temperature(self, temp: Tensor | float) -> None:
        """Set the temperature."""
        self.temperature = torch.as_tensor(
            temp, dtype=torch.float32, device=self.temperature.device
        )

    def _no_subspaces(self, subspaces: Any) -> None:
        if subspaces is not None:
            raise InterventionError(
                f"{type(self).__name__} takes no subspaces: its mask says which dims are "
                "interchanged"
            )


class BoundlessRotatedSpaceIntervention(_Tempered, _Rotated):
    """Distributed interchange up to a learned soft boundary, Wu et al. 2023 (arXiv 2305.08809).

    m_i = sigmoid(i / T) sigmoid((clamp(b, 0.001, 1) width - i) / T), new = ((1 - m) base R + m
    source R) R^T. b starts at 0.5 and T at 50.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rotation(RotateLayer(self.embed_dim))
        self.intervention_boundaries = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("temperature", torch.tensor(50.0))

    def get_boundary_parameters(self) -> Tensor:
        """Return the boundary, as a share of the width."""
        return self.intervention_boundaries

    def set_intervention_boundaries(self, intervention_boundaries: float) -> None:
        """Set the boundary, as a share of the width; the parameter stays the same object."""
        with torch.no_grad():
            self.intervention_boundaries.fill_(float(intervention_boundaries))

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with the leading rotated coordinates of source."""
        self._no_subspaces(subspaces)
        subspace = Boundless(
            _live(self.rotate_layer.weight),
            _live(self.intervention_boundaries),
            float(self.temperature),
        )
        return _mixed(subspace, base, self._source(source, base))


class SigmoidMaskRotatedSpaceIntervention(_Tempered, _Rotated):
    """Distributed interchange under a soft mask on rotated dims: m = sigmoid(masks / T)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rotation(RotateLayer(self.embed_dim))
        self.masks = nn.Parameter(torch.full((self.embed_dim,), 100.0))
        self.register_buffer("temperature", torch.tensor(50.0))

    def get_boundary_parameters(self) -> Tensor:
        """Return the logits of the mask."""
        return self.masks

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base mixed with source under the mask."""
        self._no_subspaces(subspaces)
        subspace = SigmoidMask(
            _live(self.masks), float(self.temperature), _live(self.rotate_layer.weight)
        )
        return _mixed(subspace, base, self._source(source, base))


class SigmoidMaskIntervention(_Tempered, LocalistRepresentationIntervention):
    """Interchange under a mask: m = sigmoid(mask / T), new = (1 - m) base + m source."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask = nn.Parameter(torch.zeros(self.embed_dim))
        self.register_buffer("temperature", torch.tensor(0.01))

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base mixed with source under the mask."""
        self._no_subspaces(subspaces)
        subspace = SigmoidMask(_live(self.mask), float(self.temperature))
        return _mixed(subspace, base, self._source(source, base))


class PCARotatedSpaceIntervention(TrainableIntervention, DistributedRepresentationIntervention):
    """Interchange of principal components: z = (x - mean) / std C^T, swap z, back.

    Parameters
    ----------
    pca
        Components C, (components, width), or an object that has them as `components_`.
    pca_mean, pca_std
        (width,).
    keep_error
        Keep what the components do not span; pyvene drops it.
    """

    pca_components: Tensor
    pca_mean: Tensor
    pca_std: Tensor

    def __init__(
        self,
        *,
        pca: Any = None,
        pca_mean: Any = None,
        pca_std: Any = None,
        keep_error: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pca is None or pca_mean is None or pca_std is None:
            raise InterventionError(
                "PCARotatedSpaceIntervention needs pca, pca_mean and pca_std: pass an instance, "
                "intervention=PCARotatedSpaceIntervention(embed_dim=..., pca=..., pca_mean=..., "
                "pca_std=...)"
            )
        self.keep_error = keep_error
        components = getattr(pca, "components_", pca)
        for name, values in (
            ("pca_components", components),
            ("pca_mean", pca_mean),
            ("pca_std", pca_std),
        ):
            numbers = torch.as_tensor(values, dtype=torch.float32)
            self.register_buffer(name, numbers if numbers.ndim == 2 else numbers.reshape(-1))

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with components of source."""
        there = self._source(source, base)
        components, mean, std = (
            Array(each) for each in (self.pca_components, self.pca_mean, self.pca_std)
        )
        dims = self.dims(subspaces, len(base), self.pca_components.shape[0])
        return by_rows(
            dims,
            base,
            there,
            lambda own, b, s: _mixed(
                PrincipalComponents(components, mean, std, own, self.keep_error), b, s
            ),
        )


class AutoencoderLayer(nn.Module):
    """A one-layer autoencoder: z = relu(W (x - b_dec) + b_enc), x' = W_dec z + b_dec."""

    def __init__(self, input_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.encoder: Any = nn.Sequential(nn.Linear(input_dim, latent_dim), nn.ReLU())
        self.decoder: Any = nn.Sequential(nn.Linear(latent_dim, input_dim))

    def encode(self, x: Tensor) -> Tensor:
        """Return latents."""
        return self.encoder(x.to(self.encoder[0].weight.dtype) - self.decoder[0].bias)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction."""
        return self.decoder(latent)

    def forward(self, base: Tensor) -> Tensor:
        """Return the reconstruction of an activation."""
        return self.decode(self.encode(base)).to(base.dtype)


class AutoencoderIntervention(TrainableIntervention):
    """Interchange of latents of an autoencoder; all of them unless fewer are chosen.

    The reconstruction error is dropped, as in pyvene; `keep_error=True` keeps it.
    """

    def __init__(
        self, *, latent_dim: int | None = None, keep_error: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if latent_dim is None:
            raise InterventionError("AutoencoderIntervention needs latent_dim")
        self.latent_dim = latent_dim
        self.keep_error = keep_error
        self.autoencoder = AutoencoderLayer(self.embed_dim, latent_dim)

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with latents of source."""
        there = self._source(source, base)
        enter, leave = self.autoencoder.encoder[0], self.autoencoder.decoder[0]
        made = autoencoder(
            _live(enter.weight.mT),
            _live(leave.weight.mT),
            encoder_bias=_live(enter.bias),
            decoder_bias=_live(leave.bias),
            centred=True,
            keep_error=self.keep_error,
        )
        dims = self.dims(subspaces, len(base), self.latent_dim)
        return by_rows(dims, base, there, lambda own, b, s: _mixed(made.features(*own), b, s))


class JumpReLUAutoencoderIntervention(TrainableIntervention, LocalistRepresentationIntervention):
    """Interchange of features of a JumpReLU autoencoder.

    Rajamanoharan et al. 2024 (arXiv 2407.14435), equation 5:

    z = p where p = x W_enc + b_enc exceeds the threshold and 0, else 0; new = z' W_dec + b_dec. The
    weights start at zero, to be loaded. All features are interchanged unless fewer are chosen.
    The reconstruction error is dropped, as in pyvene; `keep_error=True` keeps it.
    """

    def __init__(
        self, *, low_rank_dimension: int | None = None, keep_error: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "keep_last_dim": True})
        if not low_rank_dimension:
            raise InterventionError(
                "JumpReLUAutoencoderIntervention needs its number of features: low_rank_dimension="
            )
        self.keep_error = keep_error
        count = int(low_rank_dimension)
        self.W_enc = nn.Parameter(torch.zeros(self.embed_dim, count))
        self.W_dec = nn.Parameter(torch.zeros(count, self.embed_dim))
        self.threshold = nn.Parameter(torch.zeros(count))
        self.b_enc = nn.Parameter(torch.zeros(count))
        self.b_dec = nn.Parameter(torch.zeros(self.embed_dim))

    def encode(self, input_acts: Tensor) -> Tensor:
        """Return features."""
        before = input_acts.to(self.W_enc.dtype) @ self.W_enc + self.b_enc
        on = torch.relu(before)
        return torch.where(before > self.threshold, on, torch.zeros_like(on))

    def decode(self, acts: Tensor) -> Tensor:
        """Return the reconstruction."""
        return acts @ self.W_dec + self.b_dec

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with features of source."""
        there = self._source(source, base)
        made = autoencoder(
            _live(self.W_enc),
            _live(self.W_dec),
            encoder_bias=_live(self.b_enc),
            decoder_bias=_live(self.b_dec),
            activation="jumprelu",
            threshold=_live(self.threshold),
            keep_error=self.keep_error,
        )
        dims = self.dims(subspaces, len(base), self.W_enc.shape[1])
        return by_rows(dims, base, there, lambda own, b, s: _mixed(made.features(*own), b, s))
