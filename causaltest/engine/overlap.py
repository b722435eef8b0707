"""Whether sites are places of their own, or share numbers of one activation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from torch import Tensor

from causaltest.engine.access import Access, Keys
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, Site


class Shared(NamedTuple):
    """Two sites that name the same numbers, and where.

    Parameters
    ----------
    one, other
        The sites.
    pair, token
        A base prompt, and a token of it, at which they do.
    """

    one: Site
    other: Site
    pair: Pair
    token: int


def overlap(model: Model, sites: Sequence[Site], pairs: Pairs) -> Shared | None:
    """Find two sites that share numbers of the same activation in some base prompt.

    Parameters
    ----------
    model
        The model.
    sites
        Different sites, which may name one place in different ways.
    pairs
        What positions with names mean.

    Returns
    -------
    Shared
        None where each number belongs to one site at most. What one site computes from another is
        no overlap.

    Examples
    --------
    >>> import torch
    >>> from causaltest.sites import module
    >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
    >>> pairs = Pairs([Pair((0, 1), (0, 2))], name="toy", cluster=None)
    >>> overlap(toy, [module("0", pos="end"), module("0", pos=-1)], pairs).token
    1
    >>> overlap(toy, [module("0", pos="end"), module("0", pos=0)], pairs)
    """
    held: dict[tuple[object, ...], list[tuple[Site, Access]]] = {}
    for site in sites:
        access = model.access(site)
        held.setdefault((access.path, access.side, access.call), []).append((site, access))
    known: dict[tuple[int, Pos], frozenset[int]] = {}

    def tokens(index: int, pos: Pos) -> frozenset[int]:
        if (index, pos) not in known:
            row = Row.of(pairs[index], "base")
            known[index, pos] = frozenset(model.prompts.positions(row, pos))
        return known[index, pos]

    for here in held.values():
        for (one, first), (other, second) in combinations(here, 2):
            if not _meet(first, second):
                continue
            for index, pair in enumerate(pairs):
                if both := tokens(index, one.pos) & tokens(index, other.pos):
                    return Shared(one, other, pair, min(both))
    return None


def _meet(one: Access, other: Access) -> bool:
    """Return whether columns of one are columns of the other."""
    if isinstance(one.columns, Keys) and isinstance(other.columns, Keys):
        heads = one.columns.head, other.columns.head
        keys = one.columns.keys, other.columns.keys
        same = None in heads or heads[0] == heads[1]
        return same and (None in keys or not set(keys[0] or ()).isdisjoint(keys[1] or ()))
    first, second = _numbers(one), _numbers(other)
    if first is None or second is None:
        return True
    if isinstance(first, range) and isinstance(second, range):
        return max(first.start, second.start) < min(first.stop, second.stop)
    return not set(first).isdisjoint(second)


def _numbers(access: Access) -> range | list[int] | None:
    """Return the columns of an access; None for all."""
    if isinstance(access.columns, slice):
        return range(access.columns.start, access.columns.stop)
    return access.columns.tolist() if isinstance(access.columns, Tensor) else None
