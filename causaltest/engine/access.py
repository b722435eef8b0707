"""Where a component lives in a module's input or output, and how to take and put its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causaltest.errors import InterventionError

if TYPE_CHECKING:
    from causaltest.engine.hooks import Side

# The tensor that is meant where a mapping holds several, as in the outputs of transformers.
_MAIN_KEYS = ("logits", "last_hidden_state", "hidden_states")


@dataclass(frozen=True)
class Keys:
    """Columns of attention scores or patterns: every head has one for each key of the prompt.

    Parameters
    ----------
    heads
        Number of query heads.
    head
        The one that is meant; None for all.
    keys
        The keys that are meant; None for all.
    """

    heads: int
    head: int | None = None
    keys: tuple[int, ...] | None = None

    def among(self, width: int) -> slice | Tensor:
        """Return the columns where there are `width` of them.

        Raises
        ------
        InterventionError
            There are fewer keys.
        """
        count = width // self.heads
        first = (self.head or 0) * count
        if self.keys is None:
            return slice(0, width) if self.head is None else slice(first, first + count)
        if max(self.keys) >= count:
            raise InterventionError(
                f"key {max(self.keys)} does not exist: this prompt has keys 0-{count - 1}"
            )
        return torch.tensor(self.keys) + first


@dataclass(frozen=True)
class Access:
    """A component's place: a module, its input or output, and the columns of the last axis.

    Parameters
    ----------
    path
        Dotted module path.
    side
        Whether the component is the module's input, its output, or within its computation.
    columns
        Columns of the last axis that make up the component, in the component's own order; None
        for all of them.
    width
        Number of columns, measured.
    heads
        Number of equal heads that the columns split into; None where there are no heads.
    call
        Which of the module's calls in one forward pass, from 0; None where it runs once.
    """

    path: str
    side: Side
    columns: Tensor | slice | Keys | None = None
    width: int | None = None
    heads: int | None = None
    call: int | None = None

    def head(self, index: int) -> Access:
        """Return the access to one head."""
        assert self.heads is not None
        if isinstance(self.columns, Keys):
            return replace(self, columns=replace(self.columns, head=index))
        assert self.width is not None
        size = self.width // self.heads
        return replace(
            self, columns=_sub(self.columns, slice(index * size, (index + 1) * size)), width=size
        )

    def dims(self, indices: tuple[int, ...]) -> Access:
        """Return the access to some dims of the component."""
        if isinstance(self.columns, Keys):
            return replace(self, columns=replace(self.columns, keys=indices))
        return replace(self, columns=_sub(self.columns, torch.tensor(indices)), width=len(indices))


def _sub(columns: Tensor | slice | None, inner: Tensor | slice) -> Tensor | slice:
    if columns is None:
        return inner
    if isinstance(columns, slice):
        if isinstance(inner, slice):
            return slice(columns.start + inner.start, columns.start + inner.stop)
        return inner + columns.start
    return columns[inner]


@dataclass(frozen=True)
class Places:
    """Rows and token positions of a batch, one entry for each (row, token) that is meant.

    Parameters
    ----------
    rows, positions
        One index for each entry; `positions` is None where an activation has no token axis.
    span
        The position, or the positions where they follow each other, in the only row of the batch.
        By it numbers are read and written in fewer operations than by indices.
    """

    rows: Tensor
    positions: Tensor | None
    span: int | slice | None = None

    @property
    def lasts(self) -> bool:
        """Whether it can be kept for later runs.

        Those of a mode cannot: autograd keeps index tensors, and takes none of inference mode.
        """
        return type(self.rows) is Tensor and not self.rows.is_inference()

    def to(self, device: torch.device) -> Places:
        """Move to a device."""
        if self.rows.device == device:
            return self
        positions = None if self.positions is None else self.positions.to(device)
        return Places(self.rows.to(device), positions)


_MOST_KNOWN = 1024
_known: dict[tuple[tuple[int, ...], int, torch.device], Places] = {}


def only_row(positions: tuple[int, ...], start: int, device: torch.device) -> Places:
    """Return token positions, counted from `start` on, in the only row of a batch.

    They are remembered: it takes longer to make index tensors than to read or edit by them.
    """
    key = positions, start, device
    found = _known.get(key)
    if found is None:
        flat = torch.tensor(positions, device=device, dtype=torch.long) - start
        first = positions[0] - start if positions else 0
        together = positions == tuple(range(first + start, first + start + len(positions)))
        span = slice(first, first + len(positions)) if together else None
        span = first if len(positions) == 1 else span
        found = Places(torch.zeros_like(flat), flat, span)
        if found.lasts:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = found
    return found


def primary(value: Any, where: str) -> Tensor:
    """Return the tensor that carries the activation in a module's input or output.

    Raises
    ------
    InterventionError
        There is no tensor, or several and nothing says which one is meant.
    """
    found = carried(value)
    if found is not None:
        return found
    holds = "no tensor to read or edit"
    if isinstance(value, Mapping):
        tensors = [str(key) for key, item in value.items() if isinstance(item, Tensor)]
        if len(tensors) > 1:
            holds = f"several tensors ({', '.join(tensors)}), any of which could be meant"
    raise InterventionError(
        f"{where} holds {holds} (it is a {type(value).__name__}); "
        "choose the input or output of another module"
    )


def carried(value: Any) -> Tensor | None:
    """Return the tensor that carries the activation; None where there is none, or no one tensor."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return value[0] if value and isinstance(value[0], Tensor) else None
    if isinstance(value, Mapping):
        key = _main_key(value)
        return None if key is None else value[key]
    return None


