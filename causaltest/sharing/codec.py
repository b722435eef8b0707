"""Interventions as trees of plain values, and back: every field by name, every type checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from causaltest.errors import CausaltestError, RecordError
from causaltest.interventions import (
    Adapter,
    Addition,
    Array,
    Autoencoder,
    Boundless,
    Constant,
    FeatureEdit,
    FromSource,
    FunctionEdit,
    Interchange,
    Intervention,
    Joint,
    MeanAblation,
    Noise,
    Partition,
    PrincipalComponents,
    ResampleAblation,
    Rotation,
    Scaling,
    SigmoidMask,
    Skip,
    Subspace,
    Subtraction,
    ZeroAblation,
    name_of_function,
)
from causaltest.pairs import Pairs
from causaltest.sites import Site
from causaltest.spelling import did_you_mean, listed

KINDS: dict[str, type[Intervention | Subspace]] = {
    "interchange": Interchange,
    "zero_ablate": ZeroAblation,
    "mean_ablate": MeanAblation,
    "resample_ablate": ResampleAblation,
    "constant": Constant,
    "noise": Noise,
    "add": Addition,
    "subtract": Subtraction,
    "scale": Scaling,
    "skip": Skip,
    "adapter": Adapter,
    "apply_function": FunctionEdit,
    "features": FeatureEdit,
    "from_source": FromSource,
    "joint": Joint,
    "rotation": Rotation,
    "boundless": Boundless,
    "sigmoid_mask": SigmoidMask,
    "pca": PrincipalComponents,
    "partition": Partition,
    "autoencoder": Autoencoder,
}
"""Names in files; once given, a name keeps its meaning."""
_NAMES: dict[type, str] = {kind: name for name, kind in KINDS.items()}

Functions = Mapping[str, Callable[..., Any]]


@dataclass
class Contents:
    """A tree, and what is kept in files of its own."""

    tree: object = None
    arrays: dict[str, Array] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)


def encode(value: Intervention | Subspace) -> Contents:
    """Return an intervention or a subspace as a tree of plain values.

    Raises
    ------
    RecordError
        It holds a function that cannot be imported, or is of a kind that files do not know.
    """
    contents = Contents()
    contents.tree = _plain(value.frozen() if isinstance(value, Intervention) else value, contents)
    return contents


def _plain(value: object, contents: Contents) -> object:  # noqa: PLR0911 - one for each type
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return [_plain(each, contents) for each in cast("tuple[object, ...]", value)]
    if isinstance(value, Site):
        return {"site": _site_text(value)}
    if isinstance(value, Array):
        return {"array": _kept(value.frozen(), contents.arrays, "array")}
    if isinstance(value, Pairs):
        return {"pairs": _kept(value, contents.pairs, "pairs")}
    if isinstance(value, (Intervention, Subspace)):
        name = _NAMES.get(type(value))
        if name is None:
            raise RecordError(
                f"{type(value).__name__} is a kind of its own, which no file can hold; "
                f"kinds that can be saved: {listed(KINDS)}"
            )
        tree: dict[str, object] = {"kind": name}
        for each in fields(value):
            if each.init:
                tree[each.name] = _plain(getattr(value, each.name), contents)
        return tree
    return {"function": _importable(value)}


def _kept(value: Any, known: dict[str, Any], word: str) -> str:
    """Return the name under which a value is kept; equal values share one."""
    for name, other in known.items():
        if other == value:
            return name
    name = f"{word}_{len(known)}"
    known[name] = value
    return name


def _site_text(site: Site) -> str:
    text = str(site)
    try:
        same = Site.parse(text) == site
    except CausaltestError:
        same = False
    if not same:
        raise RecordError(
            f"the site {text} cannot be saved: read back, its text means another place\n"
            "rename the position or the module that it names"
        )
    return text


def _importable(function: object) -> str:
    """Return `module:name` of a function that can be imported under that name."""
    name = name_of_function(function)
    home, _, path = name.partition(":")
    found: object = sys.modules.get(home)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not path or home == "__main__" or found is not function:
        raise RecordError(
            f"the function {name} cannot be saved: it cannot be imported as module:name\n"
            "define it at the top of a module (no lambda, no function inside another), or express "
            "the edit by other interventions"
        )
    return name


@dataclass(frozen=True)
class _Sources:
    """What a tree refers to."""

    arrays: Mapping[str, Array]
    pairs: Mapping[str, Pairs]
    functions: Functions


def decode(
    tree: object, arrays: Mapping[str, Array], pairs: Mapping[str, Pairs], functions: Functions
) -> Intervention | Subspace:
    """Return the intervention or subspace that a tree describes.

    Raises
    ------
    RecordError
        The tree describes none: an unknown kind or field, a wrong type, a value that does not fit.
    """
    made = _made(tree, _Sources(arrays, pairs, functions), "intervention")
    if not isinstance(made, (Intervention, Subspace)):
        raise RecordError(f"intervention: expected an object with a kind; got {_shown(tree)}")
    return made


def _made(tree: object, sources: _Sources, where: str) -> object:  # noqa: PLR0911 - as above
    if isinstance(tree, list):
        items = cast("list[object]", tree)
        return tuple(_made(each, sources, f"{where}[{i}]") for i, each in enumerate(items))
    if not isinstance(tree, dict):
        return tree
    entries = cast("dict[str, object]", tree)
    if "kind" in entries:
        return _built(entries, sources, where)
    if len(entries) == 1:
        ((word, value),) = entries.items()
        if word == "site" and isinstance(value, str):
            return _placed(value, where)
        if word == "array" and isinstance(value, str):
            return _found(value, sources.arrays, where)
        if word == "pairs" and isinstance(value, str):
            return _found(value, sources.pairs, where)
        if word == "function" and isinstance(value, str):
            return _function(value, sources.functions, where)
    raise RecordError(
        f"{where}: an object with {listed(entries)} is neither an intervention nor a site, an "
        "array, a pair set or a function"
    )


def _built(entries: dict[str, object], sources: _Sources, where: str) -> object:
    kind = entries["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordError(
            f"{where}: unknown kind {_shown(kind)}{did_you_mean(str(kind), KINDS)}\n"
            f"kinds: {listed(KINDS)}"
        )
    cls = KINDS[kind]
    names = [each.name for each in fields(cls) if each.init]
    for name in entries:
        if name not in (*names, "kind"):
            raise RecordError(
                f"{where}: a {kind} has no field {name!r}{did_you_mean(name, names)}\n"
                f"its fields: {listed(names)}"
            )
    missing = [name for name in names if name not in entries]
    if missing:
        raise RecordError(f"{where}: a {kind} needs {listed(missing)}, which the file lacks")
    values = {name: _made(entries[name], sources, f"{where}.{name}") for name in names}
    for name, value in values.items():
        hint = _hints(cls)[name]
        if not _fits(value, hint):
            raise RecordError(
                f"{where}.{name} of a {kind} is {_shown(entries[name])}; expected {_said(hint)}"
            )
    try:
        return cls(**cast("dict[str, Any]", values))
    except CausaltestError as error:
        raise RecordError(f"{where}: this {kind} is not valid: {error}") from error


def _placed(text: str, where: str) -> Site:
    try:
        return Site.parse(text)
    except CausaltestError as error:
        raise RecordError(f"{where}: {error}") from error


def _found(name: str, known: Mapping[str, Any], where: str) -> Any:
    if name not in known:
        raise RecordError(f"{where} refers to {name!r}, but the folder holds {listed(known)}")
    return known[name]


def _function(name: str, functions: Functions, where: str) -> Callable[..., Any]:
    if name not in functions:
        home, _, path = name.partition(":")
        raise RecordError(
            f"{where} is the function {name}, and loading imports no code on its own\n"
            f"pass it: load(..., functions={{{name!r}: {path or home}}})"
        )
    return functions[name]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: object, hint: Any) -> bool:  # noqa: PLR0911 - one for each kind of hint
    """Return whether a value is of an annotated type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        items = cast("tuple[object, ...]", value)
        if inner[-1] is Ellipsis:
            return all(_fits(each, inner[0]) for each in items)
        return len(items) == len(inner) and all(map(_fits, items, inner))
    if origin is Literal:
        return value in inner
    if origin is not None:
        return callable(value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is NoneType else isinstance(value, hint)


def _said(hint: Any) -> str:
    text = getattr(hint, "__name__", "") if get_origin(hint) is None else str(hint)
    return text.replace("typing.", "").replace("causaltest.", "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
