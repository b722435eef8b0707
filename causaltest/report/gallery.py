"""All figures of a run: those of single claims, those of all claims together, and as files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from causaltest.errors import RecordError
from causaltest.records import (
    CircuitGraph,
    Claim,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Map,
    Results,
    ordered,
)
from causaltest.report.circuit_graphs import circuit_figure
from causaltest.report.control_strips import control_figure
from causaltest.report.curves import curve_figure
from causaltest.report.drawing import Figure, Format, save_figure
from causaltest.report.evidence_paths import path_figure
from causaltest.report.figures import forest
from causaltest.report.health import health_figure
from causaltest.report.maps import map_figure
from causaltest.report.specifications import specification_figures
from causaltest.report.strip import strip
from causaltest.report.text import short_name

Picture = Map | DoseCurve | ControlStrip | EvidencePath | CircuitGraph


def pictures_of(claim: Claim) -> tuple[Picture, ...]:
    """List what the figures of a claim show beside its pairs.

    Parameters
    ----------
    claim
        The claim.
    """
    shown = claim.shown
    if shown is None:
        return ()
    return (*shown.maps, *shown.curves, *shown.controls, *shown.paths, *shown.circuits)


@lru_cache(maxsize=256)
def drawn(picture: Picture) -> Figure:
    """Draw one figure of a claim; claims about the same thing share it.

    Parameters
    ----------
    picture
        What it shows.

    Raises
    ------
    RecordError
        It cannot be drawn, e.g. a map of four axes.
    """
    match picture:
        case Map():
            return map_figure(picture)
        case DoseCurve():
            return curve_figure(picture)
        case ControlStrip():
            return control_figure(picture)
        case EvidencePath():
            return path_figure(picture)
        case CircuitGraph():
            return circuit_figure(picture)


def figures_of(results: Results) -> Iterator[tuple[str, Figure]]:
    """Draw every figure of a run, each with a name for its file.

    Parameters
    ----------
    results
        The run's results.

    Yields
    ------
    (str, Figure)
        A name without an ending, unlike all others, and the figure.
    """
    taken: set[str] = set()

    def named(*words: str) -> str:
        pieces = (re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-.") for word in words)
        name = "-".join(filter(None, pieces))[-100:] or "figure"
        found = next(n for n in _numbered(name) if n not in taken)
        taken.add(found)
        return found

    for figure in forest(results):
        yield named("forest", figure.scale), figure
    health = health_figure(results)
    if health is not None:
        yield named("p-values"), health
    for figure in specification_figures(results):
        yield named("specifications", figure.title.partition(": ")[2][:48], figure.scale), figure
    several = len(results.run.models) > 1
    for claim in ordered(results.claims):
        test = short_name(claim, several_models=several).removeprefix("test_")
        for part in claim.parts:
            pairs = strip(part)
            if pairs is not None:
                yield named(test, "pairs"), pairs
        for picture in pictures_of(claim):
            try:
                figure = drawn(picture)
            except RecordError:
                continue
            yield named(test, _KINDS[type(picture)]), figure


_KINDS: dict[type[Picture], str] = {
    Map: "map",
    DoseCurve: "doses",
    ControlStrip: "controls",
    EvidencePath: "evidence",
    CircuitGraph: "circuit",
}


def save_figures(results: Results, folder: Path, form: Format) -> list[Path]:
    """Save every figure of a run as a file.

    Parameters
    ----------
    results
        The run's results.
    folder
        Where; it is made where it is missing.
    form
        `svg`, `png` (300 dpi) or `pdf`.

    Returns
    -------
    list of Path
        The files, in the order of the report.

    Raises
    ------
    RecordError
        They cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"{folder} cannot be made: {error.strerror or error}.\nChoose another folder."
        ) from error
    paths: list[Path] = []
    for name, figure in figures_of(results):
        paths.append(folder / f"{name}.{form}")
        save_figure(figure, paths[-1])
    return paths


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
