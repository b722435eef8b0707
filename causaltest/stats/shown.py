"""What a figure of a comparison shows beside its own numbers: its map, curve, controls, circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from causaltest.stats.asymptotic import Asymptotic
    from causaltest.stats.betting import Betting
    from causaltest.stats.curves import Curve
    from causaltest.stats.decision import Region
    from causaltest.stats.measured import Measured
    from causaltest.stats.sweep import Grid


@dataclass(frozen=True, eq=False)
class OnGrid:
    """The comparison is about cells of a grid.

    Parameters
    ----------
    grid
        All cells.
    cells
        Flat indices of the cells that are named.
    margin
        Below what the other cells are claimed to lie, or would not matter; None where the claim
        says nothing of the kind.
    """

    grid: Grid
    cells: tuple[int, ...]
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class OnCurve:
    """The comparison is about a dose-response curve."""

    curve: Curve


@dataclass(frozen=True, eq=False)
class AmongControls:
    """The comparison is with matched controls.

    Parameters
    ----------
    measured
        The effect or rate that is compared.
    controls
        What each control measured, sorted.
    kind
        What the controls are, e.g. `random sites`.
    test
        How the effect is placed among them.
    placebo_p
        One-sided p-values of each control against the others, sorted.
    """

    measured: Measured
    controls: tuple[float, ...]
    kind: str
    test: Literal["rank", "prediction"]
    placebo_p: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Watched:
    """The comparison was decided while units came.

    Parameters
    ----------
    evidence
        The values of the units, in the order in which they came.
    region
        The claimed region.
    looks
        Numbers of units at which was looked.
    available
        Units there were.
    """

    evidence: Betting | Asymptotic
    region: Region
    looks: tuple[int, ...]
    available: int


@dataclass(frozen=True)
class Place:
    """A component that a circuit claim considers."""

    name: str
    component: str
    layer: int | None = None
    head: int | None = None
    position: str = ""


@dataclass(frozen=True)
class OfCircuit:
    """The comparison is about a circuit.

    Parameters
    ----------
    members
        Its components.
    among
        All components considered.
    effects
        What each member adds, in their order, where that was measured.
    edges
        Who reads whom, where the circuit says so: names of sender and receiver, and what of the
        receiver reads (`q`, `k`, `v` or nothing).
    """

    members: tuple[Place, ...]
    among: tuple[Place, ...]
    effects: tuple[float, ...] = ()
    edges: tuple[tuple[str, str, str], ...] = ()


Shown = OnGrid | OnCurve | AmongControls | Watched | OfCircuit


def together(*several: Sequence[Shown]) -> tuple[Shown, ...]:
    """Return what several comparisons show, each once.

    Examples
    --------
    >>> circuit = OfCircuit((), ())
    >>> len(together([circuit], [circuit]))
    1
    """
    return tuple(dict.fromkeys(each for some in several for each in some))
