"""Lists of modules, and which of them are chains: each takes what the one before it gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from causaltest.engine.hooks import Side
from causaltest.engine.residual import adds_up
from causaltest.engine.survey import Place, Seen

Listed = tuple[str, tuple[str, ...]]
"""The path of a list, and of each module in it."""


def listed(network: nn.Module, *, sequences: bool = False) -> list[Listed]:
    """Return the lists of modules in a network that are more than single layers.

    Parameters
    ----------
    network
        Any module.
    sequences
        Take `nn.Sequential` for a list too, unless it is a part of another.

    Examples
    --------
    >>> block = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> listed(nn.ModuleDict({"a": nn.ModuleList([block, block])}))
    [('a', ('a.0', 'a.1'))]
    """
    found: list[Listed] = []
    outer: list[str] = []
    for path, module in network.named_modules():
        series = sequences and isinstance(module, nn.Sequential) and bool(path)
        if not list(module.children()) or not all(map(has_parts, module.children())):
            continue
        if series and not any(path.startswith(f"{other}.") for other in outer):
            outer.append(path)
        elif not isinstance(module, nn.ModuleList):
            continue
        found.append((path, tuple(f"{path}.{name}" for name in module._modules)))  # noqa: SLF001 - one module may be there twice
    return found


def has_parts(block: nn.Module) -> bool:
    """Return whether a block is more than one layer with weights."""
    parts = [part for part in block.modules() if part is not block]
    return sum(any(True for _ in part.parameters(recurse=False)) for part in parts) > 1


def steady(blocks: Sequence[str], seen: Mapping[Place, Seen], rows: int) -> bool:
    """Return whether all blocks take and give activations of one shape, one what another gave."""
    shapes = {shape_of(seen, block, side) for block in blocks for side in ("input", "output")}
    shape = next(iter(shapes))
    return len(shapes) == 1 and len(shape) == 3 and shape[0] == rows and follow(blocks, seen)


def staged(blocks: Sequence[str], seen: Mapping[Place, Seen], rows: int) -> bool:
    """Return whether blocks are a chain of which only the first takes another shape than it gives.

    So it is in a stage of a convolutional network, which begins with fewer, wider positions.
    """
    shapes = {shape_of(seen, block, "output") for block in blocks}
    return len(shapes) == 1 and chained(blocks, seen, rows)


def chained(blocks: Sequence[str], seen: Mapping[Place, Seen], rows: int) -> bool:
    """Return whether several blocks each take just what the one before gave, of whatever shape."""
    shapes = {shape_of(seen, block, side) for block in blocks for side in ("input", "output")}
    if len(blocks) < 2 or any(len(each) != 3 or each[0] != rows for each in shapes):
        return False
    return all(
        seen[before, "output"].calls == seen[after, "input"].calls == 1
        and _same(seen[before, "output"].tensor, seen[after, "input"].tensor)
        for before, after in pairwise(blocks)
    )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def follow(blocks: Sequence[str], seen: Mapping[Place, Seen]) -> bool:
    """Return whether any block takes what the one before it gave, or what was made of that.

    Something may be added to it by a module beside the blocks, or pass through one.
    """
    pairs = [
        (gave, took)
        for before, after in pairwise(blocks)
        for gave in _calls(seen, before, "output")
        for took in _calls(seen, after, "input")
    ]
    if not pairs or any(torch.equal(gave, took) for (_, gave), (_, took) in pairs):
        return True
    return any(
        adds_up(took, gave, new) or (torch.equal(took, new) and _same(gave, old))
        for (start, gave), (end, took) in pairs
        for old, new in _between(blocks, seen, start, end)
    )


def _between(
    blocks: Sequence[str], seen: Mapping[Place, Seen], start: int, end: int
) -> Iterator[tuple[Tensor | None, Tensor]]:
    """Yield what modules beside the blocks took and gave after one call and before another's end.

    What was there before a block ran is no addition: a sublayer's output and the stream that it
    read, which together are what the next reads, are no stack.
    """
    inside = tuple(f"{block}." for block in blocks)
    for path, side in seen:
        if side != "output" or f"{path}.".startswith(inside):
            continue
        taken = dict(_calls(seen, path, "input"))
        for when, new in _calls(seen, path, "output"):
            if start < when < end:
                yield taken.get(when), new


def _calls(seen: Mapping[Place, Seen], path: str, side: Side) -> list[tuple[int, Tensor]]:
    """Return when each call of a module came to its end, and the activation, as far as kept."""
    found = seen[path, side]
    kept = zip(found.order or (0,), found.tensors or (found.tensor,), strict=True)
    return [(when, each) for when, each in kept if each is not None]


def shape_of(seen: Mapping[Place, Seen], path: str, side: str) -> tuple[int, ...]:
    """Return the shape of an activation; empty where there is none, or no numbers."""
    found = seen.get((path, "input" if side == "input" else "output"))
    tensor: Tensor | None = None if found is None else found.tensor
    return () if tensor is None or not tensor.is_floating_point() else tuple(tensor.shape)
