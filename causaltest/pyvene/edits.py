"""Reading and editing units of an activation, in the shapes that interventions take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.access import take
from causaltest.errors import InterventionError
from causaltest.pyvene.interventions import (
    CollectIntervention,
    DistributedRepresentationIntervention,
    Intervention,
    InterventionOutput,
    LambdaIntervention,
    LocalistRepresentationIntervention,
)
from causaltest.pyvene.locations import Spot
from causaltest.pyvene.places import Frame, Selection, Target, check_keys, gather, scatter, select


@dataclass
class Reader:
    """Reads units of one activation, once in a forward pass or once at each time step."""

    target: Target
    spot: Spot
    frame: Frame
    fired: int = 0
    values: Tensor | None = None
    steps: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def __call__(self, tensor: Tensor) -> None:
        """Note what is read."""
        self.fired += 1
        if self.spot.times is not None:
            for row, times in enumerate(self.spot.times):
                for unit, time in enumerate(times):
                    if time == self.fired - 1:
                        self.steps[row, unit] = _row(tensor, row)
            return
        chosen = select(tensor, self.spot, self.target, self.frame)
        assert chosen is not None
        self.values = gather(tensor, chosen, self.target)
        check_keys(self.target, self.frame, None, self.values)

    def result(self) -> Tensor:
        """Return what was read, (rows, units, width).

        Raises
        ------
        InterventionError
            The module did not run, or not once.
        """
        if self.spot.times is None:
            check_once(self.target, self.fired)
            assert self.values is not None
            return self.values
        check_times(self.target, self.spot, self.fired)
        rows = range(len(self.spot.times))
        units = range(len(self.spot.times[0]))
        return torch.stack([torch.stack([self.steps[row, unit] for unit in units]) for row in rows])


def _row(tensor: Tensor, row: int) -> Tensor:
    """Return one row of an activation of a single time step: (rows, width) or (1, rows, width)."""
    return tensor[row] if tensor.ndim == 2 else tensor.reshape(-1, tensor.shape[-1])[row]


@dataclass
class Setter:
    """Edits units of one activation, or collects them."""

    target: Target
    spot: Spot
    frame: Frame
    intervention: Intervention
    source: Tensor | None = None
    subspaces: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    as_adaptor: bool = False
    fired: int = 0
    done: int = 0
    given: Tensor | None = None
    collected: list[Tensor] = field(default_factory=list)
    outputs: list[InterventionOutput] = field(default_factory=list)

    @property
    def needs_input(self) -> bool:
        """Whether the module's input must be noted before its output is edited."""
        return self.as_adaptor or self.intervention.needs_input

    def note(self, tensor: Tensor) -> None:
        """Note the module's input."""
        self.given = tensor

    def __call__(self, tensor: Tensor) -> Tensor | None:
        """Return the edited activation; None where nothing changes."""
        self.fired += 1
        if self.spot.times is not None:
            return self._at_time(tensor)
        chosen = select(tensor, self.spot, self.target, self.frame)
        if chosen is None:
            return None
        self.done += 1
        base = gather(tensor, chosen, self.target)
        extra = self._extra()
        if self.needs_input:
            extra["args"] = self._input(tensor, chosen)
        source, subspaces = self._for(base, len(base))
        check_keys(self.target, self.frame, source, base)
        new = self._called(base, source, subspaces, extra)
        if isinstance(self.intervention, CollectIntervention):
            self.collected.append(new)
            return None
        return None if new is None else scatter(tensor, chosen, self.target, new, source)

    def _for(self, base: Tensor, rows: int) -> tuple[Tensor | None, Any]:
        """Return source and subspaces for the rows of this pass, which beams multiply."""
        source, subspaces, times = self.source, self.subspaces, rows // self.frame.rows
        if times > 1:
            if source is not None and source.ndim > 1 and source.shape[0] == self.frame.rows:
                source = source.repeat_interleave(times, dim=0)
            if isinstance(subspaces, list) and len(subspaces) == self.frame.rows:  # pyright: ignore[reportUnknownArgumentType]
                subspaces = [each for each in subspaces for _ in range(times)]  # pyright: ignore[reportUnknownVariableType]
        if source is not None and source.ndim == base.ndim == 3 and source.shape[0] == len(base):
            tokens, wanted = source.shape[1], base.shape[1]
            if tokens != wanted and tokens > 1:
                raise InterventionError(
                    f"{self.target.name}: the source gives {tokens} units and base takes {wanted}; "
                    "give unit_locations of equally many, or prompts of equal length"
                )
        return source, subspaces

    def _extra(self) -> dict[str, Any]:
        taken = inspect.signature(self.intervention.forward).parameters
        anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        return {name: value for name, value in self.extra.items() if anything or name in taken}

    def _input(self, tensor: Tensor, chosen: Selection) -> Tensor:
        assert self.given is not None
        given = self.given
        axes = 1 if chosen.where.positions is None else 2
        if given.shape[:axes] != tensor.shape[:axes]:
            raise InterventionError(
                f"{self.target.name}: the module takes an activation of shape {tuple(given.shape)} "
                f"and gives {tuple(tensor.shape)}; its input has no such units"
            )
        entries = take(given, chosen.where, self.target.entrance)
        return entries if chosen.shape is None else entries.reshape(*chosen.shape, -1)

    def _called(
        self, base: Tensor, source: Tensor | None, subspaces: Any, extra: dict[str, Any]
    ) -> Any:
        """Call the intervention in the shape it takes, and undo that shape."""
        if not self._joins(base):
            return self._plain(base, source, subspaces, extra)
        flat = _joined(base)
        there = None if source is None else _joined_source(source, base)
        new = self._plain(flat, there, subspaces, extra)
        return None if new is None else _parted(new, base)

    def _plain(
        self, base: Tensor, source: Tensor | None, subspaces: Any, extra: dict[str, Any]
    ) -> Any:
        new = self.intervention(base, source, subspaces, **extra)
        if isinstance(new, InterventionOutput):
            self.outputs.append(new)
            new = new.output
        if new is None:
            return None
        wanted = tuple(base.shape)
        if isinstance(self.intervention, CollectIntervention):
            return new
        if not isinstance(new, Tensor) or tuple(new.shape) != wanted:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise InterventionError(
                f"{self.target.name}: {self.intervention} returned {got}; expected a tensor of "
                "shape "
                f"{wanted}"
            )
        return new

    def _joins(self, base: Tensor) -> bool:
        """Return whether the units are joined into one vector."""
        each = self.intervention
        if (
            isinstance(each, (LocalistRepresentationIntervention, LambdaIntervention))
            or each.keep_last_dim
            or base.ndim not in (3, 4)
        ):
            return False
        count, units = base.shape[1], self.target.units
        located = self.spot.positions if base.ndim == 3 else self.spot.heads
        if count == units:
            return located is not None or units > 1
        basis = isinstance(each, DistributedRepresentationIntervention) or each.trainable
        if (located is None and units == 1) or not basis:
            return False
        raise InterventionError(
            f"{self.target.name}: {type(each).__name__} got {count} units, but "
            f"max_number_of_units={units}\n"
            f"for one basis over all of them set max_number_of_units={count}; for the same "
            "basis at "
            "each of them pass an instance with keep_last_dim=True"
        )

    def _at_time(self, tensor: Tensor) -> Tensor | None:
        """Edit the rows whose time step this is."""
        assert self.spot.times is not None
        now = [
            (row, unit)
            for row, times in enumerate(self.spot.times)
            for unit, time in enumerate(times)
            if time == self.fired - 1
        ]
        if not now:
            return None
        self.done += 1
        flat = tensor if tensor.ndim == 2 else tensor.reshape(-1, tensor.shape[-1])
        rows = torch.tensor([row for row, _ in now], device=tensor.device)
        source = self.source
        if source is not None and source.ndim == 3:
            source = torch.stack([source[row, unit] for row, unit in now])
        subspaces = self.subspaces
        if isinstance(subspaces, list) and len(subspaces) == self.frame.rows:  # pyright: ignore[reportUnknownArgumentType]
            subspaces = [subspaces[row] for row, _ in now]
        new = self._plain(flat[rows], source, subspaces, self._extra())
        if isinstance(self.intervention, CollectIntervention):
            self.collected.append(new)
            return None
        if new is None:
            return None
        return flat.index_put((rows,), new.to(flat)).reshape(tensor.shape)

    def check(self) -> None:
        """Refuse to go on where the edit did not happen as declared.

        Raises
        ------
        InterventionError
            The module did not run, or not once.
        """
        clock = self.frame.clock
        if clock is not None:
            if not self.done:
                raise InterventionError(
                    f"{self.target.name} was never edited in {clock.step + 1} passes of "
                    "generation; the prompt's own pass gives the first new token, so that edits of "
                    "new tokens need max_new_tokens above 1"
                )
        elif self.spot.times is not None:
            check_times(self.target, self.spot, self.fired)
        else:
            check_once(self.target, self.fired)


