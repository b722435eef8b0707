"""Checks of found components: what is added to the residual stream, and how heads are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access
from causaltest.engine.survey import Place, Seen, tensor_of

# The part names of a fused projection are those of architecture._FUSED.
_QUERY_KEY_VALUE = ("query_output", "key_output", "value_output")
_HEAD_COUNTS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KEY_VALUE_HEAD_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_heads")

Accesses = dict[tuple[str, int | None], Access]
Columns = Mapping[str, Tensor | slice]


def settle_residual(
    accesses: Accesses,
    seen: Mapping[Place, Seen],
    path: str,
    layer: int,
    missing: dict[str, str],
) -> None:
    """Accept what the sublayers of a block write only if it adds up to the residual stream.

    Parameters
    ----------
    accesses
        Components found so far; `attention_output` and `mlp_output` of this layer are moved to
        behind a norm of their own where that is what is added, or dropped.
    seen
        A forward pass of several tokens.
    path, layer
        The block.
    missing
        Gets the reason for each component that is dropped.
    """
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
            missing[name] = "what it adds to the residual stream could not be verified"


def settle_crossing(
    accesses: Accesses,
    seen: Mapping[Place, Seen],
    path: str,
    layer: int,
    missing: dict[str, str],
) -> None:
    """Accept what a block's cross-attention writes only if it adds up to the residual stream.

    Parameters
    ----------
    accesses
        Components found so far; `cross_attention_output` of this layer is moved to behind a norm
        of its own where that is what is added, or dropped.
    seen, path, layer, missing
        As for `settle_residual`.
    """
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
            if any(_sum_is(later, state, written) for later in states for state in states):
                accesses[name, layer] = replace(option, width=written.shape[-1])
                return
    missing[name] = "what it adds to the residual stream could not be verified"


def settle_crossing_heads(
    network: nn.Module,
    accesses: Accesses,
    single: Mapping[Place, Seen],
    layers: int,
    missing: dict[str, str],
) -> None:
    """Decide the head counts of cross-attention, where one token of the encoder is all it mixes.

    Parameters
    ----------
    network, accesses, layers, missing
        As for `settle_attention`.
    single
        A forward pass of prompts of one token.
    """
    prefix = "cross_"
    crossing = {
        (name.removeprefix(prefix), layer): access
        for (name, layer), access in accesses.items() if name.startswith(prefix)
    }  # fmt: skip
    reasons: dict[str, str] = {}
    settle_attention(network, crossing, single, layers, reasons)
    for key in [key for key in accesses if key[0].startswith(prefix)]:
        del accesses[key]
    accesses.update({(prefix + name, layer): each for (name, layer), each in crossing.items()})
    missing.update({prefix + name: reason for name, reason in reasons.items()})


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
            if _sum_is(end, start, tensor_of(seen, attention), tensor_of(seen, mlp)):
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
        if any(_sum_is(state, start, written) for state in states):
            chosen["attention_output"] = attention
            break
    for mlp in options["mlp_output"]:
        written = tensor_of(seen, mlp)
        if any(_sum_is(later, state, written) for later in states for state in states):
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


def _sum_is(total: Tensor, *parts: Tensor) -> bool:
    """Return whether parts add up to a total, to within the rounding of their precision."""
    if any(part.shape != total.shape for part in parts):
        return False
    eps = max(torch.finfo(each.dtype).eps for each in (total, *parts))
    wide = [each.detach().to("cpu", torch.float64) for each in (total, *parts)]
    off = (sum(wide[1:]) - wide[0]).abs()
    return bool((off <= 8 * eps * sum(each.abs() for each in wide)).all())


def settle_attention(
    network: nn.Module,
    accesses: Accesses,
    single: Mapping[Place, Seen],
    layers: int,
    missing: dict[str, str],
) -> None:
    """Decide layout and head count of the attention projections; drop what cannot be verified.

    Parameters
    ----------
    network
        Its configuration, where it has one, names the head counts.
    accesses
        Components found so far; those of attention get their columns and heads, or are dropped.
    single
        A forward pass of prompts of one token, where attention can only copy.
    layers
        Number of blocks.
    missing
        Gets the reason for each component that is dropped.
    """
    heads = _count(network, _HEAD_COUNTS)
    fitting: dict[int, dict[tuple[int, str], Columns | None]] = {}
    for layer in range(layers):
        mixed = accesses.get(("attention_value_output", layer))
        if mixed is None or mixed.width is None or not heads or mixed.width % heads:
            continue
        accesses["attention_value_output", layer] = replace(mixed, heads=heads)
        if all((name, layer) in accesses for name in _QUERY_KEY_VALUE):
            fitting[layer] = _fitting_layouts(network, accesses, single, layer, heads)
    layout = _common(fitting)
    for layer in range(layers):
        found = fitting.get(layer, {})
        if layout is None and len(found) == 1:
            _lay_out(accesses, layer, heads or 1, *next(iter(found.items())))
        elif layout in found:
            _lay_out(accesses, layer, heads or 1, layout, found[layout])
        else:
            _forget(accesses, layer, missing)


def forget_fused(accesses: Accesses, layers: int, missing: dict[str, str]) -> None:
    """Drop parts of fused projections where one token cannot be run to tell their layout.

    Parameters
    ----------
    accesses
        Components found so far.
    layers
        Number of blocks.
    missing
        Gets the reason for each component that is dropped.
    """
    for layer in range(layers):
        _forget(accesses, layer, missing)


def _forget(accesses: Accesses, layer: int, missing: dict[str, str]) -> None:
    """Drop queries, keys and values that share a module and whose layout is not known."""
    if not _is_fused(accesses, layer):
        return
    for name in _QUERY_KEY_VALUE:
        del accesses[name, layer]
        missing[name] = (
            "no known layout of its fused projection, or more than one, agrees with the "
            "values mixed"
        )


def _common(
    fitting: Mapping[int, Mapping[tuple[int, str], Columns | None]],
) -> tuple[int, str] | None:
    """Return the one layout that fits every layer; a layer of zeros fits them all."""
    every = [set(found) for found in fitting.values()]
    common = set.intersection(*every) if every else set()
    return next(iter(common)) if len(common) == 1 else None


def _lay_out(
    accesses: Accesses,
    layer: int,
    heads: int,
    layout: tuple[int, str],
    columns: Columns | None,
) -> None:
    size = (accesses["attention_value_output", layer].width or 0) // heads
    for name in _QUERY_KEY_VALUE:
        count = heads if name == "query_output" else layout[0]
        accesses[name, layer] = replace(
            accesses[name, layer],
            columns=None if columns is None else columns[name],
            width=count * size,
            heads=count,
        )


def _is_fused(accesses: Accesses, layer: int) -> bool:
    places = [accesses[name, layer].path for name in _QUERY_KEY_VALUE if (name, layer) in accesses]
    return len(places) == 3 and len(set(places)) == 1


def _fitting_layouts(
    network: nn.Module,
    accesses: Accesses,
    single: Mapping[Place, Seen],
    layer: int,
    heads: int,
) -> dict[tuple[int, str], Columns | None]:
    """Return the layouts under which one token's values are what its heads mix.

    Where there is no such layout, those under which each head mixes a share of its values: a sink
    has taken the rest.
    """
    mixed = accesses["attention_value_output", layer]
    size = (mixed.width or 0) // heads
    target = tensor_of(single, mixed)[:, 0]  # (prompts, heads * size)
    values = tensor_of(single, accesses["value_output", layer])[:, 0]
    target = target.reshape(len(target), heads, size)
    whole: dict[tuple[int, str], Columns | None] = {}
    shares: dict[tuple[int, str], Columns | None] = {}
    for (count, kind), columns in _layouts(network, accesses, layer, heads, size).items():
        value = values if columns is None else values[:, columns["value_output"]]
        spread = value.reshape(len(value), count, size).repeat_interleave(heads // count, dim=1)
        if torch.allclose(spread, target, rtol=1e-3, atol=1e-5):
            whole[count, kind] = columns
        elif size > 1 and _is_share(spread, target):
            shares[count, kind] = columns
    return whole or shares


def _is_share(values: Tensor, mixed: Tensor) -> bool:
    """Return whether what each head mixes is its values times one number between 0 and 1."""
    share = (values * mixed).sum(-1, keepdim=True) / (values * values).sum(-1, keepdim=True)
    fits = torch.allclose(share * values, mixed, rtol=1e-3, atol=1e-5)
    return fits and bool(((share > 0) & (share < 1)).all())


def _layouts(
    network: nn.Module, accesses: Accesses, layer: int, heads: int, size: int
) -> dict[tuple[int, str], Columns | None]:
    """Return the columns of q, k and v by (key-value heads, kind), as far as the widths allow."""
    width = accesses["value_output", layer].width or 0
    if not _is_fused(accesses, layer):
        count = width // size
        fits = count > 0 and heads % count == 0 and count * size == width
        return {(count, "apart"): None} if fits else {}
    layouts: dict[tuple[int, str], Columns | None] = {}
    for count in {heads, _count(network, _KEY_VALUE_HEAD_COUNTS) or heads, 1}:
        if (heads + 2 * count) * size != width or heads % count:
            continue
        query, rest = heads * size, count * size
        layouts[count, "thirds"] = {
            "query_output": slice(0, query),
            "key_output": slice(query, query + rest),
            "value_output": slice(query + rest, query + 2 * rest),
        }
        if count > 1:  # with one group the two layouts are the same
            # One group after another, each with its queries, its key and its value.
            grouped = torch.arange(width).view(count, heads // count + 2, size)
            layouts[count, "grouped"] = {
                "query_output": grouped[:, :-2].flatten(),
                "key_output": grouped[:, -2].flatten(),
                "value_output": grouped[:, -1].flatten(),
            }
    return layouts


def _count(network: nn.Module, names: tuple[str, ...]) -> int | None:
    config = getattr(network, "config", None)
    text_config = getattr(config, "text_config", None)
    for source in (config, text_config):
        for name in names:
            value = getattr(source, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
