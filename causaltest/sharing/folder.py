"""Interventions in folders: `intervention.json`, `intervention.safetensors`, pair sets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of_bytes
from safetensors.torch import save as bytes_of_tensors

from causaltest.engine.model import Model
from causaltest.engine.subspaces import as_held
from causaltest.errors import CausaltestError, RecordError
from causaltest.interventions import Array, Intervention, Subspace
from causaltest.pairs import Pairs
from causaltest.sharing.codec import Contents, Functions, decode, encode
from causaltest.sharing.fitting import Fingerprint, check_fits, fingerprint_of
from causaltest.spelling import listed

SCHEMA_VERSION = 1
FORMAT = "causaltest intervention"
DESCRIPTION = "intervention.json"
NUMBERS = "intervention.safetensors"

_NAME = re.compile(r"(array|pairs)_\d{1,6}")
_AGAIN = "Get the folder again from where it came, or save the intervention anew."


def save(
    intervention: Intervention | Subspace,
    folder: str | os.PathLike[str],
    *,
    model: Model | None = None,
) -> Path:
    """Save an intervention to a folder: versioned JSON and safetensors.

    Parameters
    ----------
    intervention
        Any intervention, sums included, or a subspace. Tensors that are being trained are saved as
        they are now.
    folder
        Where; made where missing. An intervention that is already there is replaced.
    model
        The model it was made for: its class, widths and weights are recorded, and checked when the
        intervention is loaded.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    RecordError
        A function in it cannot be imported, it does not fit the model, or the folder cannot be
        written.

    Examples
    --------
    >>> from causaltest.interventions import add
    >>> from causaltest.sites import block_output
    >>> steer = add(block_output(1, pos="end"), [3.0, 4.0])
    >>> load(save(steer, "steering")) == steer
    True
    """
    if not isinstance(intervention, (Intervention, Subspace)):
        raise RecordError(
            f"save takes an intervention or a subspace; got {type(intervention).__name__}"
        )
    target = Path(folder)
    fitted = None if model is None else fingerprint_of(model, intervention)
    contents = encode(intervention)
    description = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "intervention": contents.tree,
        "arrays": {
            name: {"shape": list(each.shape), "dtype": each.dtype, "sha256": each.sha256}
            for name, each in contents.arrays.items()
        },
        "pairs": {
            name: {"name": each.name, "cluster": each.cluster, "sha256": each.sha256}
            for name, each in contents.pairs.items()
        },
        "model": None if fitted is None else fitted.plain(),
    }
    text = json.dumps(description, indent=1, sort_keys=True, allow_nan=False) + "\n"
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write_parts(contents, target)
        # Last, so that a description never speaks of files that are not there.
        _replace(target / DESCRIPTION, text.encode())
    except OSError as error:
        raise RecordError(f"cannot write to {target}: {error.strerror or error}") from error
    return target


def _write_parts(contents: Contents, target: Path) -> None:
    if contents.arrays:
        tensors = {name: as_held(each) for name, each in contents.arrays.items()}
        _replace(target / NUMBERS, bytes_of_tensors(tensors))
    for name, pairs in contents.pairs.items():
        pairs.write(target / f"{name}.jsonl")


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(
    folder: str | os.PathLike[str],
    *,
    model: Model | None = None,
    other_weights: bool = False,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:
    """Load an intervention, or a subspace, that `save` wrote.

    No code is imported or run: files hold text and numbers only.

    Parameters
    ----------
    folder
        The folder.
    model
        Check that the intervention fits this model, and that it was saved with it where a model
        was named then.
    other_weights
        Accept a model of the same class and widths whose weights are different.
    functions
        The functions that the intervention applies, by `module:name`.

    Returns
    -------
    Intervention or Subspace
        Equal to the one that was saved.

    Raises
    ------
    RecordError
        The folder is missing, damaged, not ours or of a newer version, or the intervention does
        not fit the model.
    """
    source = Path(folder)
    description = _described(source)
    arrays = _read_arrays(source, _part(description, "arrays", source))
    pairs = _read_pairs(source, _part(description, "pairs", source))
    known: Functions = functions or {}
    try:
        made = decode(description["intervention"], arrays, pairs, known)
        saved = _fingerprint(description.get("model"))
    except RecordError as error:
        raise RecordError(f"{source / DESCRIPTION}: {error}") from error
    if model is not None:
        check_fits(model, made, saved, other_weights=other_weights)
    return made


def _described(source: Path) -> dict[str, object]:
    """Return the description, known to be ours and of this version."""
    path = source / DESCRIPTION
    if not source.is_dir():
        raise RecordError(f"there is no folder {source}; give the folder that save() wrote")
    if not path.is_file():
        if any(source.glob("intkey_*.bin")) or (source / "config.json").is_file():
            raise RecordError(
                f"{source} holds no {DESCRIPTION}, but may be a folder of pyvene: try "
                "read_pyvene(folder)"
            )
        raise RecordError(f"{source} holds no {DESCRIPTION}; give the folder that save() wrote")
    try:
        tree = cast("object", msgspec.json.decode(path.read_bytes()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is not whole JSON: {error}.\n{_AGAIN}") from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise RecordError(
            f"{path} was not written by causaltest: its format is not {FORMAT!r}\n"
            "give the folder that save() wrote"
        )
    entries = cast("dict[str, object]", tree)
    version = entries.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RecordError(
            f"{path} has schema version {version!r}, which no version wrote. {_AGAIN}"
        )
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema version {version}; this causaltest reads up to {SCHEMA_VERSION}\n"
            "install a newer causaltest"
        )
    if "intervention" not in entries:
        raise RecordError(f"{path} holds no intervention, only {listed(entries)}. {_AGAIN}")
    return entries


def _part(description: dict[str, object], name: str, source: Path) -> dict[str, dict[str, object]]:
    """Return a table of the description, each of whose names is safe as the name of a file."""
    part = description.get(name, {})
    if not isinstance(part, dict):
        raise RecordError(f"{source / DESCRIPTION}: {name} is no object. {_AGAIN}")
    table = cast("dict[str, object]", part)
    for key, value in table.items():
        if not _NAME.fullmatch(key):
            raise RecordError(
                f"{source / DESCRIPTION}: {key!r} is no name of {name}; expected one such as "
                f"'{name.rstrip('s') if name == 'arrays' else name}_0'"
            )
        if not isinstance(value, dict):
            raise RecordError(f"{source / DESCRIPTION}: {name} {key!r} is no object. {_AGAIN}")
    return cast("dict[str, dict[str, object]]", table)


def _read_arrays(source: Path, declared: dict[str, dict[str, object]]) -> dict[str, Array]:
    path = source / NUMBERS
    if not declared:
        return {}
    try:
        tensors = tensors_of_bytes(path.read_bytes())
    except FileNotFoundError as error:
        raise RecordError(f"{path} is missing, which {DESCRIPTION} refers to. {_AGAIN}") from error
    except (OSError, SafetensorError) as error:
        raise RecordError(f"{path} is damaged: {error}\n{_AGAIN}") from error
    arrays: dict[str, Array] = {}
    for name, wanted in declared.items():
        if name not in tensors:
            raise RecordError(f"{path} holds no {name!r}, only {listed(tensors)}. {_AGAIN}")
        found = tensors[name]
        shape, dtype = list(found.shape), str(found.dtype).removeprefix("torch.")
        if shape != wanted.get("shape") or dtype != wanted.get("dtype"):
            raise RecordError(
                f"{path}: {name!r} is {dtype} of shape {shape}, but {DESCRIPTION} says "
                f"{wanted.get('dtype')} of shape {wanted.get('shape')}. {_AGAIN}"
            )
        try:
            arrays[name] = Array(found)
        except CausaltestError as error:
            raise RecordError(f"{path}: {name!r}: {error}. {_AGAIN}") from error
        if arrays[name].sha256 != wanted.get("sha256"):
            raise RecordError(
                f"{path}: the numbers of {name!r} are not those that were saved. {_AGAIN}"
            )
    return arrays


def _read_pairs(source: Path, declared: dict[str, dict[str, object]]) -> dict[str, Pairs]:
    found: dict[str, Pairs] = {}
    for key, wanted in declared.items():
        path = source / f"{key}.jsonl"
        try:
            pairs = Pairs.read(
                path,
                name=cast("str", wanted.get("name")),
                cluster=cast("str", wanted.get("cluster")),
            )
        except CausaltestError as error:
            raise RecordError(f"{path}: {error}\n{_AGAIN}") from error
        if pairs.sha256 != wanted.get("sha256"):
            raise RecordError(f"{path}: the pairs are not those that were saved. {_AGAIN}")
        found[key] = pairs
    return found


def _fingerprint(tree: object) -> Fingerprint | None:
    if tree is None:
        return None
    try:
        return msgspec.convert(tree, Fingerprint)
    except msgspec.ValidationError as error:
        raise RecordError(f"model: {error}") from error