def _joined(base: Tensor) -> Tensor:
    if base.ndim == 3:
        return base.flatten(1)
    return base.transpose(1, 2).flatten(2)


def _joined_source(source: Tensor, base: Tensor) -> Tensor:
    return _joined(source) if source.ndim == base.ndim else source


def _parted(new: Tensor, base: Tensor) -> Tensor:
    if base.ndim == 3:
        return new.reshape(base.shape)
    return new.unflatten(2, (base.shape[1], -1)).transpose(1, 2)


def check_once(target: Target, fired: int) -> None:
    """Refuse a module that did not run exactly once."""
    if fired == 1:
        return
    how = "never ran" if not fired else f"ran {fired} times"
    hint = (
        "unit='t' addresses one of the calls by its number; else choose a module that runs once"
        if fired
        else "choose a module that runs"
    )
    raise InterventionError(
        f"{target.name}: {target.access.path} {how} in one forward pass\n{hint}"
    )


def check_times(target: Target, spot: Spot, fired: int) -> None:
    """Refuse a time step that was never reached."""
    assert spot.times is not None
    latest = max(time for times in spot.times for time in times)
    earliest = min(time for times in spot.times for time in times)
    if latest >= fired or earliest < 0:
        raise InterventionError(
            f"{target.name}: time step {latest if latest >= fired else earliest} does not exist: "
            f"{target.access.path} ran {fired} times"
        )
