"""What each intervention puts in the place of an activation: one small function each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError
from causaltest.interventions import (
    Addition,
    Interchange,
    Intervention,
    MeanAblation,
    Noise,
    ResampleAblation,
    ZeroAblation,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site


@dataclass(frozen=True)
class Edit:
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
    """

    site: Site
    rows: tuple[Row, ...]
    counts: tuple[int, ...]
    draw: int = 0
    stored: Tensor | None = None


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
    for row, count in zip(edit.rows, edit.counts, strict=True):
        stream = random_stream(part.seed, _row_key(row), str(edit.site), edit.draw)
        draws.append(stream.standard_normal((count, *width)))
    drawn = torch.from_numpy(np.concatenate(draws)).to(old)
    return old + part.sd * drawn


@replacement.register
def _(part: Addition, old: Tensor, edit: Edit) -> Tensor:
    if len(part.vector) != old.shape[-1]:
        raise InterventionError(
            f"{part}: the vector has {len(part.vector)} numbers, but {edit.site} is "
            f"{old.shape[-1]} wide"
        )
    return old + part.scale * torch.tensor(part.vector, dtype=old.dtype, device=old.device)


def _stored(edit: Edit, old: Tensor) -> Tensor:
    assert edit.stored is not None
    return edit.stored.to(old)


def _row_key(row: Row) -> str:
    return row.pair.id if row.pair is not None else repr(row.prompt)


def random_stream(*key: object) -> np.random.Generator:
    """Return a random stream that depends on the key alone, not on order, batch or process."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def donors(part: Intervention, pairs: Sequence[Pair], over: Pairs, draw: int) -> list[Row] | None:
    """Return the prompts to read before editing, one for each pair; None where none is needed.

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
    if isinstance(part, Interchange):
        return [Row.of(pair, "source") for pair in pairs]
    if isinstance(part, ResampleAblation):
        # Which prompt is drawn must not depend on the order of the pool.
        pool = sorted(part.over or over, key=lambda other: other.id)
        return [_another(part, pair, pool, draw) for pair in pairs]
    return None


def _another(part: ResampleAblation, pair: Pair, pool: Sequence[Pair], draw: int) -> Row:
    others = [other for other in pool if other.base != pair.base]
    if not others:
        raise InterventionError(
            f"{part}: the pairs to draw from hold no prompt other than that of pair {pair.id}"
        )
    stream = random_stream(part.seed, pair.id, draw)
    return Row.of(others[int(stream.integers(len(others)))], "base")
