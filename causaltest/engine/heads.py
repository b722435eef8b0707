"""Checks of attention projections: where queries, keys and values are, and how many heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from causaltest.engine.calls import module_of
from causaltest.engine.residual import Accesses, Findings
from causaltest.engine.survey import Place, Seen, tensor_of

# The part names of a fused projection are those of candidates._FUSED.
_QUERY_KEY_VALUE = ("query_output", "key_output", "value_output")
_HEAD_COUNTS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "num_attn_heads")
_KEY_VALUE_HEAD_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_heads")

Columns = Mapping[str, Tensor | slice]


def suppose_heads(network: nn.Module, found: Findings, layers: int) -> None:
    """Take heads for as many as the attention modules say, until patterns verify it.

    Parameters
    ----------
    network, found, layers
        As for `settle_attention`.
    """
    for layer in range(layers):
        mixed = found.accesses.get(("attention_value_output", layer))
        heads = _count(network, found.accesses, layer, _HEAD_COUNTS)
        if mixed is not None and heads and mixed.width and mixed.width % heads == 0:
            found.accesses["attention_value_output", layer] = replace(mixed, heads=heads)


def drop_unmixed(found: Findings, runs: Sequence[Mapping[Place, Seen]], layers: int) -> None:
    """Drop queries, keys and values of attention that mixes none of them.

    So it is where a kernel computes attention and is not there, as in MRA without CUDA.

    Parameters
    ----------
    found
        Components of attention are dropped, with a reason; what they would mix has no heads.
    runs
        Forward passes, of several tokens and of one.
    layers
        Number of blocks.
    """
    for layer in range(layers):
        value = found.accesses.get(("value_output", layer))
        mixed = found.accesses.get(("attention_value_output", layer))
        if value is None or mixed is None:
            continue
        values, sums = ([tensor_of(seen, each) for seen in runs] for each in (value, mixed))
        if any(bool(each.any()) for each in sums) or not all(bool(each.any()) for each in values):
            continue
        found.accesses["attention_value_output", layer] = replace(mixed, heads=None)
        for name in _QUERY_KEY_VALUE:
            if found.accesses.pop((name, layer), None) is not None:
                found.missing[name] = (
                    f"{mixed.path} takes only zeros, whatever the values are: attention that mixes "
                    "nothing, perhaps since a kernel of it is not installed"
                )


def settle_attention(
    network: nn.Module,
    found: Findings,
    seen: Mapping[Place, Seen],
    layers: int,
    patterns: Mapping[int, Tensor] | None = None,
) -> None:
    """Decide layout and head count of the attention projections; drop what cannot be verified.

    Parameters
    ----------
    network
        Its attention modules, or their configuration, name the head counts.
    found
        Components of attention get their columns and heads, or are dropped.
    seen
        A forward pass: of prompts of one token, where attention can only copy, or any other.
    layers
        Number of blocks.
    patterns
        How the layers attend in that pass; None for prompts of one token.
    """
    accesses = found.accesses
    counts: dict[int, int] = {}
    fitting: dict[int, dict[tuple[int, str], Columns | None]] = {}
    for layer in range(layers):
        mixed = accesses.get(("attention_value_output", layer))
        heads = _count(network, accesses, layer, _HEAD_COUNTS)
        if mixed is None or mixed.width is None or not heads or mixed.width % heads:
            continue
        if patterns is not None and layer not in patterns:
            accesses["attention_value_output", layer] = replace(mixed, heads=None)
            continue
        counts[layer] = heads
        accesses["attention_value_output", layer] = replace(mixed, heads=heads)
        if all((name, layer) in accesses for name in _QUERY_KEY_VALUE):
            pattern = None if patterns is None else patterns[layer]
            fitting[layer] = _fitting_layouts(
                network, accesses, seen, layer, heads, pattern=pattern
            )
    layout = _common(fitting)
    for layer in range(layers):
        fits = fitting.get(layer, {})
        if layout is None and len(fits) == 1:
            _lay_out(accesses, layer, counts[layer], *next(iter(fits.items())))
        elif layout in fits:
            _lay_out(accesses, layer, counts[layer], layout, fits[layout])
        else:
            _forget(found, layer)


def settle_crossing_heads(
    network: nn.Module, found: Findings, single: Mapping[Place, Seen], layers: int
) -> None:
    """Decide the head counts of cross-attention, where one token of the encoder is all it mixes.

    Parameters
    ----------
    network, found, layers
        As for `settle_attention`.
    single
        A forward pass of prompts of one token.
    """
    prefix, accesses = "cross_", found.accesses
    crossing = {
        (name.removeprefix(prefix), layer): access
        for (name, layer), access in accesses.items() if name.startswith(prefix)
    }  # fmt: skip
    apart = Findings(crossing)
    settle_attention(network, apart, single, layers)
    for key in [key for key in accesses if key[0].startswith(prefix)]:
        del accesses[key]
    accesses.update({(prefix + name, layer): each for (name, layer), each in crossing.items()})
    found.missing.update({prefix + name: reason for name, reason in apart.missing.items()})


def _forget(found: Findings, layer: int) -> None:
    """Drop queries, keys and values that share a module and whose layout is not known."""
    if not _is_fused(found.accesses, layer):
        return
    for name in _QUERY_KEY_VALUE:
        del found.accesses[name, layer]
        found.missing[name] = (
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
    seen: Mapping[Place, Seen],
    layer: int,
    heads: int,
    *,
    pattern: Tensor | None,
) -> dict[tuple[int, str], Columns | None]:
    """Return the layouts under which values, weighed by a pattern, are what heads mix.

    Without a pattern there is one token, whose values are what its heads mix. Where there is no
    such layout, those under which each head mixes a share of its values: a sink has taken the rest.
    """
    mixed = accesses["attention_value_output", layer]
    size = (mixed.width or 0) // heads
    target = tensor_of(seen, mixed).unflatten(-1, (heads, size))
    values = tensor_of(seen, accesses["value_output", layer])
    if pattern is None:
        if values.shape[1] != 1:  # more than one token's values may be mixed
            return {}
        target = target[:, :1]
    whole: dict[tuple[int, str], Columns | None] = {}
    shares: dict[tuple[int, str], Columns | None] = {}
    for (count, kind), columns in _layouts(network, accesses, layer, heads, size).items():
        value = values if columns is None else values[..., columns["value_output"]]
        spread = value.unflatten(-1, (count, size)).repeat_interleave(heads // count, dim=2)
        if pattern is not None:
            spread = torch.einsum("rhqk,rkhd->rqhd", pattern.to(spread), spread)
        if torch.allclose(spread, target, rtol=1e-3, atol=1e-5):
            whole[count, kind] = columns
        elif pattern is None and size > 1 and _is_share(spread, target):
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
    groups = _count(network, accesses, layer, _KEY_VALUE_HEAD_COUNTS)
    for count in {heads, groups or heads, 1}:
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


def _count(
    network: nn.Module, accesses: Accesses, layer: int, names: tuple[str, ...]
) -> int | None:
    """Return a number that the attention of a layer has, or the configuration nearest to it.

    Stacks of one network may have different numbers of heads.
    """
    for component in ("value_output", "attention_value_output"):
        access = accesses.get((component, layer))
        path = "" if access is None else module_of(access.path)
        while path:
            path, _, _ = path.rpartition(".")
            module = network.get_submodule(path)
            config = getattr(module, "config", None)
            for source in (module, config, getattr(config, "text_config", None)):
                for name in names:
                    value = getattr(source, name, None)
                    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                        return value
    return None
