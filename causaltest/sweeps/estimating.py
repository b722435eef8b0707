"""Estimates of many effects at once, with the strongest computed exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causaltest.engine.sweeps.keeping import packed, unpacked
from causaltest.errors import InterventionError
from causaltest.fitted import Chosen
from causaltest.grids import EstimatedGrid
from causaltest.interventions import interchange
from causaltest.metrics import as_metric, logit_diff
from causaltest.pairs import Pairs
from causaltest.progress import progress
from causaltest.sweeps import edges, estimates
from causaltest.sweeps.cells import Edit, Labels, cells_of
from causaltest.sweeps.components import Edge
from causaltest.sweeps.graphs import EdgeScores
from causaltest.sweeps.mapping import Choice, Mapped, Places, Scoring, raw, verb_of


@dataclass(frozen=True)
class _Edges:
    """Estimates of edges as they are kept."""

    edges: tuple[Edge, ...]
    values: bytes


class Estimating(Mapped):
    """What measures effects can estimate them by gradients."""

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
        _check_count(verify, "cells")

        def estimate() -> bytes:
            with progress(f"attribution of {cells.name}") as advance:
                return packed(
                    estimates.estimate(
                        self.model, edits, pairs, score_of, steps=steps, progress=advance
                    )
                )

        kept = self._told(
            self._recall.record(
                "attribution", bytes, estimate,
                pairs=pairs, metric=score_of, edits=edits, settings=[steps],
            )
        )  # fmt: skip
        guessed = unpacked(kept, (len(pairs), len(edits)))
        order = np.argsort(-np.abs(guessed.mean(axis=0)), kind="stable")[:verify]
        exact = np.zeros(len(edits), dtype=bool)
        values, made, moved, plain = guessed.copy(), None, 0.0, None
        if len(order):
            chosen = np.sort(order)
            swept, moved = self._with_identity(
                [edits[i] for i in chosen], pairs, score_of, cells.name, plan=plan
            )
            plain, made = swept.plain[0], swept.plan
            values[:, chosen] = swept.values - plain[:, None]
            exact[chosen] = True
        way = "attribution" if steps == 1 else f"integrated gradients, {steps} steps"
        subject = f"{score_of} of {verb_of(intervention, component)}({cells.name}), {way}"
        grid = self._grid(
            cells,
            pairs,
            score_of,
            values,
            subject=subject,
            plan=made,
            before=np.zeros(len(pairs)),
            moved=moved,
            plain=plain,
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
            How many of the strongest edges to compute exactly, by path patching; all where there
            are fewer.

        Returns
        -------
        EdgeScores
            Scores by edge and pair; `.table(20)`, `.top(20)`, `.to_pandas()`,
            `.save("edges.json")`.

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

        _check_count(verify, "edges")

        def score() -> _Edges:
            with progress("edge attribution") as advance:
                found, values = edges.score_edges(
                    self.model, pairs, score_of, steps=steps, progress=advance
                )
            return _Edges(found, packed(values))

        kept = self._told(
            self._recall.record(
                "edge attribution", _Edges, score, pairs=pairs, metric=score_of, settings=[steps]
            )
        )
        found = EdgeScores(
            kept.edges,
            unpacked(kept.values, (len(pairs), len(kept.edges))),
            self.model.name,
            str(score_of),
            steps,
            (pairs.name, pairs.sha256),
            tuple(pair.id for pair in pairs),
            chosen_on=Chosen.of(pairs, self._ids),
        )
        if verify:
            strongest = found.top(min(verify, len(found.edges)))
            paths = [self.paths_to(edge.receiver_site)(edge.sender_site) for edge in strongest]
            swept = self._swept(paths, pairs, raw(score_of), "the strongest edges", plan="auto")
            exact = swept.values - np.array(self._scores(raw(score_of), pairs, "base"))[:, None]
            names = [edge.name for edge in strongest]
            found = found.with_exact(dict(zip(names, exact.T, strict=True)))
        self.trail.notes[f"{found}: estimates by gradients, no evidence for a claim"] = None
        return found


def _check_count(verify: object, what: str) -> None:
    if isinstance(verify, bool) or not isinstance(verify, int) or verify < 0:
        raise InterventionError(f"verify is {verify!r}; expected a number of {what} from 0")
