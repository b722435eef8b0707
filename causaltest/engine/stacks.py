"""Stacks of blocks, recognised by what they do: each keeps the shape of the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from causaltest.engine.hooks import Side
from causaltest.engine.residual import adds_up
from causaltest.engine.survey import Place, Seen


@dataclass(frozen=True)
class Stack:
    """Blocks that run one after another on one residual stream.

    Parameters
    ----------
    name
        The part of the module paths that tells it from other stacks; empty where there is one.
    blocks
        Module path of each block, in order.
    """

    name: str
    blocks: tuple[str, ...]


def find_stacks(network: nn.Module, seen: Mapping[Place, Seen], rows: int) -> tuple[Stack, ...]:
    """Find the stacks of blocks of a network.

    A stack is a list of modules, none of them a single layer, that all took and gave activations
    of one shape (rows, tokens, width), one what another gave. Lists inside a block of another stack
    belong to the block.

    Parameters
    ----------
    network
        Any module.
    seen
        A forward pass of it.
    rows
        Number of prompts in that pass.

    Returns
    -------
    tuple of Stack
        In the order in which they came to an end: the last one leads to the answer.
    """
    found = [
        (path, tuple(f"{path}.{index}" for index in range(len(module))))
        for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
        and all(_has_parts(block) for block in module)
    ]  # fmt: skip
    kept = [(path, blocks) for path, blocks in found if _keep_shape(blocks, seen, rows)]
    outer = [
        (path, blocks) for path, blocks in kept
        if not any(path.startswith(f"{other}.") for other, _ in kept)
    ]  # fmt: skip
    order = {path: index for index, (path, side) in enumerate(seen) if side == "output"}
    outer.sort(key=lambda item: order[item[1][-1]])
    names = _names([path for path, _ in outer])
    return tuple(Stack(name, blocks) for name, (_, blocks) in zip(names, outer, strict=True))


def no_stack(network: nn.Module, seen: Mapping[Place, Seen]) -> str:
    """Say why no list of modules is a stack of blocks.

    Parameters
    ----------
    network
        The network.
    seen
        A forward pass of it.
    """
    lists = [
        [f"{path}.{index}" for index in range(len(module))]
        for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(_has_parts, module))
    ]
    reasons = [reason for blocks in lists if (reason := _no_chain(blocks, seen))]
    why = reasons[0] if reasons else "it has no list of modules of several layers each"
    return f"no stack of blocks was recognised: {why}"


def _no_chain(blocks: Sequence[str], seen: Mapping[Place, Seen]) -> str:
    """Return why modules in a list are no blocks one after another; empty for unused modules."""
    usual = "(rows, tokens, width)"
    for block in blocks:
        if (block, "output") not in seen:
            parts = any(path.startswith(f"{block}.") for path, _ in seen)
            past = f"{block} is run by its forward method, past all hooks, though its parts are not"
            return past if parts else ""
        took, gave = _shape(seen, block, "input"), _shape(seen, block, "output")
        if not took or not gave:
            return f"what {block} takes and gives is not one tensor each"
        if took != gave:
            return f"{block} takes {took} and gives {gave}"
        if len(took) != 3:
            return f"{block} takes and gives {took}, not {usual}"
    if not _follow(blocks, seen):
        return f"none of {blocks[0]} to {blocks[-1]} takes what the one before it gives"
    return f"{blocks[0]} and {blocks[-1]} carry different shapes, or have no axis of {usual} first"


def _has_parts(block: nn.Module) -> bool:
    """Return whether a block is more than one layer with weights."""
    parts = [part for part in block.modules() if part is not block]
    return sum(any(True for _ in part.parameters(recurse=False)) for part in parts) > 1


def _keep_shape(blocks: Sequence[str], seen: Mapping[Place, Seen], rows: int) -> bool:
    shapes = {_shape(seen, block, side) for block in blocks for side in ("input", "output")}
    shape = next(iter(shapes))
    return len(shapes) == 1 and len(shape) == 3 and shape[0] == rows and _follow(blocks, seen)


def _follow(blocks: Sequence[str], seen: Mapping[Place, Seen]) -> bool:
    """Return whether any block takes what the one before it gave, or that and what was added."""
    pairs = [
        (gave, took)
        for before, after in pairwise(blocks)
        for gave in _calls(seen, before, "output")
        for took in _calls(seen, after, "input")
    ]
    if not pairs or any(torch.equal(gave, took) for (_, gave), (_, took) in pairs):
        return True
    return any(
        adds_up(took, gave, added)
        for (start, gave), (end, took) in pairs
        for added in _between(blocks, seen, start, end)
    )


def _between(
    blocks: Sequence[str], seen: Mapping[Place, Seen], start: int, end: int
) -> Iterator[Tensor]:
    """Yield what modules beside the blocks gave after one call and before the end of another.

    What was there before a block ran is no addition: a sublayer's output and the stream that it
    read, which together are what the next reads, are no stack.
    """
    inside = tuple(f"{block}." for block in blocks)
    for path, side in seen:
        if side == "output" and not f"{path}.".startswith(inside):
            yield from (each for when, each in _calls(seen, path, "output") if start < when < end)


def _calls(seen: Mapping[Place, Seen], path: str, side: Side) -> list[tuple[int, Tensor]]:
    """Return when each call of a module came to its end, and the activation, as far as kept."""
    found = seen[path, side]
    kept = zip(found.order or (0,), found.tensors or (found.tensor,), strict=True)
    return [(when, each) for when, each in kept if each is not None]


def _shape(seen: Mapping[Place, Seen], path: str, side: str) -> tuple[int, ...]:
    found = seen.get((path, "input" if side == "input" else "output"))
    tensor: Tensor | None = None if found is None else found.tensor
    return () if tensor is None or not tensor.is_floating_point() else tuple(tensor.shape)


def _names(paths: Sequence[str]) -> list[str]:
    """Name each path by the first part in which it differs from all others."""
    if len(paths) < 2:
        return [""] * len(paths)
    parts = [path.split(".") for path in paths]
    names: list[str] = []
    for mine in parts:
        others = [other for other in parts if other is not mine]
        stop = 1
        while any(other[:stop] == mine[:stop] for other in others) and stop < len(mine):
            stop += 1
        start = stop - 1
        while start > 0 and mine[start].isdigit():
            start -= 1
        names.append(".".join(mine[start:stop]))
    # Two stacks may end in the same word in different places.
    return names if len(set(names)) == len(names) else list(paths)
