"""What a sweep goes over: components, layers, heads, positions and dims as labelled cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from causaltest.circuits import Circuit
from causaltest.engine.model import Model
from causaltest.errors import InterventionError, PairError, SiteError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.sites import (
    COMPONENTS,
    EXPERT_COMPONENTS,
    HEAD_COMPONENTS,
    LAYER_COMPONENTS,
    Pos,
    Site,
)
from causaltest.spelling import did_you_mean

Component = str | Callable[..., Site]
Edit = Callable[..., Intervention]
Labels = object
"""One value, several, a mapping from label to value, `all`, or None."""

ALL = "all"


@dataclass(frozen=True)
class Cells:
    """The interventions of a sweep, in the order of its axes.

    Parameters
    ----------
    axes
        Labels by axis.
    interventions
        One for each combination of labels, the last axis fastest.
    name
        What is swept, in words.
    """

    axes: Mapping[str, tuple[Hashable, ...]]
    interventions: tuple[Intervention, ...]
    name: str

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites, each once."""
        return tuple(dict.fromkeys(site for each in self.interventions for site in each.sites))


def cells_of(
    model: Model,
    what: Component | Iterable[Component] | Mapping[Any, Any],
    pairs: Pairs,
    edit: Edit,
    *,
    layers: Labels = None,
    heads: Labels = None,
    positions: Labels = None,
    dims: Labels = None,
) -> Cells:
    """Return the cells that a user means.

    Parameters
    ----------
    model
        Says which layers, heads and positions there are.
    what
        A component (the function or its name), several, or a mapping from labels to interventions
        or sites.
    pairs
        Say how many tokens there are.
    edit
        Makes the intervention of one or more sites.
    layers, heads, positions, dims
        As for `Causal.sweep`.

    Raises
    ------
    SiteError
        A component, layer, head or position does not exist, or does not apply.
    PairError
        All positions are asked for, but prompts differ in length.
    InterventionError
        A mapping holds something else than interventions and sites.
    """
    if isinstance(what, Mapping):
        given = {"layers": layers, "heads": heads, "positions": positions, "dims": dims}
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise SiteError(
                f"{named[0]}= has no meaning for a mapping of labels to interventions: it says "
                "itself where each edit is"
            )
        return _mapped(cast("Mapping[Any, Any]", what), edit)
    components = _components(what)
    axes: dict[str, dict[Hashable, Any]] = {"component": {name: name for name in components}}
    axes["layer"] = _layers(model, components, layers)
    axes["head"] = _heads(model, components, heads, axes["layer"])
    axes["pos"] = _positions(model, pairs, positions)
    axes["dims"] = {None: None} if dims is None else _several("dims", dims)
    made: list[Intervention] = []
    for chosen in itertools.product(*(each.values() for each in axes.values())):
        sites = list(dict.fromkeys(_sites(*chosen)))
        for site in sites:
            model.access(site)
        made.append(edit(*sites))
    given = {"component": what, "layer": layers, "head": heads, "pos": positions, "dims": dims}
    shown = {
        name: tuple(labels)
        for name, labels in axes.items()
        if _is_axis(name, given[name], len(labels))
    }
    if not shown:
        raise SiteError(
            f"a sweep of {components[0]} with one layer, head and position has one cell: measure "
            "it with causal.effect(...), or give several layers=, heads=, positions= or dims="
        )
    fixed = [
        f"{name}={next(iter(labels))!r}"
        for name, labels in axes.items()
        if name not in shown and name != "component" and next(iter(labels)) is not None
    ]
    return Cells(shown, tuple(made), ", ".join([*components, *fixed]))


def _is_axis(name: str, given: object, count: int) -> bool:
    """Return whether an axis is shown: one value given bare is no axis."""
    if count > 1:
        return True
    several = isinstance(given, (list, tuple, range, Mapping, set, frozenset))
    return several and name != "component"


def _components(what: object) -> tuple[str, ...]:
    several = isinstance(what, Iterable) and not isinstance(what, str)
    listed = list(cast("Iterable[object]", what)) if several else [what]
    if not listed:
        raise SiteError("a sweep needs a component, e.g. causal.sweep(block_output, on=pairs)")
    names = tuple(_component(each) for each in listed)
    if len(set(names)) < len(names):
        raise SiteError(f"the sweep names a component twice: {', '.join(names)}")
    return names


def _component(given: object) -> str:
    if isinstance(given, Site):
        raise SiteError(
            f"{given} is one site; sweep its component, causal.sweep({given.component}, ...), or a "
            "mapping of labels to sites"
        )
    name = given if isinstance(given, str) else getattr(given, "__name__", "")
    if name not in COMPONENTS:
        raise SiteError(
            f"cannot sweep {given!r}{did_you_mean(str(name), COMPONENTS)}\n"
            f"components: {', '.join(COMPONENTS)}; anything else as a mapping of labels to sites"
        )
    if name in EXPERT_COMPONENTS:
        raise SiteError(
            f"{name} has experts, which are no axis of a sweep; give a mapping of labels to sites, "
            f"e.g. {{0: {name}(2, 0), 1: {name}(2, 1)}}"
        )
    return name


