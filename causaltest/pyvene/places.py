"""Which entries of an activation a call means, and how they are taken out and put back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.engine.access import Access, Keys, Places, put, take
from causaltest.engine.hooks import Side
from causaltest.engine.keys import seen_only
from causaltest.engine.steps import Clock
from causaltest.errors import InterventionError, SiteError
from causaltest.pyvene.locations import Spot


@dataclass
class Frame:
    """The rows of a call, and which of their tokens the present pass works on.

    Parameters
    ----------
    rows
        Rows of the call that was asked for; beams multiply them.
    mask
        (rows, tokens) of the prompt, 1 on real tokens; None where nothing is padded.
    clock
        Steps of the text that is being written; None where a module runs once.
    """

    rows: int
    mask: Tensor | None = None
    clock: Clock | None = None

    @property
    def start(self) -> int:
        """Index of the first token of this pass."""
        return 0 if self.clock is None else self.clock.start

    @property
    def prompt(self) -> int:
        """Tokens of the prompt while text is written, else 0."""
        return 0 if self.clock is None else max(self.clock.lengths)

    @property
    def later(self) -> bool:
        """Whether this is a pass after the one that reads the prompt."""
        return self.clock is not None and self.clock.step > 0


@dataclass(frozen=True)
class Selection:
    """Entries of an activation that are meant, and how they are laid out."""

    where: Places
    shape: tuple[int, ...] | None
    heads: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """A site of the model: what an intervention is attached to.

    Parameters
    ----------
    key
        The intervention's key.
    access
        Where it lives.
    name
        What to call it in messages.
    units
        How many units are joined into one vector.
    around
        The module whose input is meant by "the module's input": all of a sublayer, where `access`
        is its projection.
    """

    key: str
    access: Access
    name: str
    units: int = 1
    around: str = ""

    @property
    def entrance(self) -> Access:
        """Where the module's input lives."""
        return Access(self.around or self.access.path, "input")

    @property
    def place(self) -> tuple[str, Side]:
        """Module path and side."""
        return self.access.path, self.access.side


def select(tensor: Tensor, spot: Spot, target: Target, frame: Frame) -> Selection | None:
    """Return the entries that a spot means in an activation; None where none is in this pass.

    Raises
    ------
    InterventionError
        The activation has no such axes, or a position does not exist.
    """
    rows, device = tensor.shape[0], tensor.device
    if tensor.ndim < 3 or (spot.whole and tensor.ndim > 3):
        if not spot.whole:
            raise InterventionError(
                f"{target.name} has shape {tuple(tensor.shape)}, without an axis of tokens; "
                "give no "
                "unit_locations, so that all of it is meant"
            )
        return Selection(Places(torch.arange(rows, device=device), None), None)
    positions = _positions(tensor, spot, target, frame)
    if positions is None:
        return None
    count = positions.shape[1]
    index = torch.arange(rows)[:, None].expand(rows, count).reshape(-1)
    heads = None if spot.heads is None else _repeated(torch.tensor(spot.heads), rows, target)
    return Selection(
        Places(index.to(device), positions.reshape(-1).to(device)),
        (rows, count),
        None if heads is None else heads.to(device),
    )


