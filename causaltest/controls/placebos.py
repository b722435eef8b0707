"""Placebo interventions: the same edit at other sites, positions, or along other directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np

from causaltest.engine.apply import random_stream
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.interventions.arrays import Array
from causaltest.interventions.base import Joint
from causaltest.interventions.kinds import Addition, Subtraction
from causaltest.pairs import Pairs
from causaltest.sites import HEAD_COMPONENTS, LAYER_COMPONENTS, MODULE, Pos, Site
from causaltest.spelling import did_you_mean, listed

Vary = Literal["site", "layer", "head", "position", "direction"]


@dataclass(frozen=True)
class _Kind:
    """Tested sites that are exchangeable, and the places that a placebo may take instead."""

    sites: tuple[Site, ...]
    places: tuple[Site, ...]
    width: int
    """Width of the component where dims are drawn anew, else 0."""

    @property
    def count(self) -> int:
        """Number of distinct placebos for these sites."""
        chosen = len(self.sites)
        dims = self.sites[0].dims
        ways = math.comb(self.width - len(dims), len(dims)) if self.width and dims else 1
        return math.comb(len(self.places), chosen) * ways**chosen

    def draw(self, stream: np.random.Generator) -> dict[Site, Site]:
        """Return a place for each tested site, all different."""
        picks = sorted(stream.choice(len(self.places), size=len(self.sites), replace=False))
        return {
            site: self._with_dims(self.places[index], site, stream)
            for site, index in zip(self.sites, picks, strict=True)
        }

    def _with_dims(self, place: Site, tested: Site, stream: np.random.Generator) -> Site:
        if not self.width or tested.dims is None:
            return place
        free = [dim for dim in range(self.width) if dim not in tested.dims]
        chosen = stream.choice(free, size=len(tested.dims), replace=False)
        return replace(place, dims=tuple(sorted(map(int, chosen))))


def placebos(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    *,
    vary: Vary | None = None,
    among: Iterable[Site] | None = None,
    seed: int = 0,
) -> tuple[Iterator[Intervention], int]:
    """Draw interventions that differ from the tested one in one respect only.

    Parameters
    ----------
    model
        The model, which says what sites there are.
    intervention
        The tested intervention.
    pairs
        The pairs it was tested on, which say what positions there are.
    vary
        `site` (any other layer and head of the same component, and other dims where the tested
        site has dims), `layer`, `head` (of the same layer), `position` (another token), or
        `direction` (another vector of the same norm). By default `direction` for `add` and
        `subtract`, else `site`.
    among
        Sites to draw from instead.
    seed
        Root of the draw, which depends on nothing else but the intervention and the pairs.

    Returns
    -------
    (iterator of Intervention, int)
        Distinct placebos in random order, and how many there are.

    Raises
    ------
    InterventionError
        `vary` is unknown or makes no sense for the intervention.
    """
    vary = respect(vary, intervention)
    stream = random_stream("placebos", seed, vary, intervention, pairs.sha256)
    if vary == "direction":
        return _directions(intervention, stream), np.iinfo(np.int64).max
    kinds = _kinds(model, intervention, pairs, vary, None if among is None else tuple(among))
    count = math.prod(kind.count for kind in kinds)
    return _at_other_sites(intervention, kinds, count, stream), count


def moved(
    intervention: Intervention,
    *,
    layer: int | None = None,
    head: int | None = None,
    pos: Pos = None,
) -> Intervention:
    """Return the same intervention at another layer, head or position.

    Parameters
    ----------
    intervention
        The tested intervention.
    layer, head, pos
        Where to go; None leaves it as it is.

    Raises
    ------
    InterventionError
        Nothing is named, or the place is the tested one.

    Examples
    --------
    >>> from causaltest.interventions import interchange
    >>> from causaltest.sites import block_output
    >>> str(moved(interchange(block_output(2, pos="name")), layer=0))
    'interchange(block_output[0]@name)'
    """
    changes = {
        name: value
        for name, value in (("layer", layer), ("head", head), ("pos", pos))
        if value is not None
    }
    if not changes:
        raise InterventionError("say where to move it: layer=, head= or pos=")
    places = {site: replace(site, **changes) for site in intervention.sites}
    same = [str(site) for site, place in places.items() if site == place]
    if same or set(places.values()) & set(places):
        raise InterventionError(
            f"{intervention} moved to {_told(changes)} would edit a tested site again; "
            "a control edits another place"
        )
    if len(set(places.values())) < len(places):
        raise InterventionError(
            f"{intervention} has several sites that {_told(changes)} would make one; "
            "measure the control of your choice with causal.effect()"
        )
    return _relocated(intervention, places)


def _told(changes: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in changes.items())


def respect(vary: str | None, intervention: Intervention) -> Vary:
    """Return in what a placebo differs, checked, or the default for an intervention.

    Raises
    ------
    InterventionError
        `vary` is unknown or makes no sense for the intervention.
    """
    steered = all(isinstance(part, (Addition, Subtraction)) for part in intervention.parts)
    if vary is None:
        return "direction" if steered else "site"
    known = cast("tuple[str, ...]", get_args(Vary))
    if vary not in known:
        raise InterventionError(
            f"vary is {vary!r}{did_you_mean(vary, known)}; expected one of {listed(known)}"
        )
    if vary == "direction" and not steered:
        raise InterventionError(
            f"{intervention} adds no vector, so there is no other direction of the same norm; "
            "vary 'site', 'layer', 'head' or 'position'"
        )
    return cast("Vary", vary)


def _directions(intervention: Intervention, stream: np.random.Generator) -> Iterator[Intervention]:
    """Yield the same additions along random directions, uniform on the sphere."""
    for part in intervention.parts:
        if len(cast("Addition", part).vector) < 2:
            raise InterventionError(
                f"{intervention} adds a vector of one number, which has no other direction"
            )
    while True:
        parts = [_redirected(cast("Addition", part), stream) for part in intervention.parts]
        yield parts[0] if len(parts) == 1 else Joint(parts_of_joint=tuple(parts))


def _redirected(part: Addition, stream: np.random.Generator) -> Intervention:
    drawn = stream.standard_normal(len(part.vector))
    drawn *= part.vector.norm() / float(np.linalg.norm(drawn))
    return replace(part, vector=Array(drawn.tolist()))


def _at_other_sites(
    intervention: Intervention, kinds: Sequence[_Kind], count: int, stream: np.random.Generator
) -> Iterator[Intervention]:
    seen: set[frozenset[Site]] = set()
    while len(seen) < count:
        places: dict[Site, Site] = {}
        for kind in kinds:
            places.update(kind.draw(stream))
        chosen = frozenset(places.values())
        if chosen not in seen:
            seen.add(chosen)
            yield _relocated(intervention, places)


def _relocated(intervention: Intervention, places: dict[Site, Site]) -> Intervention:
    parts = [
        replace(part, sites=tuple(places[site] for site in part.sites))
        for part in intervention.parts
    ]
    return parts[0] if len(parts) == 1 else Joint(parts_of_joint=tuple(parts))


def _kinds(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    vary: Vary,
    among: tuple[Site, ...] | None,
) -> list[_Kind]:
    """Group the tested sites by what can stand in for them."""
    tested = set(intervention.sites)
    groups: dict[tuple[tuple[Site, ...], int], list[Site]] = {}
    for site in intervention.sites:
        found = among if among is not None else _places(model, site, intervention, pairs, vary)
        redrawn = among is None and vary != "position"
        groups.setdefault((found, len(site.dims or ()) * redrawn), []).append(site)
    return [
        # Where dims are drawn anew, the tested place itself can serve with other dims.
        _Kind(tuple(sites), found, _width(model, sites[0]))
        if n_dims
        else _Kind(tuple(sites), tuple(each for each in found if each not in tested), 0)
        for (found, n_dims), sites in groups.items()
    ]


def _width(model: Model, site: Site) -> int:
    width = model.access(replace(site, dims=None)).width
    if width is None:
        raise InterventionError(
            f"the width of {site} is not known before it runs, so no other dims can be drawn; "
            "name the sites of the placebos: among=[...]"
        )
    return width


def _places(
    model: Model, site: Site, intervention: Intervention, pairs: Pairs, vary: Vary
) -> tuple[Site, ...]:
    if vary == "position":
        return _positions(model, site, intervention, pairs)
    if site.component == MODULE:
        return _modules(model, site)
    if site.component in LAYER_COMPONENTS:
        layers = range(model.n_layers) if vary != "head" else ()
        return _existing(model, [replace(site, layer=layer, dims=None) for layer in layers])
    if site.component not in HEAD_COMPONENTS:
        return ()
    assert site.layer is not None
    layers = [site.layer] if vary == "head" else range(model.n_layers)
    found = [
        replace(site, layer=layer, head=head, dims=None)
        for layer in layers
        for head in (
            [site.head] if vary == "layer" else range(model.n_heads(site.component, layer))
        )
    ]
    return _existing(model, found)


def _existing(model: Model, sites: Iterable[Site]) -> tuple[Site, ...]:
    known = model.architecture.accesses
    return tuple(
        site for site in sites
        if (site.component.removeprefix("head_"), site.layer) in known
    )  # fmt: skip


def _modules(model: Model, site: Site) -> tuple[Site, ...]:
    """List modules of the same class with parameters of the same shapes."""

    def kind(module: object) -> tuple[object, ...]:
        shapes = [tuple(each.shape) for each in module.parameters()]  # pyright: ignore[reportAttributeAccessIssue]
        return type(module), tuple(shapes)

    wanted = kind(model.network.get_submodule(site.path))
    return tuple(
        replace(site, path=path, dims=None)
        for path, module in model.network.named_modules()
        if path and kind(module) == wanted
    )


def _positions(
    model: Model, site: Site, intervention: Intervention, pairs: Pairs
) -> tuple[Site, ...]:
    """List tokens, counted from the end, that are the tested one in no prompt."""
    sides: tuple[Literal["base", "source"], ...] = ("base", "source")
    rows = [Row.of(pair, side) for side in sides[: 1 + intervention.needs_source] for pair in pairs]
    taken: set[int] = set()
    lengths: list[int] = []
    for row in rows:
        length = len(model.prompts.ids(row.prompt))
        found = model.prompts.positions(row, site.pos)
        if len(found) != 1:
            raise InterventionError(
                f"{site} covers {len(found)} tokens of a prompt, so no other single token "
                "matches it; name the sites of the placebos: among=[...]"
            )
        lengths.append(length)
        taken.add(found[0] - length)
    return tuple(site.at(index) for index in range(-min(lengths), 0) if index not in taken)
