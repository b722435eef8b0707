"""Subspaces at work: what replaces an activation where only a part of it is to change."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, singledispatch

import torch
from torch import Tensor

from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import (
    Array,
    Autoencoder,
    Boundless,
    FeatureEdit,
    Partition,
    PrincipalComponents,
    Rotation,
    SigmoidMask,
    Subspace,
)
from causaltest.spelling import did_you_mean, listed

# A basis that was orthogonalised in single precision is orthonormal to about 1e-6 times its width.
_ORTHONORMAL = 1e-3

Entries = tuple[tuple[Row, ...], tuple[int, ...]]
"""The rows of a batch, and how many entries each has."""


def tensor_of(values: Array, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the type and on the device of another; gradients flow back."""
    if values.trainable:
        return values.tensor.to(like)
    return _fixed(values, like.dtype, like.device)


@lru_cache(maxsize=64)
def _fixed(values: Array, dtype: torch.dtype, device: torch.device) -> Tensor:
    return as_held(values).to(device, dtype)


def as_held(values: Array) -> Tensor:
    """Return fixed numbers as the tensor they are, on the CPU; it shares their memory."""
    kind = torch.float32 if values.dtype == "float32" else torch.float64
    return torch.frombuffer(values.buffer, dtype=kind).reshape(values.shape)


def by_prompt(what: object, entries: Entries) -> Iterator[tuple[Row, int]]:
    """Yield each row's prompt with the number of its entries, for what is another thing in each.

    Parameters
    ----------
    what
        For messages.
    entries
        Rows and counts.

    Raises
    ------
    InterventionError
        The rows are no prompts.
    """
    rows, counts = entries
    if len(rows) < len(counts):
        raise InterventionError(
            f"{what} is another thing for each prompt, and these {len(counts)} rows are no "
            "prompts; choose an edit that is the same for all rows"
        )
    yield from zip(rows, counts, strict=True)


@singledispatch
def mixed(subspace: Subspace, base: Tensor, source: Tensor, entries: Entries) -> Tensor:
    """Return `base` with the part that a subspace names taken from `source`, (entries, width)."""
    raise InterventionError(f"no rule for the subspace {type(subspace).__name__}")


def within(subspace: Subspace, old: Tensor, new: Tensor, entries: Entries) -> Tensor:
    """Return an activation with only a subspace of it replaced.

    Half-precision activations are mixed in single precision.

    Raises
    ------
    InterventionError
        The subspace is made for another width, or its basis is not orthonormal.
    """
    _check_width(subspace, old)
    base, source = _wide(old), _wide(new.expand_as(old))
    return mixed(subspace, base, source, entries).to(old.dtype)


