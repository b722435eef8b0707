"""Causal tracing: corrupt a run, then restore one place at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch

from causaltest.engine.model import Model, Output
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention, noise
from causaltest.metrics import Metric
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, embedding

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
    model: Model, corrupt: str | Intervention, pairs: Pairs, *, level: float, draws: int, seed: int
) -> Intervention:
    """Return how the base runs are corrupted.

    Parameters
    ----------
    model, pairs
        Say how large embeddings are.
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
    if not math.isfinite(level) or level <= 0:
        raise InterventionError(
            f"level is {level!r}; expected a positive multiple of the embeddings' standard "
            "deviation, e.g. 3"
        )
    site = embedding(pos=corrupt)
    read = model.read(site, [Row.of(pair, "base") for pair in pairs])[site]
    spread = float(torch.cat(read).double().std())
    if not spread > 0:
        raise InterventionError(f"{site}: embeddings do not vary, so noise has no size there")
    return noise(site, sd=level * spread, seed=seed, draws=draws)


def windows(layers: int, width: int) -> dict[int, range]:
    """Return the layers that are restored together, by the layer they are centred on.

    Raises
    ------
    InterventionError
        The width is no number from 1.

    Examples
    --------
    >>> windows(4, 1)[2], windows(4, 3)[0], windows(4, 3)[2]
    (range(2, 3), range(0, 2), range(1, 4))
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(f"window is {width!r}; expected a number of layers from 1")
    back = width // 2
    return {
        layer: range(max(0, layer - back), min(layers, layer - back + width))
        for layer in range(layers)
    }
