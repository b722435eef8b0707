"""Stacks of blocks, recognised by what they do: each keeps the shape of the residual stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from causaltest.engine.chains import Listed, chained, follow, listed, shape_of, staged, steady
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


def find_stacks(
    network: nn.Module, seen: Mapping[Place, Seen], rows: int, *, stages: bool = False
) -> tuple[Stack, ...]:
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
    stages
        Take chains for stacks too whose first block changes the shape, and chains of whatever
        shapes, unless each of their blocks has a stack in it.

    Returns
    -------
    tuple of Stack
        In the order in which they came to an end: the last one leads to the answer.
    """
    if stages:
        lists = listed(network, sequences=True)
        kept = _outermost(
            [each for each in lists if steady(each[1], seen, rows) or staged(each[1], seen, rows)]
        )
        for chain in _outermost([each for each in lists if chained(each[1], seen, rows)]):
            inner = [each for each in kept if each[0].startswith(f"{chain[0]}.")]
            whole = all(any(_within(each, block) for each in inner) for block in chain[1])
            if chain not in kept and not whole:
                kept = [each for each in kept if each not in inner] + [chain]
        kept = _outermost(kept)
    else:
        kept = _outermost([each for each in listed(network) if steady(each[1], seen, rows)])
    order = {path: index for index, (path, side) in enumerate(seen) if side == "output"}
    kept.sort(key=lambda item: order[item[1][-1]])
    names = _names([path for path, _ in kept])
    return tuple(Stack(name, blocks) for name, (_, blocks) in zip(names, kept, strict=True))


def _outermost(lists: Sequence[Listed]) -> list[Listed]:
    """Return the lists that are no part of another."""
    return [
        each for each in lists
        if not any(each[0].startswith(f"{other}.") for other, _ in lists)
    ]  # fmt: skip


def _within(each: Listed, block: str) -> bool:
    return f"{each[0]}.".startswith(f"{block}.")


def no_stack(network: nn.Module, seen: Mapping[Place, Seen]) -> str:
    """Say why no list of modules is a stack of blocks.

    Parameters
    ----------
    network
        The network.
    seen
        A forward pass of it.
    """
    lists = [blocks for _, blocks in listed(network)]
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
        took, gave = shape_of(seen, block, "input"), shape_of(seen, block, "output")
        if not took or not gave:
            return f"what {block} takes and gives is not one tensor each"
        if took != gave:
            return f"{block} takes {took} and gives {gave}"
        if len(took) != 3:
            return f"{block} takes and gives {took}, not {usual}"
    if not follow(blocks, seen):
        return f"none of {blocks[0]} to {blocks[-1]} takes what the one before it gives"
    return f"{blocks[0]} and {blocks[-1]} carry different shapes, or have no axis of {usual} first"


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
