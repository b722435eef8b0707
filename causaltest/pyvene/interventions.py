"""Interventions as modules: what is put in the place of an activation, by the engine's formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from causaltest.errors import InterventionError
from causaltest.pyvene.subspaces import dims_of, fitted, mask_of, partition_of


@dataclass
class InterventionOutput:
    """What an intervention returns that also has a latent to show."""

    output: Any = None
    latent: Any = None


class LocalistRepresentationIntervention(nn.Module):
    """Marks interventions that take every unit by itself, (rows, units, width)."""

    is_repr_distributed = False


class DistributedRepresentationIntervention(nn.Module):
    """Marks interventions with a basis, which may span several units joined into one vector."""

    is_repr_distributed = True


class Intervention(nn.Module):
    """An edit of one site; subclasses define `forward(base, source=None, subspaces=None)`.

    Parameters
    ----------
    embed_dim
        Width of the site, times the units that are joined.
    keep_last_dim
        Take every unit by itself, whatever the class.
    subspace_partition
        Groups of dims that `subspaces` counts.
    source_representation
        A stored vector instead of a source run.
    """

    trainable = False
    needs_source = True
    needs_input = False
    made_with: dict[str, Any] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note what it is built with."""
        made = super().__new__(cls)
        # What saving writes down; positional arguments have no names to write.
        made.__dict__["made_with"] = None if args else kwargs
        return made

    def __init__(
        self,
        *,
        embed_dim: Any = None,
        keep_last_dim: bool = False,
        subspace_partition: Any = None,
        source_representation: Tensor | None = None,
        **_kwargs: Any,
    ) -> None:
        super().__init__()
        self.keep_last_dim = keep_last_dim
        self.subspace_partition = partition_of(subspace_partition)
        self.embed_dim: Any = None if embed_dim is None else int(embed_dim)
        self.interchange_dim: Any = None
        self.is_source_constant = not self.needs_source
        self.source_representation: Tensor | None
        self.register_buffer("source_representation", None)
        if source_representation is not None:
            self.set_source_representation(source_representation)

    def set_source_representation(self, source_representation: Tensor) -> None:
        """Store a vector that takes the place of a source run."""
        self.is_source_constant = True
        self.source_representation = torch.as_tensor(source_representation)

    def set_interchange_dim(self, interchange_dim: Any) -> None:
        """Choose how many leading coordinates are interchanged, or which ones."""
        self.interchange_dim = interchange_dim

    def dims(self, subspaces: Any, rows: int, size: int) -> list[tuple[int, ...]]:
        """Return which of `size` coordinates each row means."""
        return dims_of(subspaces, rows, size, self.subspace_partition, self.interchange_dim)

    def __str__(self) -> str:
        return f"{type(self).__name__}()"

    def _within(self, base: Tensor, new: Tensor, subspaces: Any) -> Tensor:
        """Return base with each row's own dims replaced."""
        if subspaces is None and self.interchange_dim is None:
            return new
        width = base.shape[-1]
        return torch.where(mask_of(self.dims(subspaces, len(base), width), width, base), new, base)

    def _source(self, source: Tensor | None, base: Tensor) -> Tensor:
        stored = self.source_representation
        given = source if stored is None else stored
        if given is None:
            raise InterventionError(
                f"{type(self).__name__} needs a source: give sources=, or source_representations="
            )
        return fitted(given, base, type(self).__name__)


class TrainableIntervention(Intervention):
    """An intervention with parameters that are learned."""

    trainable = True

    def tie_weight(self, linked_intervention: Intervention) -> None:
        """Do nothing: linked representations share one intervention."""


class ConstantSourceIntervention(Intervention):
    """An intervention that runs without a source."""

    needs_source = False


class SourcelessIntervention(Intervention):
    """An intervention that runs without a source."""

    needs_source = False


class BasisAgnosticIntervention(Intervention):
    """Marks interventions that change an activation in no particular basis."""

    basis_agnostic = True


class SharedWeightsTrainableIntervention(TrainableIntervention):
    """Marks trainable interventions whose weights several sites share."""

    shared_weights = True


class VanillaIntervention(Intervention, LocalistRepresentationIntervention):
    """Interchange: new = source."""

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base with source in its place."""
        return self._within(base, self._source(source, base), subspaces)


class AdditionIntervention(BasisAgnosticIntervention, LocalistRepresentationIntervention):
    """Addition: new = base + source."""

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base plus source."""
        return self._within(base, base + self._source(source, base), subspaces)


class SubtractionIntervention(BasisAgnosticIntervention, LocalistRepresentationIntervention):
    """Subtraction: new = base - source."""

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base minus source."""
        return self._within(base, base - self._source(source, base), subspaces)


class ZeroIntervention(ConstantSourceIntervention, LocalistRepresentationIntervention):
    """Zero ablation: new = 0."""

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return zeros."""
        return self._within(base, torch.zeros_like(base), subspaces)


