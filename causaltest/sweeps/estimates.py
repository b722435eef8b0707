"""Effects estimated by gradients: attribution patching and integrated gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from causaltest.engine.access import Places, take
from causaltest.engine.applied import Applied, declared
from causaltest.engine.hooks import Operation, Side, attached
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.rows import for_each_row
from causaltest.engine.sources import Stored, means_for, reads_for
from causaltest.errors import InterventionError, MetricError
from causaltest.interventions import Interchange, Intervention, Joint
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.progress import Advance
from causaltest.sites import Site, embedding

Place = tuple[str, Side]


@dataclass
class Probes:
    """Zeros added to activations, so that gradients with respect to these can be asked for.

    Parameters
    ----------
    rows
        The batch that is run.
    at
        The probe of each module input or output.
    """

    rows: Batch
    at: dict[Place, Tensor] = field(default_factory=dict)

    def operation(self, place: Place) -> tuple[str, Side, Operation]:
        """Return the operation that adds one."""

        def probe(tensor: Tensor) -> Tensor:
            if place in self.at:
                raise InterventionError(
                    f"{place[0]} runs several times in one forward pass; its gradient belongs to "
                    "no one of them"
                )
            tensor = for_each_row(tensor, self.rows)
            self.at[place] = torch.zeros_like(tensor, requires_grad=True)
            return tensor + self.at[place]

        return *place, probe


def scored(metric: Metric, outputs: Sequence[Output]) -> Tensor:
    """Return the sum of a metric over outputs, with gradients.

    Raises
    ------
    MetricError
        The metric gives no tensor, so it has no gradient.
    """
    total: Tensor | None = None
    for output in outputs:
        metric(output)  # refuses what is not finite
        assert output.row.pair is not None
        value: object = metric.function(output, output.row.pair, metric.position)
        if not isinstance(value, Tensor) or not value.requires_grad:
            raise MetricError(
                f"{metric} has no gradient: it gives a {type(value).__name__} that does not depend "
                "on the logits by tensor operations; return a tensor, or use causal.sweep(...)"
            )
        total = value if total is None else total + value
    if total is None:
        raise MetricError("there is no output to score")
    return total


@dataclass(frozen=True)
class InputPath:
    """Inputs on the way from base to source, for integrated gradients.

    Parameters
    ----------
    place
        Where token embeddings are.
    difference
        Source minus base, (rows, tokens, width).
    steps
        How many points.
    """

    place: Place
    difference: Tensor
    steps: int

    def operation(self, step: int) -> tuple[str, Side, Operation]:
        """Return the operation that moves the inputs; the last step is the base prompt itself."""
        share = 1.0 - step / self.steps
        return *self.place, lambda tensor: tensor + share * self.difference


class _Inputs:
    """Learns the way from base to source embeddings while the base prompts are run.

    Parameters
    ----------
    model, part, batch, stored
        What puts the source's embeddings into a batch.
    """

    def __init__(self, model: Model, part: Interchange, batch: Batch, stored: Stored) -> None:
        (self._edit,), _ = declared(model, part, batch, draw=0, stored=stored, means={})
        self._batch = batch
        self._place: Place = (self._edit.access.path, self._edit.access.side)
        self._difference: Tensor | None = None

    @property
    def note(self) -> tuple[str, Side, Operation]:
        """What is done in the run of the base prompts."""

        def operation(tensor: Tensor) -> None:
            with torch.no_grad():
                tensor = for_each_row(tensor, self._batch)
                self._difference = self._edit(tensor) - tensor

        return *self._place, operation

    def path(self, steps: int) -> InputPath:
        """Return the way, in so many steps."""
        assert self._difference is not None
        return InputPath(self._place, self._difference, steps)


def check_steps(steps: int) -> None:
    """Refuse what is no number of steps.

    Raises
    ------
    InterventionError
        It is no whole number from 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(f"steps is {steps!r}; expected a number from 1")