def _layers(model: Model, components: Sequence[str], given: Labels) -> dict[Hashable, Any]:
    without = [name for name in components if name not in {**LAYER_COMPONENTS, **HEAD_COMPONENTS}]
    if without:
        if given is not None or len(without) < len(components):
            raise SiteError(f"{without[0]} has no layers; sweep it by itself, over positions=")
        return {None: None}
    every = range(model.n_layers)
    return _several("layers", every if given is None or given == ALL else given)


def _heads(
    model: Model, components: Sequence[str], given: Labels, layers: Mapping[Hashable, Any]
) -> dict[Hashable, Any]:
    headed = [name for name in components if name in HEAD_COMPONENTS]
    if not headed:
        if given is not None:
            raise SiteError(
                f"{components[0]} has no heads; sweep e.g. head_attention_value_output for heads="
            )
        return {None: None}
    if len(headed) < len(components):
        other = next(name for name in components if name not in headed)
        raise SiteError(f"{headed[0]} has heads and {other} has none; sweep them apart")
    if given is not None and given != ALL:
        return _several("heads", given)
    indices = sorted({int(index) for value in layers.values() for index in _flat(value)})
    counts = {model.n_heads(name, layer) for name in headed for layer in indices}
    if len(counts) > 1:
        raise SiteError(
            f"the layers and components swept have {', '.join(map(str, sorted(counts)))} heads; "
            "say heads=, or sweep those with equal numbers"
        )
    return _several("heads", range(counts.pop()))


def _positions(model: Model, pairs: Pairs, given: Labels) -> dict[Hashable, Any]:
    if given is None:
        return {None: None}
    if given != ALL:
        return _several("positions", given)
    lengths: set[int] = set()
    for pair in pairs:
        lengths.add(len(model.prompts.ids(pair.base)))
        if pair.source is not None:
            lengths.add(len(model.prompts.ids(pair.source)))
    if len(lengths) > 1:
        listed = ", ".join(map(str, sorted(lengths)))
        raise PairError(
            f"positions='all' needs prompts of one length, but those of {pairs.name} have {listed} "
            "tokens\nname positions that the pairs have, e.g. positions=['subject', 'end'], or "
            "sweep pairs of one length at a time"
        )
    return {index: index for index in range(lengths.pop())}


def _several(name: str, given: object) -> dict[Hashable, Any]:
    """Return values by label."""
    if isinstance(given, Mapping):
        found = dict(cast("Mapping[Hashable, Any]", given))
    elif isinstance(given, (list, tuple, range, set, frozenset)):
        values = list(cast("Iterable[Any]", given))
        labels = [_label(value) for value in values]
        twice = next((each for i, each in enumerate(labels) if each in labels[:i]), None)
        if twice is not None:
            raise SiteError(f"{name} has {twice!r} twice")
        found = dict(zip(labels, values, strict=True))
    else:
        found = {_label(given): given}
    if not found:
        raise SiteError(f"{name} is empty; name at least one, or leave it out")
    return found


def _label(value: object) -> Hashable:
    """Return how several indices at once are named: `0-15` where they are consecutive."""
    if not isinstance(value, (list, tuple, range)):
        return cast("Hashable", value)
    indices = list(cast("Iterable[Any]", value))
    whole = all(isinstance(each, int) for each in indices)
    if whole and len(indices) > 1 and indices == list(range(indices[0], indices[-1] + 1)):
        return f"{indices[0]}-{indices[-1]}"
    return ",".join(map(str, indices))


def _flat(value: object) -> list[Any]:
    listed = isinstance(value, (list, tuple, range))
    return list(cast("Iterable[Any]", value)) if listed else [value]


def _sites(component: str, layer: object, head: object, pos: object, dims: object) -> list[Site]:
    """Return the sites of one cell: layers and heads given together are edited together."""
    place = cast("Pos", tuple(pos) if isinstance(pos, (list, range)) else pos)
    width = cast("Any", (dims,) if isinstance(dims, int) else dims)
    return [
        Site(component, layer=each, head=one, pos=place, dims=width)
        for each in _flat(layer)
        for one in _flat(head)
    ]


def _mapped(given: Mapping[Any, Any], edit: Edit) -> Cells:
    if not given:
        raise InterventionError("there is no cell to sweep; give a mapping of labels to edits")
    made: list[Intervention] = []
    for label, value in given.items():
        if isinstance(value, Intervention):
            made.append(value)
        elif isinstance(value, (Site, Circuit)):
            made.append(edit(*(value if isinstance(value, Circuit) else (value,))))
        else:
            raise InterventionError(
                f"cell {label!r} is {value!r} ({type(value).__name__}); expected an intervention "
                "such as interchange(site), or a site"
            )
    return Cells({"cell": tuple(given)}, tuple(made), f"{len(made)} interventions")