def _repeated(indices: Tensor, rows: int, target: Target) -> Tensor:
    if rows % len(indices):
        raise InterventionError(
            f"{target.name} has {rows} rows, but base has {len(indices)}; edits cannot be placed"
        )
    return indices.repeat_interleave(rows // len(indices), dim=0)


def _positions(tensor: Tensor, spot: Spot, target: Target, frame: Frame) -> Tensor | None:
    rows, length = tensor.shape[:2]
    if spot.positions is None:
        first = max(0, spot_start(spot, frame) - frame.start)
        if first >= length:
            return None
        return torch.arange(first, length).expand(rows, length - first)
    # While text is generated, places are those of the prompt in every pass.
    total = frame.prompt or length
    total = total if frame.mask is None else frame.mask.shape[1]
    listed = [
        [_position(each, row, total, target, frame) for each in units]
        for row, units in enumerate(spot.positions)
    ]
    for row, units in enumerate(listed):
        if len(set(units)) < len(units):
            raise InterventionError(f"{target.name}: row {row} names a position twice: {units}")
    found = _repeated(torch.tensor(listed), rows, target) - frame.start
    if bool((found < 0).any()) or bool((found >= length).any()):
        if frame.later:
            return None
        raise InterventionError(
            f"{target.name} has shape {tuple(tensor.shape)}; positions {listed} are not in it"
        )
    return found


def spot_start(spot: Spot, frame: Frame) -> int:
    """Return the first token that a spot without positions means."""
    return frame.prompt if isinstance(spot, NewTokens) else 0


@dataclass(frozen=True)
class NewTokens(Spot):
    """Every token that is generated, and none of the prompt."""


def _position(index: int, row: int, total: int, target: Target, frame: Frame) -> int:
    """Return a position counted from 0; a negative one counts from the end of the row's text."""
    mask = None if frame.mask is None else frame.mask[row].bool()
    end = total if mask is None else int(mask.nonzero().max()) + 1
    found = index if index >= 0 else end + index
    first = 0 if mask is None else int(mask.nonzero().min())
    length = end - first
    if not 0 <= found < total or (index < 0 and found < first):
        raise SiteError(
            f"{target.name}: position {index} does not exist: row {row} has {length} tokens"
        )
    if mask is not None and not mask[found]:
        raise SiteError(
            f"{target.name}: position {index} of row {row} is padding; its tokens are "
            f"{first}-{end - 1}"
        )
    return found


def gather(tensor: Tensor, chosen: Selection, target: Target) -> Tensor:
    """Return units, (rows, units, width); of heads (rows, heads, tokens, width); or all."""
    entries = take(tensor, chosen.where, target.access)
    if chosen.shape is None:
        return entries
    values = entries.reshape(*chosen.shape, *entries.shape[1:])
    if chosen.heads is None:
        return values
    rows, heads = chosen.heads.shape
    split = values.unflatten(-1, (target.access.heads or 1, -1)).transpose(1, 2)
    return split[
        torch.arange(rows, device=values.device)[:, None].expand(rows, heads), chosen.heads
    ]


def check_keys(target: Target, frame: Frame, source: Tensor | None, base: Tensor) -> None:
    """Refuse scores or patterns whose columns are no keys of the rows, or those of other prompts.

    Raises
    ------
    InterventionError
        Rows are padded, or the source has another number of keys.
    """
    if not isinstance(target.access.columns, Keys):
        return
    if frame.mask is not None:
        raise InterventionError(
            f"{target.name} has one number for each key, and rows are padded; give rows of one "
            "length"
        )
    if source is not None and source.ndim == base.ndim and source.shape[-1] != base.shape[-1]:
        raise InterventionError(
            f"{target.name} has one number for each key: {base.shape[-1]} in base, but "
            f"{source.shape[-1]} in the source; give prompts of equal length"
        )


def scatter(
    tensor: Tensor, chosen: Selection, target: Target, values: Tensor, source: Tensor | None = None
) -> Tensor:
    """Return the activation with units replaced; the tensor itself stays as it is."""
    if chosen.heads is not None and chosen.shape is not None:
        entries = take(tensor, chosen.where, target.access)
        whole = entries.reshape(*chosen.shape, *entries.shape[1:])
        split = whole.unflatten(-1, (target.access.heads or 1, -1)).transpose(1, 2)
        rows, heads = chosen.heads.shape
        index = torch.arange(rows, device=tensor.device)[:, None].expand(rows, heads)
        split = split.index_put((index, chosen.heads), values.to(split))
        values = split.transpose(1, 2).flatten(-2)
    if chosen.shape is not None:
        values = values.flatten(0, 1)
    if isinstance(target.access.columns, Keys):
        where, access = chosen.where, target.access
        old = take(tensor, where, access)
        values = seen_only(
            "the edit", target.name, source, access=access, where=where, old=old, new=values.to(old)
        )
    return put(tensor, chosen.where, target.access, values)
