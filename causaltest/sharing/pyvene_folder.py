"""Folders that pyvene saved: `config.json` and `intkey_*.bin`, read without running anything."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import msgspec
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
from causaltest.sites import Pos, Site
from causaltest.spelling import did_you_mean, listed

_CLASS = re.compile(r"<class '([\w.]+)'>")
_SAFE = re.compile(r"[\w.\[\]#\- ]+")

# The fields of a representation in the order in which pyvene writes them.
_FIELDS = (
    "layer", "component", "unit", "max_number_of_units", "low_rank_dimension",
    "intervention_type", "intervention", "subspace_partition", "group_key",
    "intervention_link_key", "moe_key", "source_representation", "hidden_source_representation",
    "latent_dim",
)  # fmt: skip

# The standard deviation of pyvene's noise where a folder does not say another.
_NOISE = 0.13462981581687927


@dataclass(frozen=True)
class _Saved:
    """One representation of a folder."""

    key: str
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
    source = Path(folder)
    config = _config(source)
    names = [_class_name(each) for each in _list(config, "intervention_types", source)]
    keys = [str(each) for each in _list(config, "sorted_keys", source)]
    representations = _list(config, "representations", source)
    if not len(names) == len(keys) == len(representations) or not names:
        raise RecordError(
            f"{source / 'config.json'} names {len(representations)} representations, {len(names)} "
            f"types and {len(keys)} keys; expected one of each for every intervention"
        )
    if config.get("mode", "parallel") != "parallel" and len(names) > 1:
        raise RecordError(
            f"{source} holds a serial chain of {len(names)} interventions, each of which takes "
            "another source; read it one intervention at a time"
        )
    for given in (pos if isinstance(pos, Mapping) else {}, dims or {}, heads or {}):
        for key in given:
            if key not in keys:
                raise RecordError(
                    f"{source} has no key {key!r}{did_you_mean(key, keys)}\nkeys: {listed(keys)}"
                )
    parts: list[Intervention] = []
    for name, key, representation in zip(names, keys, representations, strict=True):
        where = pos.get(key) if isinstance(pos, Mapping) else pos
        entry = _entry(representation, key)
        saved = _Saved(
            key,
            _site(entry, key, cast("Pos", where), (heads or {}).get(key)),
            _tensors(source, key),
            (dims or {}).get(key),
        )
        try:
            parts.append(_READERS[name](saved))
        except (KeyError, CausaltestError) as error:
            lacks = f"{key}: the file lacks {error}" if isinstance(error, KeyError) else str(error)
            raise RecordError(f"{source}, {key} ({name}): {lacks}") from error
    first, *others = parts
    for other in others:
        first = first + other
    return first


def _config(source: Path) -> dict[str, object]:
    path = source / "config.json"
    try:
        tree = cast("object", msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror}); give pyvene's folder"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is not whole JSON: {error}") from error
    if not isinstance(tree, dict) or "intervention_types" not in tree:
        raise RecordError(f"{path} was not written by pyvene: it has no intervention_types")
    return cast("dict[str, object]", tree)


def _list(config: dict[str, object], name: str, source: Path) -> list[object]:
    value = config.get(name)
    if not isinstance(value, list):
        raise RecordError(f"{source / 'config.json'}: {name} is no list")
    return cast("list[object]", value)


def _class_name(text: object) -> str:
    """Return the last name of a class from its text, `<class 'a.b.Name'>`."""
    match = _CLASS.fullmatch(text) if isinstance(text, str) else None
    name = match[1].rpartition(".")[2] if match else ""
    if name not in _READERS:
        if name in _WITHOUT:
            raise RecordError(f"{name} has no equal that can be read: {_WITHOUT[name]}")
        raise RecordError(
            f"unknown intervention class {text!r}{did_you_mean(name, _READERS)}\n"
            f"classes that can be read: {', '.join(_READERS)}"
        )
    return name


def _entry(representation: object, key: str) -> dict[str, object]:
    if isinstance(representation, list):
        values = cast("list[object]", representation)
        if len(values) <= len(_FIELDS):
            return dict(zip(_FIELDS, values, strict=False))
    if isinstance(representation, dict):
        return cast("dict[str, object]", representation)
    raise RecordError(f"{key}: its representation is {representation!r}; expected a list of fields")


def _site(entry: dict[str, object], key: str, pos: Pos, head: int | None) -> Site:
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


def _tensors(source: Path, key: str) -> dict[str, Tensor]:
    """Return the numbers of one key; none where pyvene saved none."""
    if not _SAFE.fullmatch(key) or ".." in key:
        raise RecordError(f"{source / 'config.json'}: {key!r} is no key of pyvene")
    path = source / f"intkey_{key}.bin"
    if not path.is_file():
        return {}
    try:
        state = cast("object", torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RecordError(f"{path} is damaged, or holds more than tensors: {first}") from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise RecordError(f"{path} holds no table of tensors")
    return cast("dict[str, Tensor]", state)


def _rotation(saved: _Saved) -> Tensor:
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


def _first_dims(saved: _Saved, count: int) -> tuple[int, ...]:
    """Return the chosen dims: those asked for, or as many of the first as were saved."""
    if saved.dims is not None:
        return tuple(saved.dims)
    kept = saved.tensors.get("interchange_dim")
    return tuple(range(count if kept is None else min(int(kept), count)))


def _rotated(saved: _Saved) -> Intervention:
    rotation = _rotation(saved)
    return interchange(
        saved.site, subspace=rotated(rotation, dims=_first_dims(saved, rotation.shape[1]))
    )


def _low_rank(saved: _Saved) -> Intervention:
    # The width of a low-rank subspace is its rank; pyvene's interchange_dim plays no part in it.
    return interchange(saved.site, subspace=low_rank(_rotation(saved), dims=saved.dims))


def _boundless(saved: _Saved) -> Intervention:
    heat = float(saved.tensors["temperature"])
    boundary = saved.tensors["intervention_boundaries"]
    return _within(saved, boundless(_rotation(saved), boundary=boundary, temperature=heat))


def _mask(saved: _Saved) -> Intervention:
    heat = float(saved.tensors["temperature"])
    return _within(saved, sigmoid_mask(saved.tensors["mask"], temperature=heat))


def _mask_rotated(saved: _Saved) -> Intervention:
    heat = float(saved.tensors["temperature"])
    masks = saved.tensors["masks"]
    return _within(saved, sigmoid_mask(masks, temperature=heat, rotation=_rotation(saved)))


def _pca(saved: _Saved) -> Intervention:
    components = saved.tensors["pca_components"]
    subspace = pca(
        components,
        mean=saved.tensors["pca_mean"],
        scale=saved.tensors["pca_std"],
        dims=_first_dims(saved, len(components)),
        keep_error=False,
    )
    return _within(saved, subspace)


def _autoencoder(saved: _Saved) -> Intervention:
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


def _jump_relu(saved: _Saved) -> Intervention:
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


def _within(saved: _Saved, subspace: Subspace) -> Intervention:
    return interchange(saved.site, subspace=subspace)


def _vanilla(saved: _Saved) -> Intervention:
    stored = saved.tensors.get("source_representation")
    return interchange(_some(saved)) if stored is None else constant(_some(saved), _cut(saved))


def _some(saved: _Saved) -> Site:
    """Return the site, cut to the dims that are asked for."""
    return saved.site if saved.dims is None else replace(saved.site, dims=saved.dims)


def _cut(saved: _Saved) -> Tensor:
    stored = saved.tensors["source_representation"].reshape(-1)
    return stored if saved.dims is None else stored[list(saved.dims)]


_READERS: dict[str, Callable[[_Saved], Intervention]] = {
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
