"""The sweeps of a causal: one call each, a grid of effects as the result."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from causaltest.engine.ledger import Entry
from causaltest.engine.model import Model, Output
from causaltest.engine.sweeps import Swept
from causaltest.engine.sweeps import sweep as run_sweep
from causaltest.errors import InterventionError
from causaltest.grids import EstimatedGrid, SweepGrid
from causaltest.interventions import Intervention, freeze, interchange
from causaltest.metrics import Metric, as_metric, logit_diff, recovery
from causaltest.pairs import Pair, Pairs
from causaltest.progress import progress
from causaltest.sites import END, Pos, Site
from causaltest.stats import Effect, Judge
from causaltest.sweeps import edges, estimates, paths, placebos, tracing
from causaltest.sweeps.cells import Cells, Component, Edit, Labels, cells_of
from causaltest.sweeps.graphs import EdgeScores

Choice = Literal["auto", "growing", "batched", "loop"]
Scoring = Metric | Callable[[Output, Pair], Any]
Places = Component | Iterable[Component] | Mapping[Any, Any]


class Sweeping(ABC):
    """What measures effects can measure maps of them."""

    model: Model
    trail: Any
    _judge: Callable[[], Judge]

    @abstractmethod
    def effect(self, intervention: Intervention, *, on: Pairs, metric: Scoring) -> Effect:
        """Measure what an intervention does to a metric."""

    @abstractmethod
    def _check_pairs(self, on: Pairs, *, at: Pos = END, gate: bool = False) -> Pairs:
        """Refuse what is no pair set, and note it."""

    @abstractmethod
    def _keep(self, ledger: Iterable[Entry]) -> None:
        """Add edits to what is reported."""

    @abstractmethod
    def _scores(
        self, metric: Metric, pairs: Pairs, side: Literal["base", "source"]
    ) -> tuple[float, ...]:
        """Score plain runs."""

    @abstractmethod
    def _floor(
        self,
        sites: tuple[Site, ...],
        pairs: Pairs,
        metric: Metric,
        total: tuple[float, ...] | None,
    ) -> float:
        """Measure the numeric floor, in units of the effect."""

    @abstractmethod
    def _run(self, intervention: Intervention, pairs: Pairs, metric: Metric) -> Any:
        """Score an intervention and keep its ledger."""

    def sweep(
        self,
        component: Places,
        *,
        on: Pairs,
        layers: Labels = None,
        heads: Labels = None,
        positions: Labels = None,
        dims: Labels = None,
        metric: Scoring = logit_diff,
        intervention: Edit = interchange,
        placebo: placebos.Vary | None = None,
        seed: int = 0,
        plan: Choice = "auto",
    ) -> SweepGrid:
        """Measure the effect of an intervention at every place of a map.

        Each of `layers`, `heads`, `positions` and `dims` that is given as several values is an
        axis of the grid (`layer`, `head`, `pos`, `dims`); one bare value holds for all cells.
        Several values in one entry, `layers=[(0, 1), (2, 3)]`, are edited together.

        Parameters
        ----------
        component
            A component, `block_output` or its name; several, which become the axis `component`; or
            a mapping from labels to interventions or sites, which become the axis `cell`.
        on
            The pairs.
        layers
            None for all.
        heads
            None for all, of a component that has heads.
        positions
            Positions as on a site; None edits every token at once, `"all"` each token by itself,
            where all prompts have equally many.
        dims
            Neurons or groups of them: `dims=range(64)`, `dims=[range(0, 32), range(32, 64)]`.
        metric
            As for `effect`.
        intervention
            Makes the edit of one or more sites: `interchange`, `zero_ablate`, `mean_ablate`, a
            function of sites, or `causal.paths_to(...)`.
        placebo
            Measure a placebo instead, for `grid.against(placebo)`: the same edits at places drawn
            afresh for each pair; `pos`: at other tokens, `layer` or `head`: at others of the map.
        seed
            Root of the placebo's draw.
        plan
            How to compute it; the numbers are the same.

        Returns
        -------
        SweepGrid
            What `effect` gives, for every cell: claim `grid.mean_over(...)`, `grid.every(...)`,
            `grid.localised(...)` or `grid.largest`.

        Raises
        ------
        InterventionError
            No cell changes anything, an edit does not fit, or the identity edit is not exact.
        SiteError, PairError, MetricError
            As for `effect`; or prompts differ in length where all positions are asked for.

        Examples
        --------
        >>> import torch
        >>> from causaltest.experiment import Causal
        >>> _ = torch.manual_seed(0)
        >>> toy = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
        >>> pairs = Pairs(
        ...     [Pair((i,), (i + 1,), base_answer=i, source_answer=i + 1) for i in range(8)],
        ...     name="neighbours",
        ...     cluster=None,
        ... )
        >>> from causaltest.sites import module
        >>> cells = {"embedding": module("0"), "answer": module("1")}
        >>> Causal(toy).sweep(cells, on=pairs, metric=recovery).estimate
        array([1., 1.])
        """
        score_of = as_metric(metric)
        pairs = self._check_pairs(on, at=score_of.position)
        given = {"layers": layers, "heads": heads, "positions": positions, "dims": dims}
        cells = cells_of(self.model, component, pairs, intervention, **given)
        if placebo == "pos":
            return self._at_other_tokens(
                component,
                pairs,
                metric=score_of,
                intervention=intervention,
                given=given,
                seed=seed,
                plan=plan,
            )
        swept = self._swept(cells.interventions, pairs, score_of, cells.name, plan)
        values = swept.values
        subject = f"{score_of} of {_verb(intervention, component)}({cells.name})"
        if placebo is not None:
            values = placebos.along(values, cells.axes, placebo, pairs, seed)
            subject = f"{score_of} of other {placebo}s than {cells.name}"
        return self._grid(cells, pairs, score_of, values, subject=subject, plan=swept.plan)

    def trace(
        self,
        component: Places = "block_output",
        *,
        on: Pairs,
        corrupt: tracing.Corruption = None,
        layers: Labels = None,
        positions: Labels = "all",
        window: int = 1,
        level: float = 3.0,
        draws: int = 10,
        seed: int = 0,
        metric: Scoring = recovery,
        plan: Choice = "auto",
    ) -> SweepGrid:
        """Corrupt a run, restore one place of it at a time, and measure how much comes back.

        Parameters
        ----------
        component
            What is restored: a component or several.
        on
            The pairs; their base prompts are the clean runs.
        corrupt
            None takes the source prompt for the corrupted run. The name of a position adds noise
            to the token embeddings there, in the base prompt; so does any intervention.
        layers, positions
            As for `sweep`.
        window
            How many layers are restored together, around each.
        level, draws, seed
            Size of the noise as a multiple of the embeddings' standard deviation, and its random
            draws, which are averaged within each pair.
        metric
            `recovery`: the share of what the corruption took, 0 as in the corrupted run and 1 as in
            the clean one. Any other: what comes back, in its own unit.
        plan
            As for `sweep`.

        Returns
        -------
        SweepGrid

        Raises
        ------
        InterventionError, SiteError, PairError, MetricError
            As for `sweep`.

        Notes
        -----
        Meng et al. 2022 (arXiv 2202.05262), section 2.1: the (average) indirect effect of each
        state. Windows as in its figure 2, for MLPs and attention.
        """
        score_of = as_metric(metric)
        pairs = self._check_pairs(on, at=score_of.position)
        asked = {"positions": positions, "layers": layers}
        if window != 1:
            if layers is not None:
                raise InterventionError("window= is around every layer; leave layers= out")
            asked["layers"] = tracing.windows(self.model.n_layers, window)
        if corrupt is None:
            swapped = pairs.swapped()
            cells = cells_of(self.model, component, swapped, interchange, **asked)
            inner = tracing.clean_metric(score_of)
            swept = self._swept(cells.interventions, swapped, inner, cells.name, plan)
            before, clean = (self._scores(inner, swapped, side) for side in ("base", "source"))
            values, what = swept.values, "the source prompt"
        else:
            noisy = tracing.corruption(
                self.model, corrupt, pairs, level=level, draws=draws, seed=seed
            )
            cells = cells_of(self.model, component, pairs, freeze, **asked)
            both = [noisy + restored for restored in cells.interventions]
            swept = self._swept(both, pairs, score_of, cells.name, plan)
            before = self._run(noisy, pairs, score_of).values
            clean = self._scores(score_of, pairs, "base")
            values, what = swept.values, str(noisy)
            if score_of.normalised:  # it counts towards the source, the clean run is the base
                before, clean, values = _negated(before), _negated(clean), -values
        self.trail.notes[
            f"{what} moves {'logit_diff' if score_of is recovery else score_of} from "
            f"{_mean(clean):.3g} to {_mean(before):.3g} on average"
        ] = None
        total = _differences(clean, before) if score_of.normalised else None
        return self._grid(
            cells,
            pairs,
            score_of,
            values,
            subject=f"{score_of} of restoring {cells.name} after {what}",
            plan=swept.plan,
            before=before,
            total=total,
        )

    def paths_to(self, receivers: paths.Receivers, *, through: Iterable[Site] = ()) -> paths.PathTo:
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
            A receiver is no component.

        Notes
        -----
        Goldowsky-Dill et al. 2023 (arXiv 2304.05969), section 3; Wang et al. 2022 (arXiv
        2211.00593), appendix B: everything that writes to the residual stream is held at the base
        run, senders at the source run; what the receivers then are is put into a base run.
        """
        return paths.paths_to(self.model, receivers, through)

    def path(
        self,
        senders: Site | Iterable[Site],
        receivers: paths.Receivers,
        *,
        on: Pairs,
        metric: Scoring = logit_diff,
        through: Iterable[Site] = (),
    ) -> Effect:
        """Measure what senders do through receivers alone, all other paths held fixed.

        Parameters
        ----------
        senders
            Sites that take the source run's activation.
        receivers, through
            As for `paths_to`.
        on, metric
            As for `effect`.

        Returns
        -------
        Effect

        Raises
        ------
        InterventionError
            No path leads from the senders to the receivers; or as for `effect`.
        """
        sites = (senders,) if isinstance(senders, Site) else tuple(senders)
        if not sites:
            raise InterventionError("a path needs at least one sender")
        edit = self.paths_to(receivers, through=through)(*sites)
        return self.effect(edit, on=on, metric=metric)

    def attribution(
        self,
        component: Places,
        *,
        on: Pairs,
        layers: Labels = None,
        heads: Labels = None,
        positions: Labels = None,
        dims: Labels = None,
        metric: Scoring = logit_diff,
        intervention: Edit = interchange,
        steps: int = 1,
        verify: int = 10,
        plan: Choice = "auto",
    ) -> EstimatedGrid:
        """Estimate a sweep by gradients, and compute its strongest cells exactly.

        Parameters
        ----------
        component, on, layers, heads, positions, dims, intervention, plan
            As for `sweep`.
        metric
            One that gives tensors, as the metrics of causaltest do.
        steps
            1 is attribution patching; more average gradients over that many inputs between source
            and base (integrated gradients), for prompts of equal length.
        verify
            How many of the strongest cells to compute exactly.

        Returns
        -------
        EstimatedGrid
            To choose cells with; only its exact cells can be claimed. `grid.verification` says how
            good the estimates are there.

        Raises
        ------
        MetricError
            The metric has no gradient.
        InterventionError, SiteError, PairError
            As for `sweep`.

        Notes
        -----
        Syed et al. 2023 (arXiv 2310.10348), equation 1; Hanna et al. 2024 (arXiv 2403.17806),
        equation 3.
        """
        score_of = as_metric(metric)
        pairs = self._check_pairs(on, at=score_of.position)
        given = {"layers": layers, "heads": heads, "positions": positions, "dims": dims}
        cells = cells_of(self.model, component, pairs, intervention, **given)
        edits = cells.interventions
        if isinstance(verify, bool) or not isinstance(verify, int) or verify < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(f"verify is {verify!r}; expected a number of cells from 0")
        with progress(f"attribution of {cells.name}") as advance:
            guessed = estimates.estimate(
                self.model, edits, pairs, score_of, steps=steps, progress=advance
            )
        order = np.argsort(-np.abs(guessed.mean(axis=0)), kind="stable")[:verify]
        exact = np.zeros(len(edits), dtype=bool)
        values, made = guessed.copy(), None
        if len(order):
            chosen = np.sort(order)
            swept = self._swept([edits[i] for i in chosen], pairs, score_of, cells.name, plan)
            base = np.array(self._scores(score_of, pairs, "base"))
            values[:, chosen] = swept.values - base[:, None]
            exact[chosen] = True
            made = swept.plan
        way = "attribution" if steps == 1 else f"integrated gradients, {steps} steps"
        subject = f"{score_of} of {_verb(intervention, component)}({cells.name}), {way}"
        grid = self._grid(
            cells,
            pairs,
            score_of,
            values,
            subject=subject,
            plan=made,
            before=np.zeros(len(pairs)),
            estimated=(guessed, exact),
        )
        assert isinstance(grid, EstimatedGrid)
        self.trail.notes[f"{subject}: gradient estimates; {grid.verification}"] = None
        return grid

    def edge_attribution(
        self,
        *,
        on: Pairs,
        metric: Scoring = logit_diff,
        steps: int = 1,
        verify: int = 0,
    ) -> EdgeScores:
        """Estimate the effect of every edge between components of the network.

        Parameters
        ----------
        on
            Pairs of prompts of equal length.
        metric
            One that gives tensors.
        steps
            1 is edge attribution patching (EAP); more is EAP-IG, with inputs.
        verify
            How many of the strongest edges to compute exactly, by path patching.

        Returns
        -------
        EdgeScores
            Scores by edge and pair; `.top(20)`, `.to_pandas()`, `.save("edges.json")`.

        Raises
        ------
        ModelError
            The residual stream is no sum of what heads and MLPs write.
        MetricError, PairError
            As for `attribution`.

        Notes
        -----
        Syed et al. 2023 (arXiv 2310.10348); Hanna et al. 2024 (arXiv 2403.17806), equation 3.
        """
        score_of = as_metric(metric)
        pairs = self._check_pairs(on, at=score_of.position)
        with progress("edge attribution") as advance:
            found = edges.score_edges(self.model, pairs, score_of, steps=steps, progress=advance)
        if verify:
            strongest = found.top(verify)
            base = np.array(self._scores(_raw(score_of), pairs, "base"))
            exact: dict[str, np.ndarray] = {}
            for edge in strongest:
                edit = self.paths_to(edge.receiver_site)(edge.sender_site)
                exact[edge.name] = np.array(self._run(edit, pairs, _raw(score_of)).values) - base
            found = found.with_exact(exact)
        self.trail.notes[f"{found}: estimates by gradients, no evidence for a claim"] = None
        return found

    # What follows serves the methods above

    def _swept(
        self,
        cells: Sequence[Intervention],
        pairs: Pairs,
        metric: Metric,
        name: str,
        plan: Choice,
    ) -> Swept:
        with progress(f"sweep of {name}") as advance:
            swept = run_sweep(self.model, cells, pairs, metric, plan=plan, progress=advance)
        self._keep(swept.ledger)
        self.trail.notes[f"sweep of {name}: " + "; ".join(_lines(str(swept.plan)))] = None
        return swept

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
        estimated: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> SweepGrid:
        """Return what changed against the base runs, or others, as a grid."""
        if before is None:
            before = self._scores(metric, pairs, "base")
        if metric.normalised and total is None:
            total = _differences(
                self._scores(metric, pairs, "source"), self._scores(metric, pairs, "base")
            )
        scale = None if total is None else tuple(map(float, total))
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
            "floor": self._floor(_covering(cells.sites), pairs, metric, scale),
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

    def _at_other_tokens(
        self,
        component: Places,
        pairs: Pairs,
        *,
        metric: Metric,
        intervention: Edit,
        given: Mapping[str, Labels],
        seed: int,
        plan: Choice,
    ) -> SweepGrid:
        """Measure a sweep with each position drawn anew for each pair, under the same labels."""
        asked = cells_of(self.model, component, pairs, intervention, **given)
        if "pos" not in asked.axes:
            raise InterventionError(
                "placebo='pos' draws other tokens than positions=; say several positions= to sweep"
            )
        labels = dict.fromkeys(asked.axes["pos"])
        swept_at = given["positions"]
        values = list(swept_at.values()) if isinstance(swept_at, Mapping) else None
        if values is None:
            values = list(labels) if swept_at == "all" else list(swept_at)  # pyright: ignore[reportArgumentType]
        elsewhere, names = placebos.at_other_tokens(
            self.model, pairs, dict(zip(labels, values, strict=True)), seed
        )
        cells = cells_of(
            self.model, component, elsewhere, intervention, **{**given, "positions": names}
        )
        swept = self._swept(
            cells.interventions, elsewhere, metric, f"placebos of {asked.name}", plan
        )
        subject = f"{metric} of other tokens than those of {asked.name}"
        return self._grid(
            replace(cells, axes=asked.axes),
            elsewhere,
            metric,
            swept.values,
            subject=subject,
            plan=swept.plan,
        )


def _verb(intervention: Edit, component: Places) -> str:
    if isinstance(component, Mapping):
        return ""
    return getattr(intervention, "__name__", type(intervention).__name__)


def _raw(metric: Metric) -> Metric:
    """Return a metric whose effects are not divided by the total effect."""
    return replace(metric, normalised=False)


def _covering(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return few sites that hold all of these: whole components at every token."""
    whole = (
        replace(
            site, component=site.component.removeprefix("head_"), head=None, pos=None, dims=None
        )
        for site in sites
    )
    return tuple(dict.fromkeys(whole))


def _differences(high: Sequence[float], low: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(high, low, strict=True))


def _negated(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(-value for value in values)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
