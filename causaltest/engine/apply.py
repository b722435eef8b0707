"""What each intervention puts in the place of an activation: one small function each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, singledispatch
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from causaltest.engine.access import Access, Places, take
from causaltest.engine.prompts import Row
from causaltest.engine.subspaces import by_prompt, changed, tensor_of, within
from causaltest.errors import InterventionError
from causaltest.interventions import (
    Adapter,
    Addition,
    Array,
    Constant,
    FeatureEdit,
    FromSource,
    FunctionEdit,
    Interchange,
    Intervention,
    MeanAblation,
    Noise,
    Replacement,
    ResampleAblation,
    Scaling,
    Skip,
    Subtraction,
    ZeroAblation,
    name_of_function,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site


class Edit(NamedTuple):
    """One part of an intervention at one site, for one batch and one draw.

    Parameters
    ----------
    site
        Where.
    rows
        The batch's rows.
    counts
        Positions edited in each row.
    draw
        Index of the random draw.
    stored
        Numbers read beforehand, (entries, width) or (1, width); None where the part needs none.
    given
        What the module took at these places, (entries, width of its input); None where the part
        needs it not.
    whole
        Shape of the module's whole activation.
    tokens
        Whether entries are those of tokens; else each is all that an activation has of a row.
    """

    site: Site
    rows: tuple[Row, ...]
    counts: tuple[int, ...]
    draw: int = 0
    stored: Tensor | None = None
    given: Tensor | None = None
    whole: tuple[int, ...] = ()
    tokens: bool = True


def edited(part: Intervention, old: Tensor, edit: Edit) -> Tensor:
    """Return what a part makes of an activation: its replacement, or a subspace of that."""
    new = _rule(type(part))(part, old, edit)
    if isinstance(part, Replacement) and part.subspace is not None:
        return within(part.subspace, old, new, (edit.rows, edit.counts))
    return new


@lru_cache
def _rule(kind: type[Intervention]) -> Callable[[Intervention, Tensor, Edit], Tensor]:
    """Return what `replacement` does for a kind, which looks for it anew in every call."""
    return replacement.dispatch(kind)


@singledispatch
def replacement(part: Intervention, old: Tensor, edit: Edit) -> Tensor:
    """Return the numbers that replace `old`, (entries, width)."""
    raise InterventionError(f"no rule for applying {type(part).__name__}")


@replacement.register
def _(part: Interchange, old: Tensor, edit: Edit) -> Tensor:
    return _stored(edit, old)


@replacement.register
def _(part: ResampleAblation, old: Tensor, edit: Edit) -> Tensor:
    return _stored(edit, old)


@replacement.register
def _(part: MeanAblation, old: Tensor, edit: Edit) -> Tensor:
    return _stored(edit, old).expand_as(old)


@replacement.register
def _(part: ZeroAblation, old: Tensor, edit: Edit) -> Tensor:
    return torch.zeros_like(old)


@replacement.register
def _(part: Noise, old: Tensor, edit: Edit) -> Tensor:
    draws: list[np.ndarray] = []
    width = old.shape[1:]
    for row, count in by_prompt(part, (edit.rows, edit.counts)):
        stream = random_stream(part.seed, _row_key(row), str(edit.site), edit.draw + row.draw)
        draws.append(stream.standard_normal((count, *width)))
    drawn = torch.from_numpy(np.concatenate(draws)).to(old)
    return old + part.sd * drawn


@replacement.register
def _(part: Constant, old: Tensor, edit: Edit) -> Tensor:
    if part.value.shape:
        _check_vector(part, part.value, old, edit)
    return tensor_of(part.value, old).expand_as(old)


@replacement.register
def _(part: Addition, old: Tensor, edit: Edit) -> Tensor:
    _check_vector(part, part.vector, old, edit)
    return old + part.scale * tensor_of(part.vector, old)


@replacement.register
def _(part: Subtraction, old: Tensor, edit: Edit) -> Tensor:
    _check_vector(part, part.vector, old, edit)
    return old - tensor_of(part.vector, old)


@replacement.register
def _(part: Scaling, old: Tensor, edit: Edit) -> Tensor:
    return part.factor * old


@replacement.register
def _(part: FeatureEdit, old: Tensor, edit: Edit) -> Tensor:
    return changed(part, old)


@replacement.register
def _(part: Skip, old: Tensor, edit: Edit) -> Tensor:
    assert edit.given is not None
    return edit.given


@replacement.register
def _(part: Adapter, old: Tensor, edit: Edit) -> Tensor:
    assert edit.given is not None
    for what, shown, size in (
        ("takes", part.down.shape[0], edit.given.shape[-1]),
        ("gives", part.up.shape[1], old.shape[-1]),
    ):
        if shown != size:
            raise InterventionError(
                f"{part}: the adapter {what} {shown} numbers, but the module at {edit.site} {what} "
                f"{size}"
            )
    given = edit.given.to(old)
    low = given @ tensor_of(part.down, old)
    return old + part.scale * (low @ tensor_of(part.up, old))


@replacement.register
def _(part: FunctionEdit, old: Tensor, edit: Edit) -> Tensor:
    assert part.function is not None
    there = None if edit.stored is None else edit.stored.to(old)
    given = old.clone(memory_format=torch.contiguous_format)  # a function may keep it
    version = given._version  # noqa: SLF001 - the only trace of a change in place
    new = part.function(given, there)
    name = name_of_function(part.function)
    if not isinstance(new, Tensor):
        raise InterventionError(
            f"{part}: {name} returned {new!r} ({type(new).__name__}); expected a tensor of shape "
            f"{tuple(old.shape)}"
        )
    if given._version != version:  # noqa: SLF001
        raise InterventionError(
            f"{part}: {name} changed the activation it was given in place; return a new tensor"
        )
    return new


def own_input(part: Intervention, edit: Edit, access: Access, given: Tensor, where: Places) -> Edit:
    """Return the edit with what the module took at the places that are edited.

    Parameters
    ----------
    part
        An intervention that makes use of the module's input.
    edit
        One part at one site.
    access
        Where the site lives.
    given
        The module's whole input.
    where
        The entries that are edited.

    Raises
    ------
    InterventionError
        The input has other rows or tokens than the output.
    """
    axes = 1 if where.positions is None else 2
    if isinstance(part, Skip):
        fits = tuple(given.shape) == edit.whole
        inner = access
    else:
        fits = given.ndim > axes and given.shape[:axes] == edit.whole[:axes]
        inner = replace(access, columns=None)
    if not fits:
        raise InterventionError(
            f"{part}: {access.path} takes an activation of shape {tuple(given.shape)} and gives "
            f"one of shape {edit.whole}; {_NEEDS.get(type(part), _NEEDS_TOKENS)}"
        )
    return edit._replace(given=take(given, where, inner))


_NEEDS = {
    Skip: "only a module that gives what it takes can be skipped\n"
    "choose a block, or by its path a module such as module('transformer.h.1.mlp')",
    Adapter: "an adapter needs an input with the rows and tokens of the output",
}
_NEEDS_TOKENS = "it is edited by its input, which must have the rows and tokens of the output"


def _check_vector(part: Intervention, values: Array, old: Tensor, edit: Edit) -> None:
    if values.shape != (old.shape[-1],):
        raise InterventionError(
            f"{part}: the vector has {values.shape[0]} numbers, but {edit.site} is "
            f"{old.shape[-1]} wide"
        )


def _stored(edit: Edit, old: Tensor) -> Tensor:
    assert edit.stored is not None
    return edit.stored.to(old)


def _row_key(row: Row) -> str:
    return row.pair.id if row.pair is not None else repr(row.prompt)


def random_stream(*key: object) -> np.random.Generator:
    """Return a random stream that depends on the key alone, not on order, batch or process."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def donors(
    part: Intervention, pairs: Sequence[Pair], over: Pairs, draw: int
) -> list[Row | None] | None:
    """Return the prompts to read before editing, one for each pair; None where none is needed.

    A pair that is to be left alone, for want of a source that is optional, has None.

    Parameters
    ----------
    part
        One part of an intervention.
    pairs
        The pairs of the batch.
    over
        The whole pair set of the claim, from which resampling draws by default.
    draw
        Index of the random draw.
    """
    if isinstance(part, FromSource):
        return [_named(part, pair) for pair in pairs]
    if part.needs_source:
        return [Row.of(pair, "source") for pair in pairs]
    if isinstance(part, ResampleAblation):
        # Which prompt is drawn must not depend on the order of the pool.
        pool = sorted(part.over or over, key=lambda other: other.id)
        return [_another(part, pair, pool, draw) for pair in pairs]
    return None


def has_source(pair: Pair, name: str) -> bool:
    """Return whether a pair has a prompt of that name."""
    return name == "base" or (pair.source is not None if name == "source" else name in pair.sources)


def _named(part: FromSource, pair: Pair) -> Row | None:
    if part.optional and not has_source(pair, part.source):
        return None
    return Row.of(pair, part.source)


def _another(part: ResampleAblation, pair: Pair, pool: Sequence[Pair], draw: int) -> Row:
    others = [other for other in pool if other.base != pair.base]
    if not others:
        raise InterventionError(
            f"{part}: the pairs to draw from hold no prompt other than that of pair {pair.id}"
        )
    stream = random_stream(part.seed, pair.id, draw)
    return Row.of(others[int(stream.integers(len(others)))], "base")