def _main_key(value: Mapping[Any, Any]) -> Any:
    """Return the key of the tensor that stands for a whole mapping, or None."""
    for name in _MAIN_KEYS:
        if isinstance(value.get(name), Tensor):
            return name
    keys = [key for key, item in value.items() if isinstance(item, Tensor)]
    return keys[0] if len(keys) == 1 else None


def with_primary(value: Any, new: Tensor) -> Any:
    """Return `value` with its primary tensor replaced; `value` itself is not touched."""
    if isinstance(value, Tensor):
        return new
    if isinstance(value, tuple):
        if hasattr(value, "_fields"):
            return type(value)(new, *value[1:])
        return (new, *value[1:])
    if isinstance(value, list):
        return [new, *value[1:]]
    changed = dict(value)
    changed[_main_key(value)] = new
    return type(value)(**changed) if type(value) is not dict else changed


def take(tensor: Tensor, places: Places, access: Access, *, copies: bool = True) -> Tensor:
    """Copy out the numbers at some places.

    Parameters
    ----------
    tensor, places, access
        The activation, and which of its numbers are meant.
    copies
        False gives a view of the activation where it can, for whoever lets go of it at once.

    Returns
    -------
    Tensor
        (entries, width); (rows, ...) where the activation has no token axis.
    """
    span = places.span
    if span is not None:
        if isinstance(span, int) and tensor.shape[0] == 1:  # most, and spared a call
            picked = tensor.select(1, span)
        else:
            picked = _spanned(tensor, span)
        if access.columns is not None:
            picked = picked[..., _on(access.columns, tensor)]
        return picked.clone(memory_format=torch.contiguous_format) if copies else picked
    places = places.to(tensor.device)
    picked = (
        tensor[places.rows] if places.positions is None else tensor[places.rows, places.positions]
    )
    if access.columns is None:
        return picked
    return picked[..., _on(access.columns, tensor)]


def _spanned(tensor: Tensor, span: int | slice) -> Tensor:
    """Return a view of the positions of a span in the only row, (positions, ...)."""
    if tensor.shape[0] != 1:
        raise InterventionError(
            f"an activation of shape {tuple(tensor.shape)} has {tensor.shape[0]} rows where one "
            "prompt is run; choose another site"
        )
    return tensor[0, span] if isinstance(span, slice) else tensor.select(1, span)


def put(tensor: Tensor, places: Places, access: Access, values: Tensor) -> Tensor:
    """Return a copy of the tensor with new numbers at some places; gradients flow through both."""
    if values.dtype != tensor.dtype or values.device != tensor.device:
        values = values.to(device=tensor.device, dtype=tensor.dtype)
    span = places.span
    if span is not None:
        whole = access.columns is None and tensor.shape[0] == 1 and tensor.is_contiguous()
        if whole and isinstance(span, int):
            # One operation. Of a part of a larger tensor it would copy all of that.
            return tensor.select_scatter(values, 1, span)
        new = tensor.clone()
        picked = _spanned(new, span)
        if access.columns is not None:
            picked[..., _on(access.columns, tensor)] = values
        else:
            picked.copy_(values)
        return new
    places = places.to(tensor.device)
    index = (places.rows,) if places.positions is None else (places.rows, places.positions)
    if access.columns is not None:
        row = tensor[index].clone()
        row[..., _on(access.columns, tensor)] = values
        values = row
    return tensor.index_put(index, values)


def _on(columns: Tensor | slice | Keys, tensor: Tensor) -> Tensor | slice:
    if isinstance(columns, Keys):
        columns = columns.among(tensor.shape[-1])
    return columns if isinstance(columns, slice) else columns.to(tensor.device)
