"""Interventions as the engine makes them: their numbers, in the shapes that they take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.access import Keys
from causaltest.engine.apply import Edit, replacement
from causaltest.engine.steps import Clock
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention as Part
from causaltest.pyvene.interventions import (
    CollectIntervention,
    DistributedRepresentationIntervention,
    Intervention,
    InterventionOutput,
    LambdaIntervention,
    LocalistRepresentationIntervention,
)
from causaltest.pyvene.locations import Spot
from causaltest.pyvene.places import Target


@dataclass(frozen=True, eq=False)
class Called(Part):
    """What one intervention makes of units of one activation, or collects of them.

    Parameters
    ----------
    target, spot
        Where.
    each
        The intervention.
    count
        Rows of the call that was asked for; beams multiply them.
    source, subspaces, extra
        What it is called with.
    as_adaptor
        Give it the module's input.
    step
        The (row, unit) pairs that are meant at one time step; None for whole rows.
    clock
        Steps of the text that is being written; None where a module runs once.
    """

    target: Target
    spot: Spot
    each: Intervention
    count: int
    source: Tensor | None = None
    subspaces: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    as_adaptor: bool = False
    step: tuple[tuple[int, int], ...] | None = None
    clock: Clock | None = None
    collected: list[Tensor] = field(default_factory=list)
    outputs: list[InterventionOutput] = field(default_factory=list)

    @property
    def collects(self) -> bool:
        """Whether it reads and leaves all as it is."""
        return isinstance(self.each, CollectIntervention)

    @property
    def needs_source(self) -> bool:
        """Whether it puts in what was read elsewhere."""
        return self.source is not None

    @property
    def needs_input(self) -> bool:
        """Whether it makes use of the module's input."""
        return self.as_adaptor or self.each.needs_input

    def __str__(self) -> str:
        return str(self.each)

    def made(self, old: Tensor, edit: Edit) -> Tensor:
        """Return the entries that replace `old`; `old` itself where nothing changes."""
        rows = len(edit.counts)
        shaped = edit.tokens and self.step is None
        base = self.target.units_of(old, rows, self.spot) if shaped else old
        extra = self._extra()
        if self.needs_input:
            assert edit.given is not None
            extra["args"] = edit.given.unflatten(0, (rows, -1)) if shaped else edit.given
        source, subspaces = self._for(base)
        self._check_keys(source, base)
        new = self._joined(base, source, subspaces, extra, edit)
        if self.collects:
            if self._now(edit):
                self.collected.append(new)
            return old
        if new is None:
            return old
        return (self.target.entries_of(new, old, rows, self.spot) if shaped else new).to(old)

    def _now(self, edit: Edit) -> bool:
        """Return whether these tokens are computed for the first time."""
        return self.clock is None or edit.draw == self.clock.step

    def _extra(self) -> dict[str, Any]:
        taken = inspect.signature(self.each.forward).parameters
        anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        return {name: value for name, value in self.extra.items() if anything or name in taken}

    def _for(self, base: Tensor) -> tuple[Tensor | None, Any]:
        """Return source and subspaces for the rows of this pass."""
        source, subspaces = self.source, self.subspaces
        own = isinstance(subspaces, list) and len(subspaces) == self.count  # pyright: ignore[reportUnknownArgumentType]
        if self.step is not None:
            if source is not None and source.ndim == 3:
                source = torch.stack([source[row, unit] for row, unit in self.step])
            return source, [subspaces[row] for row, _ in self.step] if own else subspaces
        times = len(base) // self.count
        if times > 1:
            if source is not None and source.ndim > 1 and source.shape[0] == self.count:
                source = source.repeat_interleave(times, dim=0)
            if own:
                subspaces = [each for each in subspaces for _ in range(times)]
        if source is not None and source.ndim == base.ndim == 3 and source.shape[0] == len(base):
            tokens, wanted = source.shape[1], base.shape[1]
            if tokens != wanted and tokens > 1:
                raise InterventionError(
                    f"{self.target.site}: the source gives {tokens} units and base takes {wanted}; "
                    "give unit_locations of equally many, or prompts of equal length"
                )
        return source, subspaces

    def _check_keys(self, source: Tensor | None, base: Tensor) -> None:
        """Refuse scores or patterns of another number of keys."""
        if not isinstance(self.target.access.columns, Keys) or source is None:
            return
        if source.ndim == base.ndim and source.shape[-1] != base.shape[-1]:
            raise InterventionError(
                f"{self.target.site} has one number for each key: {base.shape[-1]} in base, but "
                f"{source.shape[-1]} in the source; give prompts of equal length"
            )

    def _joined(
        self, base: Tensor, source: Tensor | None, subspaces: Any, extra: dict[str, Any], edit: Edit
    ) -> Any:
        """Call the intervention in the shape it takes, and undo that shape."""
        if self.step is not None or not self._joins(base):
            return self._called(base, source, subspaces, extra, edit)
        there = source if source is None or source.ndim != base.ndim else _joined(source)
        new = self._called(_joined(base), there, subspaces, extra, edit)
        return None if new is None else _parted(new, base)

    def _called(
        self, base: Tensor, source: Tensor | None, subspaces: Any, extra: dict[str, Any], edit: Edit
    ) -> Any:
        new = self.each(base, source, subspaces, **extra)
        if isinstance(new, InterventionOutput):
            if self._now(edit):
                self.outputs.append(new)
            new = new.output
        if new is None or self.collects:
            return new
        wanted = tuple(base.shape)
        if not isinstance(new, Tensor) or tuple(new.shape) != wanted:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise InterventionError(
                f"{self.target.site}: {self.each} returned {got}; expected a tensor of shape "
                f"{wanted}"
            )
        return new

    def _joins(self, base: Tensor) -> bool:
        """Return whether the units are joined into one vector."""
        each = self.each
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
            f"{self.target.site}: {type(each).__name__} got {count} units, but "
            f"max_number_of_units={units}\n"
            f"for one basis over all of them set max_number_of_units={count}; for the same "
            "basis at each of them pass an instance with keep_last_dim=True"
        )


@replacement.register
def _(part: Called, old: Tensor, edit: Edit) -> Tensor:
    return part.made(old, edit)


def _joined(base: Tensor) -> Tensor:
    if base.ndim == 3:
        return base.flatten(1)
    return base.transpose(1, 2).flatten(2)


def _parted(new: Tensor, base: Tensor) -> Tensor:
    if base.ndim == 3:
        return new.reshape(base.shape)
    return new.unflatten(2, (base.shape[1], -1)).transpose(1, 2)
