"""Which axes of activations are the rows and the tokens, told by two runs of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from causaltest.engine.layouts import USUAL, Layout
from causaltest.engine.survey import Place, Seen


def told(
    several: Tensor, single: Tensor, rows: int, tokens: tuple[int, int] = (2, 1)
) -> Layout | None:
    """Tell the axes of an activation by how they grow with the rows and shrink with the tokens.

    Parameters
    ----------
    several
        What a run of one row of several tokens carried.
    single
        What a run of `rows` rows of fewer tokens carried.
    rows
        Two or more.
    tokens
        How many tokens the rows of the two runs had.

    Returns
    -------
    Layout or None
        None where no axis, or more than one, is the rows or the tokens, or there is no width.

    Examples
    --------
    >>> import torch
    >>> told(torch.zeros(2, 1, 8), torch.zeros(1, 4, 8), 4)
    Layout(rows=1, tokens=0)
    """
    one, many = tuple(several.shape), tuple(single.shape)
    if len(one) != len(many) or len(one) < 3 or not several.is_floating_point():
        return None
    differ = [axis for axis in range(len(one)) if one[axis] != many[axis]]
    first = [axis for axis in differ if (one[axis], many[axis]) == (1, rows)]
    second = [axis for axis in differ if (one[axis], many[axis]) == tokens]
    if len(first) != 1 or len(second) != 1 or len(differ) != 2:
        return None
    return Layout(first[0], second[0])


def layouts_of(
    several: Mapping[Place, Seen],
    single: Mapping[Place, Seen],
    rows: int,
    tokens: tuple[int, int] = (2, 1),
) -> dict[Place, Layout]:
    """Return the layouts of all places that have one, in every call, and not the usual.

    Parameters
    ----------
    several, single
        Runs as for `told`, in which every call was kept.
    rows, tokens
        As for `told`.
    """
    found: dict[Place, Layout] = {}
    for place, seen in several.items():
        other = single.get(place)
        if other is None or other.calls != seen.calls:
            continue
        pairs = zip(seen.tensors, other.tensors, strict=True)
        layouts = {None if a is None or b is None else told(a, b, rows, tokens) for a, b in pairs}
        layout = layouts.pop()
        usual = layout == USUAL and seen.tensor is not None and seen.tensor.ndim == 3
        if not layouts and layout is not None and not usual:
            found[place] = layout
    return found


def of_attention(path: str, layouts: Mapping[Place, Layout]) -> Layout:
    """Return the layout of what an attention module takes, or gives where that has none."""
    return layouts.get((path, "input")) or layouts.get((path, "output")) or USUAL


def turned(seen: Mapping[Place, Seen], layouts: Mapping[Place, Layout]) -> dict[Place, Seen]:
    """Return a forward pass with the activations of some places as (rows, tokens, width).

    Parameters
    ----------
    seen
        The pass.
    layouts
        Of the places.
    """
    return {place: _turned(each, layouts.get(place)) for place, each in seen.items()}


def _turned(seen: Seen, layout: Layout | None) -> Seen:
    if layout is None or seen.tensor is None:
        return seen
    axes = seen.tensor.ndim
    turn: Callable[[Tensor | None], Tensor | None] = lambda tensor: (  # noqa: E731
        layout.turned(tensor) if tensor is not None and tensor.ndim == axes else tensor
    )
    return replace(seen, tensor=turn(seen.tensor), tensors=tuple(map(turn, seen.tensors)))
