"""Subspaces as pyvene counts them: dims or groups of dims, for each row of a batch its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from causaltest.errors import InterventionError

Rows = list[tuple[int, ...]]


def partition_of(groups: Sequence[Any] | None) -> list[list[int]] | None:
    """Return groups of dims with each range written out."""
    if groups is None:
        return None
    found: list[list[int]] = []
    for group in groups:
        ints = [int(each) for each in group]
        found.append(list(range(*ints)) if len(ints) == 2 else ints)
    return found


def per_intervention(subspaces: Any, count: int, rows: int) -> list[Any]:
    """Return the subspaces of each intervention: None, a list for each row, or what the user gave.

    Parameters
    ----------
    subspaces
        An int or a flat list (the same for every intervention and row), or a list of one entry for
        each intervention: None, or a list for each row.
    count
        Number of interventions.
    rows
        Number of rows.

    Raises
    ------
    InterventionError
        Another number of interventions or rows.
    """
    if subspaces is None:
        return [None] * count
    if isinstance(subspaces, int):
        return [[[subspaces]] * rows] * count
    if not isinstance(subspaces, (list, tuple)):
        return [subspaces] * count
    given = list(cast("Sequence[Any]", subspaces))
    if given and all(isinstance(each, int) for each in given):
        return [[given] * rows] * count
    if len(given) != count:
        raise InterventionError(
            f"subspaces for {len(given)} interventions, but there are {count}; give one entry for "
            "each, None where all dims are meant"
        )
    return [_for_rows(each, rows) for each in given]


def _for_rows(given: Any, rows: int) -> Any:
    if not isinstance(given, (list, tuple)):
        return given
    entries = list(cast("Sequence[Any]", given))
    if not entries or not all(isinstance(each, (list, tuple)) for each in entries):
        return entries
    if len(entries) != rows:
        raise InterventionError(
            f"subspaces for {len(entries)} rows, but base has {rows}; give a list of dims for each "
            "row, or one flat list for all of them"
        )
    return [list(each) for each in entries]


def dims_of(
    subspaces: Any,
    rows: int,
    size: int,
    partition: list[list[int]] | None,
    default: Any,
) -> Rows:
    """Return which coordinates each row means.

    Parameters
    ----------
    subspaces
        A list for each row, one flat list for all, or None for the default.
    rows
        Number of rows.
    size
        Number of coordinates.
    partition
        Groups that subspaces count; None where they count coordinates.
    default
        Number of leading coordinates, or their list, where there are no subspaces; None for all.

    Raises
    ------
    InterventionError
        A coordinate or group does not exist.
    """
    if subspaces is None:
        if default is None:
            return [tuple(range(size))] * rows
        listed = default.tolist() if isinstance(default, Tensor) else default
        chosen = tuple(listed) if isinstance(listed, (list, tuple)) else tuple(range(int(listed)))
        return [_checked(chosen, size)] * rows
    if isinstance(subspaces, int):
        subspaces = [subspaces]
    if not isinstance(subspaces, (list, tuple)):
        raise InterventionError(
            f"subspaces are {subspaces!r} ({type(subspaces).__name__}); expected lists of dims"
        )
    entries = list(cast("Sequence[Any]", subspaces))
    if all(isinstance(each, int) for each in entries):
        entries = [entries] * rows
    return [_checked(_expanded(each, partition), size) for each in entries]


def _expanded(ids: Sequence[int], partition: list[list[int]] | None) -> tuple[int, ...]:
    if partition is None:
        return tuple(ids)
    for each in ids:
        if not 0 <= each < len(partition):
            raise InterventionError(
                f"subspace {each} does not exist: the partition has groups 0-{len(partition) - 1}"
            )
    return tuple(dim for each in ids for dim in partition[each])


def _checked(dims: tuple[int, ...], size: int) -> tuple[int, ...]:
    for dim in dims:
        if not 0 <= dim < size:
            raise InterventionError(
                f"subspace dim {dim} does not exist: there are dims 0-{size - 1}"
            )
    return tuple(dict.fromkeys(dims))


def mask_of(dims: Rows, size: int, like: Tensor) -> Tensor:
    """Return which coordinates each row means, broadcastable to (rows, ..., size)."""
    mask = torch.zeros(len(dims), size, dtype=torch.bool)
    for row, each in enumerate(dims):
        mask[row, list(each)] = True
    return mask.reshape(len(dims), *[1] * (like.ndim - 2), size).to(like.device)


def by_rows(
    dims: Rows,
    base: Tensor,
    source: Tensor,
    mix: Callable[[tuple[int, ...], Tensor, Tensor], Tensor],
) -> Tensor:
    """Mix base and source with each row's own dims: one call for all rows of the same dims."""
    kinds = dict.fromkeys(dims)
    if len(kinds) == 1:
        return mix(dims[0], base, source)
    out = base
    for kind in kinds:
        rows = torch.tensor([row for row, each in enumerate(dims) if each == kind])
        rows = rows.to(base.device)
        out = out.index_copy(0, rows, mix(kind, base[rows], source[rows]).to(out.dtype))
    return out


def fitted(source: Tensor, base: Tensor, what: str) -> Tensor:
    """Return a source in the shape of the base: one vector serves all rows and units.

    Raises
    ------
    InterventionError
        The shapes do not fit, or could fit in two ways.
    """
    source = source.to(device=base.device, dtype=base.dtype)
    if source.shape == base.shape:
        return source
    width = base.shape[-1]
    if source.numel() == width:
        return source.reshape(width).expand_as(base)
    if base.ndim == 3 and base.shape[1] == 1 and source.shape == (base.shape[0], width):
        return source[:, None]
    if source.ndim == base.ndim and source.shape[-1] == width:
        sizes = zip(source.shape[:-1], base.shape[:-1], strict=True)
        if all(one in (1, other) for one, other in sizes):
            return source.expand_as(base)
    raise InterventionError(
        f"{what}: the source has shape {tuple(source.shape)}, but what it is to replace has "
        f"{tuple(base.shape)}; give one vector of {width} numbers, or one for each row and unit"
    )
