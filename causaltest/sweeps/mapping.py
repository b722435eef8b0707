"""What all maps of effects share: many interventions in one sweep, and a grid of the changes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np

from causaltest.engine.output import Output
from causaltest.engine.run import Score
from causaltest.engine.sweeps import Beside, Plan, Swept
from causaltest.engine.sweeps import sweep as run_sweep
from causaltest.engine.sweeps.keeping import Keeper
from causaltest.grids import EstimatedGrid, SweepGrid
from causaltest.interventions import Intervention
from causaltest.measuring import Measuring
from causaltest.metrics import Metric
from causaltest.pairs import Pair, Pairs
from causaltest.plain_runs import identity_sample, numeric_floor
from causaltest.progress import progress
from causaltest.sites import Site
from causaltest.stats import Effect
from causaltest.sweeps.cells import Cells, Component, Edit
from causaltest.sweeps.paths import PathTo, Receivers, paths_to

Choice = Literal["auto", "growing", "batched", "loop"]
Value = TypeVar("Value")
Scoring = Metric | Callable[[Output, Pair], Any]
Places = Component | Iterable[Component] | Mapping[Any, Any]


class Mapped(Measuring):
    """What measures effects can measure many at once."""

    @abstractmethod
    def effect(self, intervention: Intervention, *, on: Pairs, metric: Scoring) -> Effect:
        """Measure what an intervention does to a metric."""

    def paths_to(self, receivers: Receivers, *, through: Site | Iterable[Site] = ()) -> PathTo:
        """Return what makes path interventions: senders act through these receivers only.

        Parameters
        ----------
        receivers
            One or more sites, such as `head_query_output(9, 9, pos="end")` or
            `mlp_input(10, pos="end")`; or `"logits"` for the direct path to the answer.
        through
            Attentions and MLPs that are not held fixed, so that paths may lead through them.

        Returns
        -------
        callable
            Takes senders and returns an intervention: for `causal.sweep(..., intervention=...)`.

        Raises
        ------
        InterventionError
            A receiver is no component, or `through` names what is no attention and no MLP.

        Notes
        -----
        Goldowsky-Dill et al. 2023 (arXiv 2304.05969), section 3; Wang et al. 2022 (arXiv
        2211.00593), appendix B: everything that writes to the residual stream is held at the base
        run, senders at the source run; what the receivers then are is put into a base run.
        """
        return paths_to(self.model, receivers, through)

    def _swept(
        self,
        cells: Sequence[Intervention],
        pairs: Pairs,
        metric: Metric,
        name: str,
        *,
        plan: Choice,
        beside: Beside | None = None,
        under: Intervention | None = None,
    ) -> Swept:
        for cell in (*cells, *([] if under is None else [under])):
            self.check_unseen(cell, pairs)
        beside = beside or Beside()

        def measure(keeper: Keeper | None) -> Swept:
            with progress(f"sweep of {name}") as advance:
                return run_sweep(
                    self.model, cells, pairs, metric,
                    plan=plan, progress=advance, keeper=keeper, beside=beside, under=under,
                )  # fmt: skip

        swept = self._told(
            self._recall.sweep(cells, pairs, metric, measure, plan=plan, beside=beside, under=under)
        )
        self._keep(swept.ledger)
        self.trail.mapped[pairs.sha256] = pairs
        self.trail.notes[f"sweep of {name}: " + "; ".join(_lines(str(swept.plan)))] = None
        return swept

    def _with_identity(
        self,
        cells: Sequence[Intervention],
        pairs: Pairs,
        metric: Metric,
        name: str,
        *,
        plan: Choice,
        scores: tuple[Score, ...] = (),
        under: Intervention | None = None,
    ) -> tuple[Swept, float]:
        """Run cells, plain base prompts and the identity control in the same passes.

        All of them `under` what is done to the base runs, where something is.

        Returns
        -------
        tuple of Swept and float
            And by how much the identity control moved the metric.
        """
        sample = identity_sample(pairs)
        sites = dict.fromkeys(site for cell in cells for site in cell.sites)
        beside = Beside(scores, covering(sites), frozenset(sample))
        swept = self._swept(cells, pairs, metric, name, plan=plan, beside=beside, under=under)
        before = swept.plain[0].tolist()
        return swept, numeric_floor(before, {at: float(swept.identity[at]) for at in sample})

    def _grid(
        self,
        cells: Cells,
        pairs: Pairs,
        metric: Metric,
        values: np.ndarray,
        *,
        subject: str,
        plan: object,
        before: Sequence[float] | np.ndarray | None = None,
        total: Sequence[float] | None = None,
        moved: float | None = None,
        plain: np.ndarray | None = None,
        estimated: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> SweepGrid:
        """Return what changed against the base runs, or others, as a grid.

        `moved` is by how much the identity control moved the metric, where it was run already, and
        `plain` what it moved it from, where that is not `before`.
        """
        if before is None:
            before = self._scores(metric, pairs, "base")
        if metric.normalised and total is None:
            # Of plain runs, so that all maps of a pair set are shares of the same.
            total = differences(
                self._scores(metric, pairs, "source"), self._scores(metric, pairs, "base")
            )
        scale = None if total is None else tuple(map(float, total))
        sites = covering(cells.sites)
        identity = (
            self._floor(sites, pairs, metric, scale)
            if moved is None
            else self._settled(
                moved, sites, metric, tuple(map(float, before if plain is None else plain)), scale
            )
        )
        floor = max(identity, _rounding(plan, scale))
        self.trail.counted_in[subject] = metric.unit or metric.name
        shape = tuple(map(len, cells.axes.values()))
        facts: dict[str, Any] = {
            "axes": cells.axes,
            "scale": scale,
            "units": pairs.units,
            "unit": pairs.unit,
            "pair_ids": [pair.id for pair in pairs],
            "pair_set": (pairs.name, pairs.sha256),
            "subject": subject,
            "metric": str(metric),
            "floor": floor,
            "judge": self._judge,
            "counted_in": metric.unit,
            "plan": plan,
        }
        changed = (values - np.asarray(before)[:, None]).reshape(len(pairs), *shape)
        if estimated is None:
            return SweepGrid(changed, **facts)
        guessed, exact = estimated
        return EstimatedGrid(
            changed, estimates=guessed.reshape(changed.shape), exact=exact.reshape(shape), **facts
        )


def verb_of(intervention: Edit, component: Places) -> str:
    """Return what a maker of interventions is called."""
    if isinstance(component, Mapping):
        return ""
    return getattr(intervention, "__name__", type(intervention).__name__)


def raw(metric: Metric) -> Metric:
    """Return a metric whose effects are not divided by the total effect."""
    return replace(metric, normalised=False)


def differences(
    high: Sequence[float] | np.ndarray, low: Sequence[float] | np.ndarray
) -> tuple[float, ...]:
    """Return how much more the first has, pair by pair."""
    return tuple(float(a - b) for a, b in zip(high, low, strict=True))


def _rounding(plan: object, scale: Sequence[float] | None) -> float:
    """Return how far the plan's logits are off, in units of an effect of two of them."""
    if not isinstance(plan, Plan):
        return 0.0
    total = 1.0 if scale is None else abs(math.fsum(scale)) / len(scale)
    off = (plan.difference or 0.0) * plan.largest
    return 2.0 * off / total if total else 0.0


def covering(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return few sites that hold all of these: whole components at every token."""
    found: dict[tuple[object, ...], Site] = {}
    for site in sites:
        component = site.component.removeprefix("head_")
        key = component, site.layer, site.path, site.side, site.stack, site.expert, site.call
        if key not in found:
            found[key] = replace(site, component=component, head=None, pos=None, dims=None)
    return tuple(found.values())


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
