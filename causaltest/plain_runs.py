"""Runs without an edit: scores of plain prompts, and the numeric floor by the identity edit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from causaltest.cache import Recall, Recalled
from causaltest.cache.identity import precision
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.run import score_identity
from causaltest.engine.standing import standing
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.sites import Site

_IDENTITY_PAIRS = 16
_KEPT_BYTES = 64 * 1024 * 1024

Side = Literal["base", "source"]


class PlainRuns:
    """Scores of plain runs of one model, each found once.

    Parameters
    ----------
    model
        The model.
    recall
        Knows what was found in earlier sessions.
    """

    def __init__(self, model: Model, recall: Recall) -> None:
        self._model = model
        self._recall = recall
        self._found: dict[tuple[str, Metric, Side], Recalled[tuple[float, ...]]] = {}
        self._floors: dict[tuple[tuple[Site, ...], str, Metric], Recalled[float]] = {}
        self._kept: dict[tuple[str, Side], list[Output]] = {}
        self._standing: object = None

    def refresh(self) -> bool:
        """Forget what may not hold any more, before something is measured.

        Those are all numbers where the network was changed, and what functions of the caller said,
        which may depend on anything.

        Returns
        -------
        bool
            Whether numbers of another network were forgotten.
        """
        changed = False
        if self._found or self._floors or self._kept:
            now = self._now()
            if now != self._standing:
                changed = bool(self._found) and self._model.forwards_itself
                self._found, self._floors, self._kept = {}, {}, {}
            self._standing = now
        else:
            self._standing = None
        self._found = {key: each for key, each in self._found.items() if key[1].is_known}
        self._floors = {key: each for key, each in self._floors.items() if key[2].is_known}
        return changed

    def _now(self) -> object:
        """Return what is equal as long as the network is the same; it takes reading all weights."""
        if not self._model.forwards_itself:
            return object()
        return standing(self._model.network), precision(self._model)

    def _note_network(self) -> None:
        """Note of which network it is that numbers are remembered."""
        if self._standing is None:
            self._standing = self._now()

    def scores(self, metric: Metric, pairs: Pairs, side: Side) -> Recalled[tuple[float, ...]]:
        """Score the base or source prompt of every pair."""
        key = (pairs.sha256, metric, side)
        if key not in self._found:
            self._note_network()
            self._found[key] = self._recall.plain(
                metric, pairs, side, lambda: tuple(map(metric, self._outputs(pairs, side)))
            )
        return self._found[key]

    def _outputs(self, pairs: Pairs, side: Side) -> list[Output]:
        """Run prompts plainly; where outputs are small the last set's are kept for more metrics."""
        key = (repr([pairs.sha256, *(pair.id for pair in pairs)]), side)
        if key not in self._kept:
            self._note_network()
            outputs = self._model.run([Row.of(pair, side) for pair in pairs])
            size = sum(each.logits.numel() * each.logits.element_size() for each in outputs)
            if size > _KEPT_BYTES:
                return outputs
            self._kept = {known: each for known, each in self._kept.items() if known[0] == key[0]}
            self._kept[key] = outputs
        return self._kept[key]

    def floor(self, sites: tuple[Site, ...], pairs: Pairs, metric: Metric) -> Recalled[float]:
        """Return by how much the identity edit moves a metric at most, on some of the pairs."""

        def measure() -> float:
            indices = identity_sample(pairs)
            sample = [pairs[index] for index in indices]
            again = score_identity(self._model, sites, sample, metric)
            base = self.scores(metric, pairs, "base").value
            return numeric_floor(base, dict(zip(indices, again, strict=True)))

        key = (sites, pairs.sha256, metric)
        if key not in self._floors:
            self._note_network()
            self._floors[key] = self._recall.floor(sites, pairs, metric, measure)
        return self._floors[key]


def identity_sample(pairs: Pairs) -> range:
    """Return the indices of the pairs on which the identity edit is run."""
    return range(0, len(pairs), max(1, math.ceil(len(pairs) / _IDENTITY_PAIRS)))


def numeric_floor(base: Sequence[float], identity: Mapping[int, float]) -> float:
    """Return the numeric floor of a metric: what the identity edit moves, and rounding at least.

    Parameters
    ----------
    base
        The metric of plain base runs, by pair.
    identity
        The metric of some of them under the identity edit.

    Examples
    --------
    >>> numeric_floor([2.0, 4.0], {1: 4.5})
    0.5
    """
    moved = max(abs(again - base[index]) for index, again in identity.items())
    return max(moved, 1e-6 * math.fsum(map(abs, base)) / len(base))
