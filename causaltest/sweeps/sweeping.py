"""The sweeps of a causal: one call each, a grid of effects as the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from causaltest.controls.pairings import same_answer_sources
from causaltest.errors import InterventionError
from causaltest.grids import SweepGrid
from causaltest.interventions import Interchange, interchange
from causaltest.metrics import Metric, as_metric, correctness, logit_diff
from causaltest.pairs import Pairs
from causaltest.sites import Site
from causaltest.stats import Effect
from causaltest.sweeps import placebos
from causaltest.sweeps.cells import Cells, Edit, Labels, cells_of
from causaltest.sweeps.estimating import Estimating
from causaltest.sweeps.mapping import Choice, Places, Scoring, verb_of
from causaltest.sweeps.paths import Receivers, senders_of
from causaltest.sweeps.tracing import Tracing


class Sweeping(Tracing, Estimating):
    """What measures effects can measure maps of them."""

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
            Measure a placebo instead, for `grid.against(placebo)`. `source`: the same edits from
            sources that have the base's own answer, drawn afresh for each pair; 0 where the edit
            itself changes nothing, since base and source agree up to there. Or at other places
            drawn afresh: `pos` other tokens, `layer` or `head` others of the map; these are
            weaker, since places differ in how much they respond to anything.
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
        >>> from causaltest import Causal, Pair, Pairs, module, recovery
        >>> _ = torch.manual_seed(0)
        >>> toy = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
        >>> pairs = Pairs(
        ...     [Pair((i,), (i + 1,), base_answer=i, source_answer=i + 1) for i in range(8)],
        ...     name="neighbours",
        ...     cluster=None,
        ... )
        >>> cells = {"embedding": module("0"), "answer": module("1")}
        >>> Causal(toy).sweep(cells, on=pairs, metric=recovery).estimate.round(3)
        array([1., 1.])
        """
        score_of = as_metric(metric)
        # The sweep's own base runs tell how well the model does the task.
        pairs = self._check_pairs(on, at=score_of.position, gate=True)
        given = {"layers": layers, "heads": heads, "positions": positions, "dims": dims}
        cells = cells_of(self.model, component, pairs, intervention, **given)
        if placebo == "pos":
            self._note_weak_baseline(pairs, score_of.position)
            return self._at_other_tokens(
                component,
                pairs,
                metric=score_of,
                intervention=intervention,
                given=given,
                seed=seed,
                plan=plan,
            )
        given_to = pairs
        if placebo == "source":
            every = Interchange(cells.sites)
            for edit in cells.interventions:
                if not edit.needs_source:
                    raise InterventionError(
                        f"{edit} takes nothing from a source, so placebo='source' changes nothing; "
                        "say placebo='pos', 'layer' or 'head'"
                    )
            given_to = same_answer_sources(self.model, every, pairs, seed=seed)
        if placebo is None:
            return self._map(cells, pairs, score_of, verb_of(intervention, component), plan)
        self._note_weak_baseline(pairs, score_of.position)
        swept = self._swept(cells.interventions, given_to, score_of, cells.name, plan=plan)
        values = swept.values
        subject = f"{score_of} of {verb_of(intervention, component)}({cells.name})"
        if placebo == "source":
            subject += " from sources of the same answer"
            before = self._scores(score_of, pairs, "base")

            def looks_back() -> float:
                return float(placebos.looks_back(self.model, pairs))

            if self._recall.number("looks back", None, pairs, looks_back).value:
                values = placebos.inert_alike(
                    self.model, cells.interventions, pairs, score_of, values=values, before=before
                )
        else:
            values = placebos.along(values, cells.axes, placebo, pairs, seed)
            subject = f"{score_of} of other {placebo}s than {cells.name}"
        return self._grid(cells, pairs, score_of, values, subject=subject, plan=swept.plan)

    def _map(
        self, cells: Cells, pairs: Pairs, metric: Metric, verb: str, plan: Choice
    ) -> SweepGrid:
        """Run cells, plain base prompts and the identity control in the same passes."""
        right = correctness("base_answer", at=metric.position)
        swept, moved = self._with_identity(
            cells.interventions, pairs, metric, cells.name, plan=plan, scores=(right,)
        )
        before, correct = swept.plain
        if not np.isnan(correct).any():
            self._find_weak_baseline(pairs, correct.tolist())
        subject = f"{metric} of {verb}({cells.name})"
        return self._grid(
            cells, pairs, metric, swept.values,
            subject=subject, plan=swept.plan, before=before, moved=moved,
        )  # fmt: skip

    def path(
        self,
        senders: Site | Iterable[Site],
        receivers: Receivers,
        *,
        on: Pairs,
        metric: Scoring = logit_diff,
        through: Site | Iterable[Site] = (),
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
        edit = self.paths_to(receivers, through=through)(*senders_of(senders))
        return self.effect(edit, on=on, metric=metric)

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
            cells.interventions, elsewhere, metric, f"placebos of {asked.name}", plan=plan
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
