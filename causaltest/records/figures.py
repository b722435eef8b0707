"""What figures show beside the numbers of a claim: maps, curves, controls, paths, circuits."""

from __future__ import annotations

from typing import Literal

import msgspec

Numbers = tuple[float, ...]
Limits = tuple[float | None, ...]
"""None where a limit is infinite."""


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One axis of a map, with the labels of its cells."""

    name: str
    labels: tuple[str, ...]


class Map(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The effects of a sweep. Numbers come as flat arrays, the last axis running fastest."""

    subject: str
    axes: tuple[Axis, ...]
    estimates: Numbers
    low: Limits = ()
    """Simultaneous limits, by max-T over all cells; empty where nothing can tell."""
    high: Limits = ()
    p_adjusted: Numbers = ()
    """Family-wise over all cells: a cell differs from 0 where it reaches `level`."""
    level: float = 0.05
    method: str = ""
    metric: str = ""
    scale: str = ""
    """What the effects are counted in."""
    named: tuple[int, ...] = ()
    """The cells that the claim names, by their place in the arrays; empty where it names all."""
    margin: float | None = None
    """Cells whose limits lie within this margin of 0 are known to be small."""
    exact: tuple[int, ...] | None = None
    """The cells that were computed exactly, where the others are estimates."""
    remark: str = ""
    n_pairs: int = 0
    n_units: int = 0
    unit: str = "pair"


class DoseCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric at several doses of an intervention."""

    subject: str
    doses: Numbers
    means: Numbers
    isotonic: Numbers = ()
    """The best approximation of the means that never falls, or never rises, whichever is closer."""
    low: Limits = ()
    """Limits that hold for the means of all doses at once; empty where nothing can tell."""
    high: Limits = ()
    level: float = 0.95
    scale: str = ""
    n_pairs: int = 0
    n_units: int = 0
    unit: str = "pair"


class ControlStrip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An effect beside its matched controls."""

    subject: str
    kind: str
    """What the controls are, e.g. `random sites`."""
    estimate: float
    low: float
    high: float
    """Of the effect, unadjusted."""
    level: float
    controls: Numbers
    """Sorted."""
    test: Literal["rank", "prediction"] = "rank"
    scale: str = ""
    placebo_p: Numbers = ()
    """One-sided p-values of each control against the others, pair by pair, in the direction of the
    claim; sorted. Uniform where controls are alike but for chance."""


class EvidencePath(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the evidence grew while units came: e-values, or a confidence sequence."""

    subject: str
    relation: Literal[">", "<", "within"]
    bound: float
    first: int
    """Units that the first entry of the arrays rests on; each further entry rests on one more."""
    supporting: Numbers = ()
    """Logarithm to base 10 of the e-value for the claim; empty where values have no limits."""
    refuting: Numbers = ()
    supported_at: float = 0.0
    """Logarithm to base 10 of the e-value at which the claim is supported."""
    refuted_at: float = 0.0
    low: Limits = ()
    """Of the confidence sequence, where values have no limits."""
    high: Limits = ()
    level: float = 0.95
    looks: tuple[int, ...] = ()
    """Numbers of units at which was looked."""
    available: int = 0
    unit: str = "pair"
    scale: str = ""


class CircuitNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A component that a circuit claim considers."""

    name: str
    component: str
    layer: int | None = None
    head: int | None = None
    position: str = ""
    member: bool = False
    effect: float | None = None
    """What it adds to the circuit, where that was measured."""


class CircuitGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A circuit among the components that were considered."""

    nodes: tuple[CircuitNode, ...]
    edges: tuple[tuple[str, str, str], ...] = ()
    """Who reads whom, where the circuit says so: names of sender (or `input`) and receiver (or
    `logits`), and what of the receiver reads (`q`, `k`, `v` or nothing)."""


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the figures of a claim show beside the numbers of its parts."""

    maps: tuple[Map, ...] = ()
    curves: tuple[DoseCurve, ...] = ()
    controls: tuple[ControlStrip, ...] = ()
    paths: tuple[EvidencePath, ...] = ()
    circuits: tuple[CircuitGraph, ...] = ()


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way, of several, to test the same hypothesis."""

    of: str
    """What its cases share: the test's id without its case."""
    choices: dict[str, str]
    """What was chosen, by the name of the choice."""
    registered: bool = False
    """Whether it is the one that was settled on before the run."""
