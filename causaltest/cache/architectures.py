"""What was found in a network as plain data, and back: no probe runs where nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import torch

from causaltest.engine.access import Access, Keys
from causaltest.engine.architecture import Architecture
from causaltest.engine.experts import ExpertPart, RouterScores
from causaltest.engine.layouts import Layout
from causaltest.engine.softmax import Softmax

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Architecture, Access, Keys, Layout, Softmax, RouterScores, ExpertPart)
}


def to_plain(value: Any) -> object:
    """Return an architecture, or a part of one, as plain data.

    Raises
    ------
    TypeError
        It has a part that plain data cannot hold.

    Examples
    --------
    >>> to_plain(slice(0, 4, None))
    {'slice': [0, 4, None]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, tuple):
        return {"tuple": [to_plain(each) for each in cast("tuple[object, ...]", value)]}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, torch.Tensor) and value.dtype == torch.int64:
        return {"tensor": value.tolist()}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {"mapping": [[to_plain(key), to_plain(each)] for key, each in items]}
    name = type(value).__name__
    if is_dataclass(value) and _KINDS.get(name) is type(value):
        return {name: {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}}
    raise TypeError(f"no plain data for a {name}")


def from_plain(tree: Any) -> Any:
    """Return what plain data describe.

    Raises
    ------
    TypeError, ValueError
        They describe nothing known.
    """
    if not isinstance(tree, dict):
        return tree
    ((kind, inner),) = cast("dict[str, Any]", tree).items()
    if kind == "tuple":
        return tuple(map(from_plain, inner))
    if kind == "slice":
        return slice(*inner)
    if kind == "tensor":
        return torch.tensor(inner, dtype=torch.int64)
    if kind == "mapping":
        return {from_plain(key): from_plain(each) for key, each in inner}
    if kind not in _KINDS:
        raise TypeError(f"no architecture has a {kind}")
    return _KINDS[kind](**{name: from_plain(each) for name, each in inner.items()})