class CollectIntervention(ConstantSourceIntervention, LocalistRepresentationIntervention):
    """Reads an activation and leaves it as it is."""

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return what is read: the dims of each row, in the order they are asked for."""
        if source is not None:
            raise InterventionError("CollectIntervention takes no source; give None in its place")
        if subspaces is None and self.interchange_dim is None:
            return base
        dims = self.dims(subspaces, len(base), base.shape[-1])
        counts = sorted({len(each) for each in dims})
        if len(counts) > 1:
            raise InterventionError(
                f"rows collect {', '.join(map(str, counts))} dims; the rows of one call need "
                "equally many"
            )
        picked = torch.tensor(dims, device=base.device)
        picked = picked.reshape(len(base), *[1] * (base.ndim - 2), -1)
        return base.gather(-1, picked.expand(*base.shape[:-1], picked.shape[-1]))


class SkipIntervention(BasisAgnosticIntervention, LocalistRepresentationIntervention):
    """Skips a module: new = its own input, or its input in the source run where one is given."""

    needs_source = False
    needs_input = True

    def forward(
        self,
        base: Tensor,
        source: Tensor | None = None,
        subspaces: Any = None,
        args: Tensor | None = None,
    ) -> Tensor:
        """Return the module's input."""
        given = args if source is None else source
        if given is None or given.shape != base.shape:
            shape = None if given is None else tuple(given.shape)
            raise InterventionError(
                f"SkipIntervention: the module takes {shape} and gives {tuple(base.shape)}; only a "
                "module that gives what it takes can be skipped"
            )
        return self._within(base, given.to(base), subspaces)


class NoiseIntervention(ConstantSourceIntervention, LocalistRepresentationIntervention):
    """Gaussian noise: new = base + level * N, the same N for every row and call.

    Parameters
    ----------
    noise_level
        Standard deviation; the default is three times the spread of GPT-2 XL's embeddings, as in
        Meng et al. 2022 (arXiv 2202.05262).
    seed
        Of the noise.
    """

    def __init__(
        self,
        *,
        noise_level: float | None = None,
        seed: int = 1,
        noise_leve: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # pyvene spells the argument noise_leve.
        level = noise_leve if noise_level is None else noise_level
        self.noise_level = 0.13462981581687927 if level is None else float(level)
        self.seed = int(seed)

    def forward(self, base: Tensor, source: Tensor | None = None, subspaces: Any = None) -> Tensor:
        """Return base plus noise."""
        shape = (1, *base.shape[1:])
        noise = torch.from_numpy(np.random.RandomState(self.seed).standard_normal(shape))
        return self._within(base, base + (noise * self.noise_level).to(base), subspaces)


class LambdaIntervention(Intervention):
    """A plain function of (base, source[, subspaces]); returning None changes nothing."""

    needs_source = False

    def __init__(self, function: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_source_constant = False
        self.function = function

    def forward(
        self, base: Tensor, source: Tensor | None = None, subspaces: Any = None, **kwargs: Any
    ) -> Any:
        """Return what the function returns."""
        stored = self.source_representation
        there = source if stored is None else fitted(stored, base, "the function's source")
        version = base._version  # noqa: SLF001 - the only trace of a change in place
        more = () if subspaces is None else (subspaces,)
        new = self.function(base, there, *more, **kwargs)
        if new is None and base._version != version:  # noqa: SLF001
            raise InterventionError(
                f"{self}: the function changed its first argument in place and returned None, "
                "which "
                "means no change; return the new activation"
            )
        return new

    def __str__(self) -> str:
        return f"LambdaIntervention({getattr(self.function, '__name__', self.function)})"


class LoRAIntervention(TrainableIntervention, LocalistRepresentationIntervention):
    """A low-rank adapter of a module: new = base + scale * (x A) B, x being the module's own input.

    Hu et al. 2021 (arXiv 2106.09685), section 4.1. B starts at zero, so that an adapter that is not
    trained changes nothing.

    Parameters
    ----------
    input_dim
        Width of the module's input.
    low_rank_dimension
        The rank.
    lora_alpha
        The scale times the rank.
    """

    needs_source = False
    needs_input = True

    def __init__(
        self,
        *,
        low_rank_dimension: int | None = None,
        input_dim: int | None = None,
        lora_alpha: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not low_rank_dimension:
            raise InterventionError("LoRAIntervention needs a rank: low_rank_dimension=16")
        rank = int(low_rank_dimension)
        self.scale = 1.0 if lora_alpha is None else lora_alpha / rank
        width = self.embed_dim if input_dim is None else input_dim
        self.lora_A = nn.Parameter(torch.empty(width, rank))
        self.lora_B = nn.Parameter(torch.zeros(rank, self.embed_dim))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(
        self,
        base: Tensor,
        source: Tensor | None = None,
        subspaces: Any = None,
        args: Tensor | None = None,
    ) -> Tensor:
        """Return base plus the adapter's output."""
        assert args is not None
        low = args.to(self.lora_A.dtype) @ self.lora_A
        return base + (self.scale * (low @ self.lora_B)).to(base.dtype)