def estimate(
    model: Model,
    cells: Sequence[Intervention],
    pairs: Pairs,
    metric: Metric,
    *,
    steps: int = 1,
    progress: Advance | None = None,
) -> np.ndarray:
    """Estimate the change of a metric by the gradient times the change of the activation.

    Parameters
    ----------
    model, pairs, metric
        As for `score`.
    cells
        Interventions; of several sites the estimates are added up.
    steps
        Points between base and source at which gradients are taken; 1 takes the base run's.
    progress
        Called with (pairs done, pairs in all).

    Returns
    -------
    ndarray
        (pairs, cells).

    Raises
    ------
    InterventionError
        A cell takes its numbers from an edited run, which has no estimate.
    MetricError
        The metric has no gradient.

    Notes
    -----
    Attribution patching, Nanda 2023; Syed et al. 2023 (arXiv 2310.10348), equation 1. With steps m
    gradients are averaged over inputs z' + k/m (z - z'), k = 1..m, from source z' to base z: Hanna
    et al. 2024 (arXiv 2403.17806), equation 3.
    """
    check_steps(steps)
    if steps > 1 and not all(cell.needs_source for cell in cells):
        other = next(cell for cell in cells if not cell.needs_source)
        raise InterventionError(
            f"{other} reads no source, so no inputs lie between; steps=1 is for it"
        )
    parts = tuple(dict.fromkeys(part for cell in cells for part in cell.parts))
    whole = parts[0] if len(parts) == 1 else Joint(parts_of_joint=parts)
    means = means_for(model, whole, pairs)
    # Read in the same pass as what the cells take.
    inputs = Interchange((embedding(),)) if steps > 1 else None
    read = whole if inputs is None else Joint(parts_of_joint=(*parts, inputs))
    values = np.zeros((len(pairs), len(cells)))
    done = 0
    for indices, batch in model.batches([Row.of(pair, "base") for pair in pairs], whole.sites):
        chosen = [pairs[index] for index in indices]
        for draw in range(whole.draws):
            with torch.no_grad():
                stored = reads_for(model, read, chosen, pairs, draw)
            found = _batch(
                model,
                whole,
                batch,
                stored=stored,
                means=means,
                metric=metric,
                inputs=inputs,
                steps=steps,
                draw=draw,
            )
            for column, cell in enumerate(cells):
                each = sum(found[part] for part in cell.parts)
                values[indices, column] += np.asarray(each) / whole.draws
        done += len(indices)
        if progress is not None:
            progress(done, len(pairs))
    return values


def _batch(
    model: Model,
    whole: Intervention,
    batch: Batch,
    *,
    stored: Stored,
    means: dict[tuple[Intervention, Site], Tensor],
    metric: Metric,
    inputs: Interchange | None,
    steps: int,
    draw: int,
) -> dict[Intervention, np.ndarray]:
    """Return the estimate of each part for each row of one batch."""
    edits, operations = declared(
        model,
        whole,
        batch,
        draw=draw,
        stored=stored,
        means=means,
    )
    notes = [each for each in operations if not isinstance(each[2], Applied)]
    places: list[Place] = list(dict.fromkeys((e.access.path, e.access.side) for e in edits))
    changes: dict[int, tuple[Places, Tensor]] = {}

    def watch(place: Place) -> tuple[str, Side, Operation]:
        mine = [(i, e) for i, e in enumerate(edits) if (e.access.path, e.access.side) == place]

        def operation(tensor: Tensor) -> None:
            with torch.no_grad():
                tensor = for_each_row(tensor, batch)
                for index, edit in mine:
                    new = edit(tensor)
                    where, _ = model.places(edit.site, edit.access, tensor, batch)
                    old = take(tensor, where, edit.access)
                    changes[index] = where, take(new, where, edit.access) - old

        return *place, operation

    gradients = {place: torch.zeros(()) for place in places}
    way = None if inputs is None else _Inputs(model, inputs, batch, stored)
    for step in range(steps, 0, -1):
        probes = Probes(batch)
        hooks = [probes.operation(place) for place in places]
        if step == steps:  # the base prompt itself
            first = [] if way is None else [way.note]
            hooks = [*first, *notes, *(watch(place) for place in places), *hooks]
        elif way is not None:
            hooks = [way.path(steps).operation(step), *hooks]
        with torch.enable_grad(), attached(model.network, hooks):
            loss = scored(metric, model.run_batch(batch))
            found = torch.autograd.grad(loss, [probes.at[p] for p in places], allow_unused=True)
        for place, each in zip(places, found, strict=True):
            if each is not None:
                gradients[place] = gradients[place] + each / steps
    return dict(_summed(edits, gradients, changes, len(batch.rows)))


def _summed(
    edits: Sequence[Applied],
    gradients: dict[Place, Tensor],
    changes: dict[int, tuple[Places, Tensor]],
    rows: int,
) -> Iterator[tuple[Intervention, np.ndarray]]:
    """Yield gradient times change, summed over what each part edits in each row."""
    sums: dict[Intervention, np.ndarray] = {}
    for index, edit in enumerate(edits):
        edit.entry()
        gradient = gradients[edit.access.path, edit.access.side]
        made = np.zeros(rows)
        if gradient.ndim:  # otherwise nothing reaches the answer from there
            where, change = changes[index]
            there = take(gradient, where, edit.access).double()
            each = (there * change.double()).flatten(1).sum(dim=1)
            np.add.at(made, where.rows.cpu().numpy(), each.cpu().numpy())
        sums[edit.part] = sums.get(edit.part, np.zeros(rows)) + made
    yield from sums.items()
