"""Sequential measuring: effects and rates whose pairs run in looks, until a claim is settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np

from causaltest.controls import Origin
from causaltest.controls.origins import Origins
from causaltest.engine.ledger import Entry
from causaltest.engine.run import score
from causaltest.interventions import (
    FromSource,
    Intervention,
    MeanAblation,
    ResampleAblation,
)
from causaltest.interventions.base import Joint
from causaltest.measuring import Measuring
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.stats import Effect, Rate
from causaltest.stats.arriving import ArrivingEffect, ArrivingRate
from causaltest.stats.looks import Look, Stream

_LIMITED = {"probability": (0.0, 1.0), "fraction": (0.0, 1.0)}
"""Limits of what a metric counts in; an effect is the difference of two such numbers."""


class InLooks(Measuring):
    """What measures effects can measure them in looks, where that is asked for."""

    _origins: Origins

    def _at_once(self, intervention: Intervention | None, metric: Metric) -> str:
        """Say why a measurement cannot come in looks; empty where it can."""
        if metric.normalised:
            return f"{metric} is a ratio of means, for which there is no sequential procedure"
        if intervention is not None and any(map(_needs_all, intervention.parts)):
            return f"the means that {intervention} puts in are those of all pairs"
        return ""

    def _in_looks(self, intervention: Intervention | None, metric: Metric) -> bool:
        """Return whether to measure in looks; say why not, where that was asked for."""
        if not self._sequential:
            return False
        why_not = self._at_once(intervention, metric)
        if why_not:
            self._note(f"not sequential: {why_not}; all pairs were run")
        return not why_not

    def _first_look(self, pairs: Pairs) -> Pairs:
        """Return the pairs that come first, on which floor and baseline are looked at."""
        if not self._sequential:
            return pairs
        stream = self._stream(pairs, lambda _: Look(np.zeros(0)), limits=(0.0, 1.0))
        return _chosen(pairs, stream.first(self._judge().seed))

    def _arriving(
        self, origin: Origin, whole: Callable[[], Effect | Rate], *, subject: str
    ) -> Effect | Rate:
        """Return what is measured as far as its comparisons need."""
        if origin.is_rate:
            found = self._arriving_rate(
                origin.intervention, origin.pairs, origin.metric, whole, subject=subject
            )
        else:
            found = self._arriving_effect(origin, whole, subject=subject)
        self._origins.note(found, origin)
        return found

    def _arriving_effect(
        self, origin: Origin, whole: Callable[[], Effect | Rate], *, subject: str
    ) -> Effect:
        pairs, metric = origin.pairs, origin.metric
        intervention = _bound(origin.intervention, pairs)
        known: dict[tuple[int, ...], Look] = {}

        def draw(indices: tuple[int, ...]) -> Look:
            if indices not in known:
                chosen = _chosen(pairs, indices)
                base = np.array(self._scores(metric, chosen, "base"))
                after = score(self.model, intervention, chosen, metric, allow_inert=True)
                self._keep(after.ledger)
                known[indices] = Look(np.array(after.values) - base, _changed(after.ledger))
            return known[indices]

        low, high = _LIMITED.get(metric.unit, (-np.inf, np.inf))
        sites = origin.intervention.sites
        return ArrivingEffect(
            self._stream(pairs, draw, limits=(low - high, high - low)),
            cast("Callable[[], Effect]", cache(whole)),
            subject=subject,
            metric=str(metric),
            floor=self._floor(sites, self._first_look(pairs), metric, None),
            judge=self._judge,
        )

    def _arriving_rate(
        self,
        intervention: Intervention | None,
        pairs: Pairs,
        metric: Metric,
        whole: Callable[[], Effect | Rate],
        *,
        subject: str,
    ) -> Rate:
        """Return a rate that is measured as far as its comparisons need."""
        edit = None if intervention is None else _bound(intervention, pairs)
        known: dict[tuple[int, ...], Look] = {}

        def draw(indices: tuple[int, ...]) -> Look:
            if indices not in known:
                chosen = _chosen(pairs, indices)
                if edit is None:
                    known[indices] = Look(np.array(self._scores(metric, chosen, "base")))
                else:
                    after = score(self.model, edit, chosen, metric, allow_inert=True)
                    self._keep(after.ledger)
                    known[indices] = Look(np.array(after.values), _changed(after.ledger))
            return known[indices]

        return ArrivingRate(
            self._stream(pairs, draw, limits=(0.0, 1.0)),
            cast("Callable[[], Rate]", cache(whole)),
            subject=subject,
            metric=metric.name,
            judge=self._judge,
        )

    def _stream(
        self,
        pairs: Pairs,
        draw: Callable[[tuple[int, ...]], Look],
        *,
        limits: tuple[float, float],
    ) -> Stream:
        return Stream(
            draw,
            pairs.units,
            pairs.unit,
            tuple(pair.id for pair in pairs),
            (pairs.name, pairs.sha256),
            *limits,
        )


def _chosen(pairs: Pairs, indices: Sequence[int]) -> Pairs:
    """Return some pairs of a set under its name."""
    return Pairs([pairs[index] for index in indices], name=pairs.name, cluster=pairs.cluster)


def _needs_all(part: Intervention) -> bool:
    nested = part.under.parts if isinstance(part, FromSource) and part.under else ()
    return isinstance(part, MeanAblation) or any(map(_needs_all, nested))


def _bound(intervention: Intervention, pairs: Pairs) -> Intervention:
    """Let what draws from the pair set draw from all of it, whichever pairs run."""
    parts = tuple(_part_bound(part, pairs) for part in intervention.parts)
    if parts == tuple(intervention.parts):
        return intervention
    return parts[0] if len(parts) == 1 else Joint(parts_of_joint=parts)


def _part_bound(part: Intervention, pairs: Pairs) -> Intervention:
    if isinstance(part, ResampleAblation) and part.over is None:
        return replace(part, over=pairs)
    if isinstance(part, FromSource) and part.under is not None:
        return replace(part, under=_bound(part.under, pairs))
    return part


def _changed(ledger: Sequence[Entry]) -> bool:
    """Whether an edit changed something."""
    return any(entry.changed for entry in ledger)
