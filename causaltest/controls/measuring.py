"""The control measurements of a causal: one call each."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar, cast

import numpy as np

from causaltest.circuits import Circuit
from causaltest.controls.origins import CircuitOrigin, Origin, Origins
from causaltest.controls.pairings import same_answer_sources, shuffled_sources
from causaltest.controls.placebos import Vary, moved, placebos, respect
from causaltest.engine.apply import random_stream
from causaltest.engine.run import score_identity
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.measuring import Measuring
from causaltest.pairs import Pairs
from causaltest.sites import Pos, Site
from causaltest.stats import Effect, Rate
from causaltest.stats.controls import Controls, Test

Either = TypeVar("Either", Effect, Rate)
"""An effect has effects as controls, a rate has rates."""


class Controlled(Measuring):
    """What measures effects can measure their controls: the same, but for one respect."""

    _origins: Origins

    @abstractmethod
    def _measured(self, origin: Origin) -> Effect | Rate:
        """Measure what an intervention does, as an effect or as a rate."""

    @abstractmethod
    def _changes(self, origin: Origin, after: Sequence[float], subject: str) -> Effect | Rate:
        """Return what changed against the base runs, or the share of successes; note its origin."""

    def controls(
        self,
        effect: Effect | Rate,
        k: int = 39,
        *,
        vary: Vary | None = None,
        among: Iterable[Site] | None = None,
        seed: int = 0,
        test: Test | None = None,
    ) -> Controls:
        """Measure k placebos of an effect, so that `effect > controls` says it beats them.

        Parameters
        ----------
        effect, k, vary, among, seed
            As for `placebos`; or a circuit's faithfulness or necessity, whose controls are random
            circuits of the same size among the sites it was scored among, which may share
            components with it. A family of m hypotheses asks for m times 39 controls, or for
            `test="prediction"`.
        test
            `rank`, or `prediction` for few controls whose effects are roughly normal.

        Returns
        -------
        Controls
            `effect > controls` is supported where the effect outranks the controls and exceeds
            their mean pair by pair.

        Raises
        ------
        InterventionError
            There are fewer than k such places, or the effect was measured otherwise.
        EvidenceError
            k is below 5.
        """
        origin = self._origins.any_of(effect)
        if isinstance(origin, CircuitOrigin):
            if vary is not None or among is not None:
                raise InterventionError(
                    f"{effect.subject} is the score of a circuit: its controls are random circuits "
                    "of the same size\nleave out vary= and among=; the score's own among= says "
                    "which sites there are"
                )
            circuits = _random_circuits(origin, k, seed)
            kind = "random circuits of the same size"
            return Controls([origin.score_of(each) for each in circuits], kind=kind, test=test)
        kind = "placebo sites" if among is not None else _kind(vary, origin)
        found = self._placebos(origin, k, vary=vary, among=among, seed=seed)
        return Controls(found, kind=kind, test=test)

    def placebos(
        self,
        effect: Either,
        k: int = 39,
        *,
        vary: Vary | None = None,
        among: Iterable[Site] | None = None,
        seed: int = 0,
    ) -> tuple[Either, ...]:
        """Measure the intervention of an effect at k matched places instead.

        Parameters
        ----------
        effect
            What `effect()`, or `accuracy()` under an intervention, of this causal measured.
        k
            How many; 39 is the fewest at which a rank test reaches .025.
        vary
            What differs: `site` (other layers and heads of the same component, other dims),
            `layer`, `head`, `position`, or `direction` (vectors of the same norm). By default
            `direction` for `add` and `subtract`, else `site`.
        among
            Sites to draw from instead; the tested ones are left out.
        seed
            Root of the draw, which is the same in every run.

        Returns
        -------
        tuple of Effect, or of Rate
            On the same pairs and with the same metric. Places where nothing changes (base and
            source agree there) are no match for one where something does, and are passed over.

        Raises
        ------
        InterventionError
            There are fewer than k such places, or the effect was measured otherwise.
        """
        origin = self._origins.of(effect, control="placebos")
        found = self._placebos(origin, k, vary=vary, among=among, seed=seed)
        return cast("tuple[Either, ...]", found)

    def _placebos(
        self,
        origin: Origin,
        k: int,
        *,
        vary: Vary | None,
        among: Iterable[Site] | None,
        seed: int,
    ) -> tuple[Effect | Rate, ...]:
        _check_number(k)
        drawn, count = placebos(
            self.model, origin.intervention, origin.pairs, vary=vary, among=among, seed=seed
        )
        found: list[Effect | Rate] = []
        inert = 0
        # Refused before anything runs where there cannot be enough.
        for each in drawn if count >= k else ():
            after = self._score(each, origin.pairs, origin.metric, allow_inert=True)
            if not any(entry.changed for entry in after.ledger):
                inert += 1
                continue
            self._keep(after.ledger)
            there = replace(origin, intervention=each)
            found.append(self._changes(there, after.values, origin.subject(each)))
            if len(found) == k:
                return tuple(found)
        raise InterventionError(_too_few(k, count, inert, origin.intervention))

    def identity(self, effect: Either) -> Either:
        """Measure the effect's sites replaced by their own activations.

        An effect is then 0 but for noise, and a rate that of the plain run.

        Raises
        ------
        InterventionError
            The effect was measured otherwise.
        """
        origin = self._origins.of(effect, control="identity")
        sites = origin.intervention.sites
        after = score_identity(self.model, sites, list(origin.pairs), origin.metric)
        shown = ", ".join(map(str, sites[:3]))
        found = self._changes(origin, after, origin.subject(f"identity({shown})"))
        return cast("Either", found)

    def moved(
        self,
        effect: Either,
        *,
        layer: int | None = None,
        head: int | None = None,
        pos: Pos = None,
    ) -> Either:
        """Measure the intervention of an effect at the wrong layer, head or position.

        Raises
        ------
        InterventionError
            Nothing is named, it is the tested place, or nothing changes there.
        SiteError
            The model has no such place.
        """
        origin = self._origins.of(effect, control="moved")
        there = moved(origin.intervention, layer=layer, head=head, pos=pos)
        return cast("Either", self._measured(replace(origin, intervention=there)))

    def same_answer(self, effect: Either, *, seed: int = 0) -> Either:
        """Measure an interchange whose sources have the base's own answer: damage, not transfer.

        Returns
        -------
        Effect, or Rate
            On the effect's own pairs and scale, so that the two compare.

        Raises
        ------
        InterventionError, PairError
            The intervention reads no source, or a pair has no match.
        """
        origin = self._origins.of(effect, control="same_answer")
        pairs = same_answer_sources(self.model, origin.intervention, origin.pairs, seed=seed)
        return cast("Either", self._from_sources(origin, pairs, "same-answer sources"))

    def shuffled(self, effect: Either, *, seed: int = 0) -> Either:
        """Measure an interchange with the sources of other pairs, drawn at random.

        Returns
        -------
        Effect, or Rate
            On the effect's own pairs and scale, so that the two compare.

        Raises
        ------
        InterventionError, PairError
            The intervention reads no source, or a pair has no match.
        """
        origin = self._origins.of(effect, control="shuffled")
        pairs = shuffled_sources(self.model, origin.intervention, origin.pairs, seed=seed)
        return cast("Either", self._from_sources(origin, pairs, "shuffled sources"))

    def on_task(self, effect: Either, other: Pairs) -> Either:
        """Measure an effect, a rate or a circuit's score on an unrelated task, another pair set.

        Raises
        ------
        InterventionError, SiteError, PairError, MetricError
            As for `effect`; positions that the sites name must exist in the other set.
        """
        origin = self._origins.any_of(effect)
        if isinstance(other, Pairs) and other.sha256 == origin.pairs.sha256:
            raise PairError(
                f"{other.name} is the pair set of the effect itself; an unrelated task is another"
            )
        if isinstance(origin, CircuitOrigin):
            return cast("Either", origin.score_on(other))
        return cast("Either", self._measured(replace(origin, pairs=other)))

    def _from_sources(self, origin: Origin, exchanged: Pairs, what: str) -> Effect | Rate:
        after = self._run(origin.intervention, exchanged, origin.metric)
        subject = origin.subject(f"{origin.intervention} from {what}")
        return self._changes(origin, after.values, subject)


def _check_number(k: object) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InterventionError(f"k is {k!r}; expected a number of controls from 1")


def _random_circuits(origin: CircuitOrigin, k: int, seed: int) -> list[Circuit]:
    """Draw different circuits of the same size, the tested one left out."""
    _check_number(k)
    size, sites = len(origin.circuit), origin.among.sites
    there_are = math.comb(len(sites), size) - 1
    if there_are < k:
        raise InterventionError(
            f"{k} controls were asked for, but there are {there_are} other circuits of {size} "
            f"among {len(sites)} sites\nask for fewer with k=, or score the circuit among more "
            "sites"
        )
    stream = random_stream("circuits", seed, origin.circuit, origin.among, origin.pairs.sha256)
    return list(islice(_different(origin, stream), k))


def _different(origin: CircuitOrigin, stream: np.random.Generator) -> Iterator[Circuit]:
    seen = {origin.circuit}
    sites = origin.among.sites
    while True:
        chosen = stream.choice(len(sites), size=len(origin.circuit), replace=False)
        circuit = Circuit(*(sites[index] for index in chosen))
        if circuit not in seen:
            seen.add(circuit)
            yield circuit


def _kind(vary: Vary | None, origin: Origin) -> str:
    vary = respect(vary, origin.intervention)
    return "random directions of the same norm" if vary == "direction" else f"random {vary}s"


def _too_few(k: int, count: int, inert: int, intervention: Intervention) -> str:
    places = "1 other place" if count == 1 else f"{count} other places"
    left = f", and at {inert} of them nothing changes" if inert else ""
    return (
        f"{k} controls were asked for, but {intervention} has {places} of its kind{left}\n"
        "ask for fewer with k=, vary something else (site, layer, head, position), or name the "
        "sites: among=[...]"
    )
