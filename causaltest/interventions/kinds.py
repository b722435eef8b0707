"""Kinds of interventions as frozen data; the functions that make them are in `edits`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from causaltest.errors import InterventionError
from causaltest.interventions.arrays import Array
from causaltest.interventions.base import Intervention
from causaltest.interventions.subspaces import Subspace
from causaltest.pairs import Pairs

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Replacement(Intervention):
    """An edit that puts other numbers in the place of an activation, or of a subspace of it."""

    subspace: Subspace | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subspace is None:
            return
        if not isinstance(self.subspace, Subspace):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(
                f"subspace is {self.subspace!r} ({type(self.subspace).__name__}); expected one "
                "such as rotated(R, k=8)"
            )
        home = self.subspace.site
        if home is not None and self.sites != (home,):
            raise InterventionError(
                f"the subspace {self.subspace} belongs to {home}, not to "
                f"{', '.join(map(str, self.sites))}; for the same numbers there say "
                "subspace.at(None)"
            )
        # One form of it makes equal interventions equal.
        object.__setattr__(self, "subspace", self.subspace.at(None))

    def _arguments(self) -> str:
        within = "" if self.subspace is None else f", {self.subspace}"
        return super()._arguments() + within


@dataclass(frozen=True)
class Interchange(Replacement):
    """The base run takes the source run's activation."""

    @property
    def needs_source(self) -> bool:
        """Whether the source run of each pair is read."""
        return True

    def _verb(self) -> str:
        return "interchange"


@dataclass(frozen=True)
class ZeroAblation(Replacement):
    """The activation becomes zero."""

    def _verb(self) -> str:
        return "zero_ablate"


@dataclass(frozen=True)
class Constant(Replacement):
    """The activation becomes fixed numbers."""

    value: Array = field(default_factory=lambda: Array(0.0))

    def _verb(self) -> str:
        return "constant"

    def _arguments(self) -> str:
        number = next(iter(self.value))
        shown = f"{number:g}" if not self.value.shape else f"norm={self.value.norm():.3g}"
        return f"{super()._arguments()}, {shown}"


@dataclass(frozen=True)
class MeanAblation(Replacement):
    """The activation becomes its mean over a reference pair set."""

    over: Pairs | None = None

    def _verb(self) -> str:
        return "mean_ablate"

    def _arguments(self) -> str:
        over = "" if self.over is None else f", over={self.over.name}"
        return super()._arguments() + over


@dataclass(frozen=True)
class ResampleAblation(Replacement):
    """The activation becomes that of another, randomly drawn prompt."""

    over: Pairs | None = None
    seed: int = field(default=0, metadata={"shown": True})
    draws_per_pair: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_draws(self.draws_per_pair)

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return self.draws_per_pair

    def _verb(self) -> str:
        return "resample_ablate"

    def _arguments(self) -> str:
        over = "" if self.over is None else f", over={self.over.name}"
        return f"{super()._arguments()}{over}, draws={self.draws_per_pair}"


@dataclass(frozen=True)
class Noise(Intervention):
    """Gaussian noise is added to the activation."""

    sd: float = 1.0
    seed: int = field(default=0, metadata={"shown": True})
    draws_per_pair: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.sd) or self.sd <= 0:
            raise InterventionError(
                f"noise sd is {self.sd!r}; expected a positive number in units of the activation"
            )
        _check_draws(self.draws_per_pair)

    @property
    def draws(self) -> int:
        """How many random draws are averaged within each pair."""
        return self.draws_per_pair

    def _verb(self) -> str:
        return "noise"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, sd={self.sd:g}, draws={self.draws_per_pair}"


@dataclass(frozen=True)
class Addition(Intervention):
    """A fixed vector, times a scale, is added to the activation."""

    vector: Array = field(default_factory=lambda: Array([0.0]))
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vector(self.vector, self._verb())
        if not math.isfinite(self.scale):
            raise InterventionError(f"scale is {self.scale!r}; expected a finite number")

    def _verb(self) -> str:
        return "add"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, norm={self.vector.norm() * abs(self.scale):.3g}"


@dataclass(frozen=True)
class Subtraction(Intervention):
    """A fixed vector is subtracted from the activation."""

    vector: Array = field(default_factory=lambda: Array([0.0]))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vector(self.vector, self._verb())

    def _verb(self) -> str:
        return "subtract"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, norm={self.vector.norm():.3g}"


@dataclass(frozen=True)
class Scaling(Intervention):
    """The activation is multiplied by a factor."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.factor):
            raise InterventionError(f"factor is {self.factor!r}; expected a finite number")

    def _verb(self) -> str:
        return "scale"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, factor={self.factor:g}"


@dataclass(frozen=True)
class Skip(Intervention):
    """A module's output becomes its own input."""

    @property
    def needs_input(self) -> bool:
        """Whether an edit of a module's output makes use of that module's input."""
        return True

    def _verb(self) -> str:
        return "skip"


@dataclass(frozen=True)
class Adapter(Intervention):
    """A low-rank map of a module's input is added to its output."""

    down: Array = field(default_factory=lambda: Array([[0.0]]))
    up: Array = field(default_factory=lambda: Array([[0.0]]))
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = self.down.shape, self.up.shape
        if any(len(shape) != 2 for shape in shapes) or self.down.shape[1] != self.up.shape[0]:
            raise InterventionError(
                f"an adapter has matrices of shapes {shapes[0]} and {shapes[1]}; expected "
                "(width of the module's input, rank) and (rank, width of the site)"
            )
        if not math.isfinite(self.scale):
            raise InterventionError(f"scale is {self.scale!r}; expected a finite number")

    @property
    def needs_input(self) -> bool:
        """Whether an edit of a module's output makes use of that module's input."""
        return True

    def _verb(self) -> str:
        return "adapter"

    def _arguments(self) -> str:
        return f"{super()._arguments()}, rank={self.down.shape[1]}, scale={self.scale:g}"


@dataclass(frozen=True)
class FunctionEdit(Intervention):
    """The activation becomes what a function makes of it."""

    function: Function | None = None
    source: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise InterventionError(
                f"apply_function takes a function of (base, source); got {self.function!r} "
                f"({type(self.function).__name__})"
            )

    @property
    def needs_source(self) -> bool:
        """Whether the source run of each pair is read."""
        return self.source

    def _verb(self) -> str:
        return "apply_function"

    def _arguments(self) -> str:
        source = ", source" if self.source else ""
        return f"{super()._arguments()}, {name_of_function(self.function)}{source}"


def name_of_function(function: object) -> str:
    """Return `module:name` of a function, or what can be said of another callable."""
    name = getattr(function, "__qualname__", "")
    home = getattr(function, "__module__", "")
    return f"{home}:{name}" if name and home else type(function).__name__


def _check_vector(values: Array, verb: str) -> None:
    if len(values.shape) != 1:
        raise InterventionError(
            f"the vector to {verb} must be one-dimensional; got shape {values.shape}"
        )


def _check_draws(draws: object) -> None:
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise InterventionError(f"draws is {draws!r}; expected a whole number from 1")