def changed(part: FeatureEdit, old: Tensor) -> Tensor:
    """Return an activation with coordinates of a basis set, added to or scaled."""
    basis = part.basis
    assert isinstance(basis, (Rotation, PrincipalComponents, Autoencoder))
    _check_width(basis, old)
    base = _wide(old)
    values = tensor_of(part.values, base)
    before = _coordinates(basis, base)
    dims = torch.tensor(basis.dims, device=base.device)
    chosen = before.index_select(-1, dims)
    if part.change == "set":
        chosen = values.expand_as(chosen)
    else:
        chosen = chosen + values if part.change == "add" else chosen * values
    after = before.index_copy(-1, dims, chosen)
    return _back(basis, base, before, after).to(old.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _check_width(subspace: Subspace, old: Tensor) -> None:
    if subspace.width not in (None, old.shape[-1]):
        raise InterventionError(
            f"{subspace} is made for activations {subspace.width} wide, but the site is "
            f"{old.shape[-1]} wide"
        )


@mixed.register
def _(subspace: Rotation, base: Tensor, source: Tensor, entries: Entries) -> Tensor:
    directions = _basis(subspace.basis, base)[:, list(subspace.dims)]
    return base + ((source - base) @ directions) @ directions.mT


@mixed.register
def _(subspace: Boundless, base: Tensor, source: Tensor, entries: Entries) -> Tensor:
    rotation = _basis(subspace.rotation, base)
    width, heat = subspace.width, subspace.temperature
    boundary = tensor_of(subspace.boundary, base).reshape(()).clamp(1e-3, 1.0) * width
    index = torch.arange(width, dtype=base.dtype, device=base.device)
    mask = torch.sigmoid(index / heat) * torch.sigmoid((boundary - index) / heat)
    return base + (mask * ((source - base) @ rotation)) @ rotation.mT


@mixed.register
def _(subspace: SigmoidMask, base: Tensor, source: Tensor, entries: Entries) -> Tensor:
    mask = torch.sigmoid(tensor_of(subspace.mask, base) / subspace.temperature)
    if subspace.rotation is None:
        return base + mask * (source - base)
    rotation = _basis(subspace.rotation, base)
    return base + (mask * ((source - base) @ rotation)) @ rotation.mT


@mixed.register(PrincipalComponents)
@mixed.register(Autoencoder)
def _(
    subspace: PrincipalComponents | Autoencoder, base: Tensor, source: Tensor, entries: Entries
) -> Tensor:
    before = _coordinates(subspace, base)
    chosen = torch.zeros(before.shape[-1], dtype=torch.bool, device=base.device)
    chosen[list(subspace.dims)] = True
    after = torch.where(chosen, _coordinates(subspace, source), before)
    return _back(subspace, base, before, after)


@mixed.register
def _(subspace: Partition, base: Tensor, source: Tensor, entries: Entries) -> Tensor:
    basis = subspace.basis
    assert basis is None or isinstance(basis, (Rotation, PrincipalComponents, Autoencoder))
    before = base if basis is None else _coordinates(basis, base)
    there = source if basis is None else _coordinates(basis, source)
    after = torch.where(_own(subspace, before, entries), there, before)
    return after if basis is None else _back(basis, base, before, after)


def _own(subspace: Partition, like: Tensor, entries: Entries) -> Tensor:
    """Return which coordinates each entry replaces: those of its own row's group."""
    groups = dict(subspace.groups)
    size = like.shape[-1]
    masks: list[Tensor] = []
    for row, count in by_prompt(subspace, entries):
        dims = _dims_of(subspace, groups, row)
        if max(dims) >= size:
            raise InterventionError(
                f"{subspace}: dim {max(dims)} does not exist: there are dims 0-{size - 1}"
            )
        mask = torch.zeros(size, dtype=torch.bool)
        mask[list(dims)] = True
        masks.append(mask.expand(count, size))
    flat = torch.cat(masks).to(like.device)
    return flat.reshape(len(flat), *[1] * (like.ndim - 2), size)


def _dims_of(subspace: Partition, groups: dict[str, tuple[int, ...]], row: Row) -> tuple[int, ...]:
    if row.pair is None:
        raise InterventionError(
            f"{subspace} needs pairs, whose labels say which dims are meant; the prompt is not "
            "part of one"
        )
    name = row.pair.id if subspace.by == "id" else row.pair.labels.get(subspace.by)
    if name is None:
        meant = did_you_mean(subspace.by, [*row.pair.labels, "id"])
        raise PairError(
            f"{subspace}: pair {row.pair.id} has no label {subspace.by!r}{meant}\n"
            f"its labels: {listed(row.pair.labels)}"
        )
    if name not in groups:
        raise PairError(
            f"{subspace}: pair {row.pair.id} is in group {name!r}, for which there are no dims"
            f"{did_you_mean(name, groups)}"
        )
    return groups[name]


def _basis(values: Array, like: Tensor) -> Tensor:
    """Return a basis with orthonormal columns."""
    basis = tensor_of(values, like)
    if values.trainable:
        _check_orthonormal(basis.detach())
    else:
        _check_columns(values)
    return basis


@lru_cache(maxsize=64)
def _check_columns(values: Array) -> None:
    _check_orthonormal(as_held(values))


def _check_orthonormal(basis: Tensor) -> None:
    gram = basis.mT @ basis
    off = float((gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs().max())
    if off > _ORTHONORMAL:
        raise InterventionError(
            f"the columns of a basis of shape {tuple(basis.shape)} are not orthonormal: R^T R is "
            f"off the identity by {off:.3g}\n"
            "orthogonalise it first, e.g. torch.linalg.qr(matrix).Q"
        )


def _coordinates(basis: Subspace | None, x: Tensor) -> Tensor:
    """Return what a basis makes of activations: (entries, coordinates)."""
    if isinstance(basis, Rotation):
        return x @ _basis(basis.basis, x)
    if isinstance(basis, PrincipalComponents):
        centred = (x - tensor_of(basis.mean, x)) / tensor_of(basis.scale, x)
        return centred @ _basis_of(basis, x)
    assert isinstance(basis, Autoencoder)
    given = x - tensor_of(basis.decoder_bias, x) if basis.centred else x
    before = given @ tensor_of(basis.encoder, x) + tensor_of(basis.encoder_bias, x)
    if basis.activation == "identity":
        return before
    on = torch.relu(before)
    if basis.activation == "jumprelu":
        assert basis.threshold is not None
        return torch.where(before > tensor_of(basis.threshold, x), on, torch.zeros_like(on))
    if basis.activation == "topk":
        assert basis.top is not None
        # Stable, so that which of two equal features stays on depends on nothing but its index.
        order = on.argsort(dim=-1, descending=True, stable=True)[..., : basis.top]
        return torch.zeros_like(on).scatter(-1, order, on.gather(-1, order))
    return on


def _basis_of(basis: PrincipalComponents, x: Tensor) -> Tensor:
    components = tensor_of(basis.components, x)
    if basis.components.trainable:
        _check_orthonormal(components.detach().mT)
    else:
        _check_rows(basis.components)
    return components.mT


@lru_cache(maxsize=64)
def _check_rows(values: Array) -> None:
    _check_orthonormal(as_held(values).mT)


def _back(basis: Subspace, base: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the activation with coordinates `after`, where `base` has `before`."""
    if isinstance(basis, Rotation):
        return base + (after - before) @ _basis(basis.basis, base).mT
    if isinstance(basis, PrincipalComponents):
        components = _basis_of(basis, base).mT
        spread = tensor_of(basis.scale, base)
        if basis.keep_error:
            return base + ((after - before) @ components) * spread
        return (after @ components) * spread + tensor_of(basis.mean, base)
    assert isinstance(basis, Autoencoder)
    decoder = tensor_of(basis.decoder, base)
    if basis.keep_error:
        return base + (after - before) @ decoder
    return after @ decoder + tensor_of(basis.decoder_bias, base)
