"""Causal tracing: corrupt a run, then restore one place at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError
from causaltest.grids import SweepGrid
from causaltest.interventions import Intervention, freeze, interchange, noise
from causaltest.metrics import Metric, as_metric, recovery
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, Site, embedding
from causaltest.sweeps.cells import ALL, Labels, cells_of
from causaltest.sweeps.mapping import Choice, Mapped, Places, Scoring, differences

Corruption = str | Intervention | None


@dataclass(frozen=True)
class ForClean:
    """A metric on swapped pairs that is asked about the pairs as they were."""

    metric: Metric

    def __call__(self, output: Output, pair: Pair, pos: Pos) -> float:
        """Score an output of the source prompt by the answers of the base prompt."""
        return cast("float", self.metric.function(output, pair.swapped(), pos))


def clean_metric(metric: Metric) -> Metric:
    """Return a metric for swapped pairs: a share is of the way back to the clean run.

    A normalised metric already speaks of base and source of the pair it is given.
    """
    return metric if metric.normalised else replace(metric, function=ForClean(metric))


def corruption(
    spread_of: Callable[[Site], float],
    corrupt: str | Intervention,
    *,
    level: float,
    draws: int,
    seed: int,
) -> Intervention:
    """Return how the base runs are corrupted.

    Parameters
    ----------
    spread_of
        Gives the standard deviation of activations at a site.
    corrupt
        A position whose token embeddings get Gaussian noise, or any intervention.
    level
        Standard deviation of the noise, as a multiple of that of the embeddings there.
    draws, seed
        As for `noise`.

    Raises
    ------
    InterventionError
        The level is not positive, or embeddings do not vary.

    Notes
    -----
    Meng et al. 2022 (arXiv 2202.05262), section 2.1: noise of three standard deviations of the
    subjects' embeddings.
    """
    if isinstance(corrupt, Intervention):
        return corrupt
    if not isinstance(corrupt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(
            f"corrupt is {corrupt!r}; expected the name of a position, an intervention such as "
            "noise(embedding(pos='subject'), sd=0.1), or None for the source prompt"
        )
    if not isinstance(level, (int, float)) or not math.isfinite(level) or level <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(
            f"level is {level!r}; expected a positive multiple of the embeddings' standard "
            "deviation, e.g. 3"
        )
    site = embedding(pos=corrupt)
    spread = spread_of(site)
    if not spread > 0:
        raise InterventionError(f"{site}: embeddings do not vary, so noise has no size there")
    return noise(site, sd=level * spread, seed=seed, draws=draws)


def spread(model: Model, site: Site, pairs: Pairs) -> float:
    """Return the standard deviation of a site's activations over the base prompts."""
    read = model.read(site, [Row.of(pair, "base") for pair in pairs])[site]
    return float(torch.cat(read).double().std())


def windows(layers: int, width: int) -> dict[int, range]:
    """Return the layers that are restored together, by the layer they are centred on.

    Raises
    ------
    InterventionError
        The width is no number from 1, or more than there are layers.

    Examples
    --------
    >>> windows(4, 1)[2], windows(4, 3)[0], windows(4, 3)[2]
    (range(2, 3), range(0, 2), range(1, 4))
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(f"window is {width!r}; expected a number of layers from 1")
    if width > layers:
        raise InterventionError(
            f"window is {width!r}, but there are {layers} layers: every window would hold them all"
        )
    back = width // 2
    return {
        layer: range(max(0, layer - back), min(layers, layer - back + width))
        for layer in range(layers)
    }


class Tracing(Mapped):
    """What measures effects can trace them."""

    def trace(
        self,
        component: Places = "block_output",
        *,
        on: Pairs,
        corrupt: Corruption = None,
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
            What is restored: a component or several, or a mapping from labels to sites.
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
        if isinstance(component, Mapping) and positions == ALL:
            positions = None  # the sites say themselves where they are
        asked = {"positions": positions, "layers": layers}
        if window != 1:
            if layers is not None:
                raise InterventionError("window= is around every layer; leave layers= out")
            asked["layers"] = windows(self.model.n_layers, window)
        if corrupt is None:
            swapped = pairs.swapped()
            cells = cells_of(self.model, component, swapped, interchange, **asked)
            inner = clean_metric(score_of)
            swept, moved = self._with_identity(
                cells.interventions, swapped, inner, cells.name, plan=plan
            )
            before, clean = swept.plain[0], self._scores(inner, swapped, "source")
            values, what = swept.values, "the source prompt"
        else:

            def spread_of(site: Site) -> float:
                def measure() -> float:
                    return spread(self.model, site, pairs)

                return self._told(self._recall.number("spread", site, pairs, measure))

            noisy = corruption(spread_of, corrupt, level=level, draws=draws, seed=seed)
            cells = cells_of(self.model, component, pairs, freeze, **asked)
            swept, moved = self._with_identity(
                cells.interventions, pairs, score_of, cells.name, plan=plan, under=noisy
            )
            values, before = swept.values, swept.plain[0]
            clean = np.asarray(self._scores(score_of, pairs, "base"))
            what = str(noisy)
            if score_of.normalised:  # it counts towards the source, the clean run is the base
                before, clean, values = -before, -clean, -values
        self.trail.notes[
            f"{what} moves {'logit_diff' if score_of is recovery else score_of} from "
            f"{_mean(clean):.3g} to {_mean(before):.3g} on average"
        ] = None
        total = differences(clean, before) if score_of.normalised else None
        return self._grid(
            cells,
            pairs,
            score_of,
            values,
            subject=f"{score_of} of restoring {cells.name} after {what}",
            plan=swept.plan,
            before=before,
            total=total,
            moved=moved,
        )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return math.fsum(values) / len(values)
