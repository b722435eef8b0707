"""What is in a folder that pyvene saved: `config.json`, `intkey_*.bin`; nothing in it is run."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch import Tensor

from causaltest.errors import RecordError

_CLASS = re.compile(r"<class '([\w.]+)'>")
_SAFE = re.compile(r"[\w.\[\]#\- ]+")

# The fields of a representation in the order in which pyvene writes them.
_FIELDS = (
    "layer", "component", "unit", "max_number_of_units", "low_rank_dimension",
    "intervention_type", "intervention", "subspace_partition", "group_key",
    "intervention_link_key", "moe_key", "source_representation", "hidden_source_representation",
    "latent_dim",
)  # fmt: skip


@dataclass(frozen=True)
class SavedPart:
    """One intervention of a folder.

    Parameters
    ----------
    key
        Its key, as the folder spells it.
    kind
        The last name of its class.
    entry
        Its representation, by the names of the fields.
    tensors
        Its numbers; empty where pyvene saved none.
    width
        What the folder says of its width; None where it says nothing.
    constant
        Whether it runs without a source.
    """

    key: str
    kind: str
    entry: Mapping[str, object]
    tensors: Mapping[str, Tensor]
    width: object = None
    constant: bool = False


@dataclass(frozen=True)
class SavedFolder:
    """A folder that pyvene saved.

    Parameters
    ----------
    path
        The folder.
    mode
        `parallel` or `serial`.
    model_type
        The model that it was saved with, as pyvene writes it.
    parts
        The interventions, in the order of the representations.
    """

    path: Path
    mode: str
    model_type: str
    parts: tuple[SavedPart, ...]


def read_folder(folder: str | os.PathLike[str]) -> SavedFolder:
    """Read what pyvene saved: text as text, weights with `weights_only`; nothing is imported.

    Raises
    ------
    RecordError
        The folder is missing or damaged, or was not written by pyvene.
    """
    source = Path(folder)
    config = _config(source)
    names = [class_name(each) for each in _list(config, "intervention_types", source)]
    keys = [str(each) for each in _list(config, "sorted_keys", source)]
    representations = _list(config, "representations", source)
    if not len(names) == len(keys) == len(representations) or not names:
        raise RecordError(
            f"{source / 'config.json'} names {len(representations)} representations, {len(names)} "
            f"types and {len(keys)} keys; expected one of each for every intervention"
        )
    entries = [_entry(each, key) for each, key in zip(representations, keys, strict=True)]
    keys = _in_order(keys, entries)
    widths = config.get("intervention_dimensions")
    constants = config.get("intervention_constant_sources")
    parts = tuple(
        SavedPart(
            key, name, entry, _tensors(source, key), _at(widths, index), bool(_at(constants, index))
        )
        for index, (key, name, entry) in enumerate(zip(keys, names, entries, strict=True))
    )
    mode = str(config.get("mode", "parallel"))
    return SavedFolder(source, mode, str(config.get("model_type", "")), parts)


def _at(values: object, index: int) -> object:
    listed = cast("list[object]", values) if isinstance(values, list) else []
    return listed[index] if index < len(listed) else None


def _in_order(keys: Sequence[str], entries: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the keys in the order of the representations; a model may sort them otherwise."""
    seen: dict[str, int] = {}
    wanted: list[str] = []
    for entry in entries:
        component = str(entry.get("component"))
        layer = "" if "." in component else f"layer_{entry.get('layer')}_"
        unit, units = entry.get("unit"), entry.get("max_number_of_units")
        start = _plainer(f"{layer}comp_{component}_unit_{unit}_nunit_{units}")
        wanted.append(f"{start}#{seen.get(start, 0)}")
        seen[start] = seen.get(start, 0) + 1
    known = {_plainer(key): key for key in keys}
    return [known[key] for key in wanted] if set(known) == set(wanted) else list(keys)


def _plainer(key: str) -> str:
    """Return a key as after pyvene's keys lost their dots."""
    return key.replace(".", "_").replace("_repr_", "_comp_")


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


def class_name(text: object) -> str:
    """Return the last name of a class from its text, `<class 'a.b.Name'>`.

    Raises
    ------
    RecordError
        It is no such text.
    """
    match = _CLASS.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise RecordError(f"unknown intervention class {text!r}; expected \"<class 'a.b.Name'>\"")
    return match[1].rpartition(".")[2]


def _entry(representation: object, key: str) -> dict[str, object]:
    if isinstance(representation, list):
        values = cast("list[object]", representation)
        if len(values) <= len(_FIELDS):
            return dict(zip(_FIELDS, values, strict=False))
    if isinstance(representation, dict):
        return cast("dict[str, object]", representation)
    raise RecordError(f"{key}: its representation is {representation!r}; expected a list of fields")


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
