"""Folders that pyvene saved, as interventions of causaltest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from causaltest.errors import CausaltestError, RecordError
from causaltest.interventions import (
    Intervention,
    Subspace,
    add,
    autoencoder,
    boundless,
    constant,
    interchange,
    low_rank,
    noise,
    pca,
    rotated,
    sigmoid_mask,
    skip,
    subtract,
    zero_ablate,
)
from causaltest.sharing.pyvene_files import read_folder
from causaltest.sites import Pos, Site
from causaltest.spelling import did_you_mean, listed

# The standard deviation of pyvene's noise where a folder does not say another.
_NOISE = 0.13462981581687927


@dataclass(frozen=True)
class _Placed:
    """One intervention of a folder, at the place that is asked for."""

    site: Site
    tensors: Mapping[str, Tensor]
    dims: tuple[int, ...] | None


def read_pyvene(
    folder: str | os.PathLike[str],
    *,
    pos: Pos | Mapping[str, Pos] = None,
    dims: Mapping[str, tuple[int, ...]] | None = None,
    heads: Mapping[str, int] | None = None,
) -> Intervention:
    """Read a folder that pyvene saved, as an intervention of causaltest.

    The names of classes are read as text and nothing is imported; weights are read with
    `weights_only`.

    Parameters
    ----------
    folder
        Holds `config.json`, and a file `intkey_*.bin` for each trained or stored representation.
    pos
        Where to edit: pyvene gives positions with each call and does not save them. One position
        for all, or one for each key (`layer_1_comp_block_output_unit_pos_nunit_1#0`).
    dims
        For each key the dims of its basis that are interchanged (what pyvene takes as `subspaces`,
        or as the indices of a partition). The default is the `interchange_dim` that was saved.
    heads
        For each key of a `head_*` component its head, which is not saved either.

    Returns
    -------
    Intervention
        The sum of all representations, in their order.

    Raises
    ------
    RecordError
        The folder is missing or damaged, holds a class of which causaltest knows no equal, or asks
        for what has none: several units in one basis, a serial chain.

    Notes
    -----
    A full-width rotation without dims is refused, as everywhere. Autoencoders are read with
    `keep_error=False`, as pyvene computes them. Noise has pyvene's standard deviation, but random
    numbers of its own.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> Path("old").mkdir()
    >>> _ = Path("old/config.json").write_text(
    ...     json.dumps(
    ...         {
    ...             "intervention_types": [
    ...                 "<class 'pyvene.models.interventions.ZeroIntervention'>"
    ...             ],
    ...             "sorted_keys": ["layer_2_comp_mlp_output_unit_pos_nunit_1#0"],
    ...             "representations": [[2, "mlp_output", "pos", 1]],
    ...         }
    ...     )
    ... )
    >>> print(read_pyvene("old", pos="end"))
    zero_ablate(mlp_output[2]@end)
    """
    saved = read_folder(folder)
    for part in saved.parts:
        _check_kind(part.kind)
    if saved.mode != "parallel" and len(saved.parts) > 1:
        raise RecordError(
            f"{saved.path} holds a serial chain of {len(saved.parts)} interventions, each of which "
            "takes another source; read it one intervention at a time"
        )
    keys = [part.key for part in saved.parts]
    for given in (pos if isinstance(pos, Mapping) else {}, dims or {}, heads or {}):
        for key in given:
            if key not in keys:
                raise RecordError(
                    f"{saved.path} has no key {key!r}{did_you_mean(key, keys)}\n"
                    f"keys: {listed(keys)}"
                )
    parts: list[Intervention] = []
    for part in saved.parts:
        where = pos.get(part.key) if isinstance(pos, Mapping) else pos
        site = _site(part.entry, part.key, cast("Pos", where), (heads or {}).get(part.key))
        placed = _Placed(site, part.tensors, (dims or {}).get(part.key))
        try:
            parts.append(_READERS[part.kind](placed))
        except (KeyError, CausaltestError) as error:
            lacks = str(error)
            if isinstance(error, KeyError):
                lacks = f"{part.key}: the file lacks {error}"
            raise RecordError(f"{saved.path}, {part.key} ({part.kind}): {lacks}") from error
    first, *others = parts
    for other in others:
        first = first + other
    return first


def _check_kind(name: str) -> None:
    if name in _WITHOUT:
        raise RecordError(f"{name} has no equal that can be read: {_WITHOUT[name]}")
    if name not in _READERS:
        raise RecordError(
            f"unknown intervention class {name!r}{did_you_mean(name, _READERS)}\n"
            f"classes that can be read: {', '.join(_READERS)}"
        )


def _site(entry: Mapping[str, object], key: str, pos: Pos, head: int | None) -> Site:
    component, layer = str(entry.get("component")), entry.get("layer")
    units, unit = entry.get("max_number_of_units"), entry.get("unit")
    if units not in (None, 1):
        raise RecordError(
            f"{key}: one basis spans {units} units together (max_number_of_units), which has no "
            "equal; interventions of causaltest share a basis between positions"
        )
    if unit not in ("pos", "h", "h.pos"):
        raise RecordError(f"{key}: its unit is {unit!r}; units that can be read: pos, h, h.pos")
    if component.startswith("head_") and head is None:
        raise RecordError(
            f"{key}: the head is not saved by pyvene; say which: heads={{{key!r}: 0}}"
        )
    try:
        if component.endswith((".input", ".output")):
            return Site.parse(component).at(pos)
        return Site(component, layer=cast("int", layer), head=head, pos=pos)
    except CausaltestError as error:
        raise RecordError(f"{key}: {error}") from error


def _rotation(saved: _Placed) -> Tensor:
    """Return the rotation of a parametrised layer, as torch computes it from what is saved."""
    prefix = "rotate_layer."
    state = {
        name.removeprefix(prefix): each
        for name, each in saved.tensors.items()
        if name.startswith(prefix)
    }
    if "weight" in state:
        return state["weight"]
    original = saved.tensors[f"{prefix}parametrizations.weight.original"]
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.eye(*original.shape, dtype=original.dtype))
    layer = orthogonal(layer)
    try:
        layer.load_state_dict(state)
    except RuntimeError as error:
        raise RecordError(f"its rotation is damaged: {error}") from error
    return cast("Tensor", layer.weight).detach()


def _first_dims(saved: _Placed, count: int) -> tuple[int, ...]:
    """Return the chosen dims: those asked for, or as many of the first as were saved."""
    if saved.dims is not None:
        return tuple(saved.dims)
    kept = saved.tensors.get("interchange_dim")
    return tuple(range(count if kept is None else min(int(kept), count)))


def _rotated(saved: _Placed) -> Intervention:
    rotation = _rotation(saved)
    return interchange(
        saved.site, subspace=rotated(rotation, dims=_first_dims(saved, rotation.shape[1]))
    )


def _low_rank(saved: _Placed) -> Intervention:
    # The width of a low-rank subspace is its rank; pyvene's interchange_dim plays no part in it.
    return interchange(saved.site, subspace=low_rank(_rotation(saved), dims=saved.dims))


def _boundless(saved: _Placed) -> Intervention:
    heat = float(saved.tensors["temperature"])
    boundary = saved.tensors["intervention_boundaries"]
    return _within(saved, boundless(_rotation(saved), boundary=boundary, temperature=heat))


def _mask(saved: _Placed) -> Intervention:
    heat = float(saved.tensors["temperature"])
    return _within(saved, sigmoid_mask(saved.tensors["mask"], temperature=heat))


def _mask_rotated(saved: _Placed) -> Intervention:
    heat = float(saved.tensors["temperature"])
    masks = saved.tensors["masks"]
    return _within(saved, sigmoid_mask(masks, temperature=heat, rotation=_rotation(saved)))


def _pca(saved: _Placed) -> Intervention:
    components = saved.tensors["pca_components"]
    subspace = pca(
        components,
        mean=saved.tensors["pca_mean"],
        scale=saved.tensors["pca_std"],
        dims=_first_dims(saved, len(components)),
        keep_error=False,
    )
    return _within(saved, subspace)


def _autoencoder(saved: _Placed) -> Intervention:
    tensors = saved.tensors
    kept = int(tensors["interchange_dim"])
    subspace = autoencoder(
        tensors["autoencoder.encoder.0.weight"].mT,
        tensors["autoencoder.decoder.0.weight"].mT,
        encoder_bias=tensors["autoencoder.encoder.0.bias"],
        decoder_bias=tensors["autoencoder.decoder.0.bias"],
        centred=True,
        # pyvene takes interchange_dim as the index of the one latent that it swaps.
        features=saved.dims or (kept,),
        keep_error=False,
    )
    return _within(saved, subspace)


def _jump_relu(saved: _Placed) -> Intervention:
    tensors = saved.tensors
    subspace = autoencoder(
        tensors["W_enc"],
        tensors["W_dec"],
        encoder_bias=tensors["b_enc"],
        decoder_bias=tensors["b_dec"],
        activation="jumprelu",
        threshold=tensors["threshold"],
        features=_first_dims(saved, tensors["W_enc"].shape[1]),
        keep_error=False,
    )
    return _within(saved, subspace)


def _within(saved: _Placed, subspace: Subspace) -> Intervention:
    return interchange(saved.site, subspace=subspace)


def _vanilla(saved: _Placed) -> Intervention:
    stored = saved.tensors.get("source_representation")
    return interchange(_some(saved)) if stored is None else constant(_some(saved), _cut(saved))


def _some(saved: _Placed) -> Site:
    """Return the site, cut to the dims that are asked for."""
    return saved.site if saved.dims is None else replace(saved.site, dims=saved.dims)


def _cut(saved: _Placed) -> Tensor:
    stored = saved.tensors["source_representation"].reshape(-1)
    return stored if saved.dims is None else stored[list(saved.dims)]


_READERS: dict[str, Callable[[_Placed], Intervention]] = {
    "VanillaIntervention": _vanilla,
    "ZeroIntervention": lambda saved: zero_ablate(_some(saved)),
    "AdditionIntervention": lambda saved: add(_some(saved), _cut(saved)),
    "SubtractionIntervention": lambda saved: subtract(_some(saved), _cut(saved)),
    "SkipIntervention": lambda saved: skip(_some(saved)),
    "NoiseIntervention": lambda saved: noise(_some(saved), sd=_NOISE, seed=1, draws=1),
    "RotatedSpaceIntervention": _rotated,
    "LowRankRotatedSpaceIntervention": _low_rank,
    "BoundlessRotatedSpaceIntervention": _boundless,
    "SigmoidMaskIntervention": _mask,
    "SigmoidMaskRotatedSpaceIntervention": _mask_rotated,
    "PCARotatedSpaceIntervention": _pca,
    "AutoencoderIntervention": _autoencoder,
    "JumpReLUAutoencoderIntervention": _jump_relu,
}

_WITHOUT = {
    "CollectIntervention": "it reads and changes nothing; use model.read(site, prompts)",
    "LambdaIntervention": "its function was not saved; use apply_function(site, function)",
}
