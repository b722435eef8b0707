"""The control measurements of a causal: one call each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from causaltest.controls.origins import Origin, Origins
from causaltest.controls.pairings import same_answer_sources, shuffled_sources
from causaltest.controls.placebos import Vary, moved, placebos, respect
from causaltest.engine.ledger import Entry
from causaltest.engine.model import Model, Output
from causaltest.engine.run import Scores, score, score_identity
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos, Site
from causaltest.stats import Effect
from causaltest.stats.controls import Controls, Test


class Controlled(ABC):
    """What measures effects can measure their controls: the same, but for one respect.

    Parameters
    ----------
    model
        The model that is measured.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._origins = Origins()

    @abstractmethod
    def effect(
        self,
        intervention: Intervention,
        *,
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float],
    ) -> Effect:
        """Measure what an intervention does to a metric."""

    @abstractmethod
    def _run(self, intervention: Intervention, pairs: Pairs, metric: Metric) -> Scores:
        """Score an intervention and keep its ledger."""

    @abstractmethod
    def _changes(self, origin: Origin, after: Sequence[float], subject: str) -> Effect:
        """Return what changed against the base runs, and note its origin."""

    @abstractmethod
    def _keep(self, ledger: Iterable[Entry]) -> None:
        """Add edits to what is reported."""

    def controls(
        self,
        effect: Effect,
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
            As for `placebos`. A family of m hypotheses asks for m times 39 controls, or for
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
        kind = "placebo sites" if among is not None else _kind(vary, self._origins.of(effect))
        found = self.placebos(effect, k, vary=vary, among=among, seed=seed)
        return Controls(found, kind=kind, test=test)

    def placebos(
        self,
        effect: Effect,
        k: int = 39,
        *,
        vary: Vary | None = None,
        among: Iterable[Site] | None = None,
        seed: int = 0,
    ) -> tuple[Effect, ...]:
        """Measure the intervention of an effect at k matched places instead.

        Parameters
        ----------
        effect
            An effect that `effect()` of this causal measured.
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
        tuple of Effect
            On the same pairs and with the same metric. Places where nothing changes (base and
            source agree there) are no match for one where something does, and are passed over.

        Raises
        ------
        InterventionError
            There are fewer than k such places, or the effect was measured otherwise.
        """
        origin = self._origins.of(effect)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InterventionError(f"k is {k!r}; expected a number of controls from 1")
        drawn, count = placebos(
            self.model, origin.intervention, origin.pairs, vary=vary, among=among, seed=seed
        )
        found: list[Effect] = []
        inert = 0
        # Refused before anything runs where there cannot be enough.
        for each in drawn if count >= k else ():
            after = score(self.model, each, origin.pairs, origin.metric, allow_inert=True)
            if not any(entry.changed for entry in after.ledger):
                inert += 1
                continue
            self._keep(after.ledger)
            there = Origin(each, origin.pairs, origin.metric)
            found.append(self._changes(there, after.values, f"{origin.metric} of {each}"))
            if len(found) == k:
                return tuple(found)
        raise InterventionError(_too_few(k, count, inert, origin.intervention))

    def identity(self, effect: Effect) -> Effect:
        """Measure the effect's sites replaced by their own activations; it is 0 but for noise.

        Raises
        ------
        InterventionError
            The effect was measured otherwise.
        """
        origin = self._origins.of(effect)
        sites = origin.intervention.sites
        after = score_identity(self.model, sites, list(origin.pairs), origin.metric)
        shown = ", ".join(map(str, sites[:3]))
        return self._changes(origin, after, f"{origin.metric} of identity({shown})")

    def moved(
        self,
        effect: Effect,
        *,
        layer: int | None = None,
        head: int | None = None,
        pos: Pos = None,
    ) -> Effect:
        """Measure the intervention of an effect at the wrong layer, head or position.

        Raises
        ------
        InterventionError
            Nothing is named, it is the tested place, or nothing changes there.
        SiteError
            The model has no such place.
        """
        origin = self._origins.of(effect)
        there = moved(origin.intervention, layer=layer, head=head, pos=pos)
        return self.effect(there, on=origin.pairs, metric=origin.metric)

    def same_answer(self, effect: Effect, *, seed: int = 0) -> Effect:
        """Measure an interchange whose sources have the base's own answer: damage, not transfer.

        Returns
        -------
        Effect
            On the effect's own pairs and scale, so that the two compare.

        Raises
        ------
        InterventionError, PairError
            The intervention reads no source, or a pair has no match.
        """
        origin = self._origins.of(effect)
        pairs = same_answer_sources(self.model, origin.intervention, origin.pairs, seed=seed)
        return self._from_sources(origin, pairs, "same-answer sources")

    def shuffled(self, effect: Effect, *, seed: int = 0) -> Effect:
        """Measure an interchange with the sources of other pairs, drawn at random.

        Returns
        -------
        Effect
            On the effect's own pairs and scale, so that the two compare.

        Raises
        ------
        InterventionError, PairError
            The intervention reads no source, or a pair has no match.
        """
        origin = self._origins.of(effect)
        pairs = shuffled_sources(self.model, origin.intervention, origin.pairs, seed=seed)
        return self._from_sources(origin, pairs, "shuffled sources")

    def on_task(self, effect: Effect, other: Pairs) -> Effect:
        """Measure the intervention of an effect on an unrelated task, another pair set.

        Raises
        ------
        InterventionError, SiteError, PairError, MetricError
            As for `effect`; positions that the sites name must exist in the other set.
        """
        origin = self._origins.of(effect)
        if isinstance(other, Pairs) and other.sha256 == origin.pairs.sha256:
            raise PairError(
                f"{other.name} is the pair set of the effect itself; an unrelated task is another"
            )
        return self.effect(origin.intervention, on=other, metric=origin.metric)

    def _from_sources(self, origin: Origin, exchanged: Pairs, what: str) -> Effect:
        after = self._run(origin.intervention, exchanged, origin.metric)
        subject = f"{origin.metric} of {origin.intervention} from {what}"
        return self._changes(origin, after.values, subject)


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
