"""Checks of what sublayers write: that it adds up to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from causaltest.engine.access import Access
from causaltest.engine.survey import Place, Seen, tensor_of

Accesses = dict[tuple[str, int | None], Access]

_UNVERIFIED = "what it adds to the residual stream could not be verified"


@dataclass(frozen=True)
class Findings:
    """What was found in a stack so far.

    Parameters
    ----------
    accesses
        Component and layer to its place.
    missing
        Component to the reason why it is not offered.
    """

    accesses: Accesses
    missing: dict[str, str] = field(default_factory=dict)


def settle_residual(found: Findings, seen: Mapping[Place, Seen], path: str, layer: int) -> None:
    """Accept what the sublayers of a block write only if it adds up to the residual stream.

    Parameters
    ----------
    found
        `attention_output` and `mlp_output` of this layer are moved to behind a norm of their own
        where that is what is added, or dropped.
    seen
        A forward pass of several tokens.
    path, layer
        The block.
    """
    accesses = found.accesses
    before, after = accesses.get(("block_input", layer)), accesses.get(("block_output", layer))
    options = {
        name: list(_writers(accesses[name, layer], seen, path)) if (name, layer) in accesses else []
        for name in ("attention_output", "mlp_output")
    }
    chosen: dict[str, Access] = {}
    if before is not None and after is not None:
        start, end = tensor_of(seen, before), tensor_of(seen, after)
        chosen = _adding_up(options, seen, start, end)
        if not chosen:
            states = _states(seen, path, start, end)
            chosen = _adding_up_apart(options, seen, start, states)
    for name in options:
        if name in chosen:
            accesses[name, layer] = replace(
                chosen[name], width=tensor_of(seen, chosen[name]).shape[-1]
            )
        elif accesses.pop((name, layer), None) is not None:
            found.missing[name] = _UNVERIFIED


def settle_crossing(found: Findings, seen: Mapping[Place, Seen], path: str, layer: int) -> None:
    """Accept what a block's cross-attention writes only if it adds up to the residual stream.

    Parameters
    ----------
    found
        `cross_attention_output` of this layer is moved to behind a norm of its own where that is
        what is added, or dropped.
    seen, path, layer
        As for `settle_residual`.
    """
    accesses = found.accesses
    name = "cross_attention_output"
    access = accesses.pop((name, layer), None)
    before, after = accesses.get(("block_input", layer)), accesses.get(("block_output", layer))
    if access is None:
        return
    if before is not None and after is not None:
        start = tensor_of(seen, before)
        states = [start, *_states(seen, path, start, tensor_of(seen, after))]
        for option in _writers(access, seen, path):
            written = tensor_of(seen, option)
            if any(adds_up(later, state, written) for later in states for state in states):
                accesses[name, layer] = replace(option, width=written.shape[-1])
                return
    found.missing[name] = _UNVERIFIED


def _writers(access: Access, seen: Mapping[Place, Seen], path: str) -> Iterator[Access]:
    """Yield a sublayer's output, and what modules of the block make of just that output."""
    yield access
    written = tensor_of(seen, access)
    for (other, side), found in seen.items():
        parent, _, _ = other.rpartition(".")
        if side != "input" or parent != path or found.tensor is None or found.calls != 1:
            continue
        given = seen[other, "output"].tensor
        if given is not None and given.shape == written.shape and _same(found.tensor, written):
            yield Access(other, "output")


def _adding_up(
    options: Mapping[str, list[Access]], seen: Mapping[Place, Seen], start: Tensor, end: Tensor
) -> dict[str, Access]:
    """Return the writers with start + attention + mlp = end, as in blocks with norms before."""
    for attention in options["attention_output"]:
        for mlp in options["mlp_output"]:
            if adds_up(end, start, tensor_of(seen, attention), tensor_of(seen, mlp)):
                return {"attention_output": attention, "mlp_output": mlp}
    return {}


def _adding_up_apart(
    options: Mapping[str, list[Access]],
    seen: Mapping[Place, Seen],
    start: Tensor,
    states: list[Tensor],
) -> dict[str, Access]:
    """Return the writers that each add up to a state of the stream, as with norms in between."""
    chosen: dict[str, Access] = {}
    for attention in options["attention_output"]:
        written = tensor_of(seen, attention)
        if any(adds_up(state, start, written) for state in states):
            chosen["attention_output"] = attention
            break
    for mlp in options["mlp_output"]:
        written = tensor_of(seen, mlp)
        if any(adds_up(later, state, written) for later in states for state in states):
            chosen["mlp_output"] = mlp
            break
    return chosen


def _states(seen: Mapping[Place, Seen], path: str, start: Tensor, end: Tensor) -> list[Tensor]:
    """Return what could be the stream within a block: whatever its modules take, and its end."""
    states: list[Tensor] = [end]
    for (other, side), found in seen.items():
        if side != "input" or not other.startswith(f"{path}.") or found.tensor is None:
            continue
        # Some networks merge rows and tokens before they normalise.
        merged = (start.shape[0] * start.shape[1], start.shape[2])
        if found.tensor.shape not in (start.shape, merged):
            continue
        state = found.tensor.reshape(start.shape)
        if not any(_same(state, known) for known in states):
            states.append(state)
    return states


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and torch.equal(one, other)


def adds_up(total: Tensor, *parts: Tensor) -> bool:
    """Return whether parts add up to a total, to within the rounding of their precision."""
    if any(part.shape != total.shape for part in parts):
        return False
    eps = max(torch.finfo(each.dtype).eps for each in (total, *parts))
    wide = [each.detach().to("cpu", torch.float64) for each in (total, *parts)]
    off = (sum(wide[1:]) - wide[0]).abs()
    return bool((off <= 8 * eps * sum(each.abs() for each in wide)).all())
