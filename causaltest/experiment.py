"""Causal: measures effects of interventions over pair sets and hands them to the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

from torch import nn

from causaltest import health
from causaltest.alignments.gridding import AligningOver
from causaltest.cache import Cache, Recall
from causaltest.circuits import Circuit
from causaltest.completeness import CircuitParts, Runs, pictured, proper_part
from causaltest.controls import CircuitOrigin, Controlled, Origin, Weights, twin
from causaltest.controls.origins import Origins
from causaltest.doses import DoseResponse
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import Scores
from causaltest.interventions import Intervention, mean_ablate
from causaltest.looks import InLooks
from causaltest.metrics import Metric, as_metric, correctness, logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.plain_runs import PlainRuns
from causaltest.sites import Pos, Site
from causaltest.stats import Effect, Judge, Rate, Ratio
from causaltest.sweeps import Sweeping
from causaltest.texts import Writing

_IDENTITY_TOLERANCE = 1e-3

Ablation = Callable[..., Intervention]


class Causal(AligningOver, Controlled, CircuitParts, DoseResponse, InLooks, Sweeping, Writing):
    """Measures causal effects on one model.

    Parameters
    ----------
    model
        A `Model`, or any module (wrapped without a tokenizer).
    judge
        Returns how comparisons are decided at the moment; the default decides each on its own at
        level 0.05.
    sequential
        Run the pairs of effects and rates in growing looks, and stop where a claim is settled.
    cache
        Where numbers are kept for later runs; None measures everything anew. Looks are not kept.

    Examples
    --------
    >>> import torch
    >>> from causaltest.interventions import interchange
    >>> from causaltest.pairs import Pair, Pairs
    >>> from causaltest.sites import module
    >>> _ = torch.manual_seed(0)
    >>> toy = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
    >>> pairs = Pairs(
    ...     [Pair((i,), (i + 1,), base_answer=i, source_answer=i + 1) for i in range(8)],
    ...     name="neighbours",
    ...     cluster=None,
    ... )
    >>> from causaltest.metrics import recovery
    >>> whole = Causal(toy).effect(interchange(module("0")), on=pairs, metric=recovery)
    >>> bool(whole > 0.99)
    True
    """

    def __init__(
        self,
        model: Model | nn.Module,
        *,
        judge: Callable[[], Judge] | None = None,
        sequential: bool = False,
        cache: Cache | None = None,
    ) -> None:
        super().__init__(model if isinstance(model, Model) else Model(model))
        self._judge = judge or Judge
        self._cache = cache
        self._sequential = sequential
        self._recall = Recall(None if sequential else cache, self.model)
        self._runs = PlainRuns(self.model, self._recall)
        self._origins = Origins()

    def __repr__(self) -> str:
        return f"<Causal on {self.model.name}>"

    def effect(
        self,
        intervention: Intervention,
        *,
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
    ) -> Effect:
        """Measure what an intervention does to a metric.

        Parameters
        ----------
        intervention
            What to edit in the base run.
        on
            The pairs.
        metric
            `logit_diff`, `recovery`, `probability`, `log_probability`, or a function of
            (output, pair).

        Returns
        -------
        Effect
            Intervened minus base for each pair; for `recovery` as a fraction of source minus base.
            Compare it with a bound to make a claim.

        Raises
        ------
        InterventionError
            An edit did not happen, nothing changed, or the identity edit is not exact.
        SiteError, PairError, MetricError
            A site, position, answer or number that does not fit.
        """
        return cast("Effect", self._measured(Origin(intervention, on, as_metric(metric))))

    def _measured(self, origin: Origin) -> Effect | Rate:
        """Measure what an intervention does, at once or in looks."""
        edit, pairs, metric = origin.intervention, origin.pairs, origin.metric
        self._check(edit, pairs, at=metric.position)
        subject = origin.subject(edit)

        def whole() -> Effect | Rate:
            scored = self._run(edit, pairs, metric)
            self._check_health(origin, scored)
            return self._changes(origin, scored.values, subject)

        if not self._in_looks(edit, metric):
            return whole()
        self.trail.counted_in[subject] = metric.unit or metric.name
        return self._arriving(origin, whole, subject=subject)

    def _check_health(self, origin: Origin, scored: Scores) -> None:
        """Look at what a claim about an edit would rest on."""
        if self._is_twin:  # It is there to do badly.
            return
        edit, pairs, metric = origin.intervention, origin.pairs, origin.metric
        self.trail.find(
            self._misaligned(edit, pairs),
            *(
                health.inert_intervention(each.intervention, each.site, each.changed, each.rows)
                for each in scored.ledger
            ),
            health.leaky_split(str(edit), pairs, list(self.trail.mapped.values()), self._ids),
        )
        if metric.normalised or metric.unit == "probability":
            base = self._scores(metric, pairs, "base")
            if metric.normalised:
                source = self._scores(metric, pairs, "source")
                totals = [there - here for there, here in zip(source, base, strict=True)]
                self.trail.find(health.flat_pairs(totals, str(metric), pairs.name))
            else:
                found = health.saturated_metric(base, scored.values, str(metric), pairs.name)
                self.trail.find(found)

    def _misaligned(self, edit: Intervention, pairs: Pairs) -> health.Finding | None:
        """Find an index that is another word in base and source."""
        sites = [site for part in edit.parts if part.needs_source for site in part.sites]
        for site in dict.fromkeys(sites):
            if isinstance(site.pos, str) or site.pos is None or site.stack:
                continue
            for pair in pairs:
                sides = [pair.base] if pair.source is None else [pair.base, pair.source]
                base, *others = map(self.model.prompts.ids, sides)
                for source in others:
                    index = health.misaligned_positions(site.pos, base, source)
                    if index is not None:
                        lengths = len(base), len(source)
                        return health.misaligned(index, str(site), pair.id, lengths)
        return None

    def _changes(self, origin: Origin, after: Sequence[float], subject: str) -> Effect | Rate:
        """Return what changed against the base runs, and remember how it was measured."""
        pairs, metric = origin.pairs, origin.metric
        self.trail.counted_in[subject] = metric.unit or metric.name
        if origin.is_rate:
            rate = self._rate(after, pairs, subject)
            self._origins.note(rate, origin)
            return rate
        base = self._scores(metric, pairs, "base")
        total: tuple[float, ...] | None = None
        if metric.normalised:
            source = self._scores(metric, pairs, "source")
            total = tuple(there - here for there, here in zip(source, base, strict=True))
        values = [then - before for then, before in zip(after, base, strict=True)]
        floor = self._floor(origin.intervention.sites, pairs, metric, total)
        effect = self._effect(
            values, total, pairs, subject=subject, floor=floor, metric=str(metric)
        )
        self._origins.note(effect, origin)
        return effect

    def accuracy(
        self,
        intervention: Intervention | None = None,
        *,
        on: Pairs,
        expect: Literal["base_answer", "source_answer"] | Callable[[Pair], str | int] | None = None,
        at: Pos = "end",
    ) -> Rate:
        """Measure how often the model's top answer is the expected one.

        Parameters
        ----------
        intervention
            What to edit; None asks how well the model does the task on its own.
        on
            The pairs.
        expect
            The expected answer: a field of the pair or a function of it. The default is the source
            answer under an intervention (interchange-intervention accuracy) and the base answer
            without one.
        at
            Position at which the answer is read.

        Returns
        -------
        Rate

        Raises
        ------
        InterventionError, SiteError, PairError, MetricError
            As for `effect`.

        Notes
        -----
        Interchange-intervention accuracy: Geiger et al. 2021 (arXiv 2106.02997), section 3.
        """
        wanted = expect or ("base_answer" if intervention is None else "source_answer")
        metric = correctness(wanted, at=at)
        if intervention is not None:
            return cast("Rate", self._measured(Origin(intervention, on, metric, is_rate=True)))
        pairs = self._check_pairs(on, gate=True)
        subject = f"accuracy of {self.model.name}" + (f" at {at}" if at != "end" else "")
        self.trail.counted_in[subject] = "fraction"

        def whole() -> Rate:
            return self._rate(self._scores(metric, pairs, "base"), pairs, subject)

        if self._in_looks(None, metric):
            return self._arriving_rate(None, pairs, metric, whole, subject=subject)
        return whole()

    def _rate(self, values: Sequence[float], pairs: Pairs, subject: str) -> Rate:
        return Rate(
            tuple(values),
            units=pairs.units,
            unit=pairs.unit,
            pair_ids=[pair.id for pair in pairs],
            pair_set=(pairs.name, pairs.sha256),
            subject=subject,
            judge=self._judge,
        )

    def faithfulness(
        self,
        circuit: Circuit | Iterable[Site],
        *,
        among: Circuit | Iterable[Site],
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
        ablation: Ablation = mean_ablate,
    ) -> Ratio:
        """Measure what share of the behaviour remains when only a circuit is left intact.

        Parameters
        ----------
        circuit
            Sites left intact.
        among
            All sites considered; those outside the circuit are ablated.
        on
            The pairs.
        metric
            As for `effect`, but not `recovery`: the share is already a fraction.
        ablation
            `mean_ablate`, `zero_ablate`, `resample_ablate` or `interchange`, or a function of
            sites.

        Returns
        -------
        Ratio
            (F(circuit) - F(nothing)) / (F(model) - F(nothing)), a ratio of means; compare it with
            a bound, or claim both sides as `abs(1 - ratio) < 0.1`.

        Raises
        ------
        InterventionError
            The circuit is empty, everything, or not within `among`; or as for `effect`.

        Notes
        -----
        Faithfulness as normalised in MIB (arXiv 2504.13151), equation 1, tested through
        z = (F(C) - F(0)) - x (F(M) - F(0)) and never through a mean of per-pair ratios.
        """
        return self._share("faithfulness", circuit, among, on=on, metric=metric, ablation=ablation)

    def necessity(
        self,
        circuit: Circuit | Iterable[Site],
        *,
        among: Circuit | Iterable[Site],
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
        ablation: Ablation = mean_ablate,
    ) -> Ratio:
        """Measure what share of the behaviour is lost when a circuit is ablated.

        Parameters
        ----------
        circuit
            Sites to ablate.
        among
            All sites considered; ablating them all is the total effect.
        on, metric, ablation
            As for `faithfulness`.

        Returns
        -------
        Ratio
            (F(model) - F(model without circuit)) / (F(model) - F(nothing)), a ratio of means.

        Raises
        ------
        InterventionError
            The circuit is empty, everything, or not within `among`; or as for `effect`.
        """
        return self._share("necessity", circuit, among, on=on, metric=metric, ablation=ablation)

    def _share(
        self,
        name: Literal["faithfulness", "necessity"],
        circuit: Circuit | Iterable[Site],
        among: Circuit | Iterable[Site],
        *,
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float],
        ablation: Ablation,
    ) -> Ratio:
        """Score what a circuit keeps, or its loss costs, as a share of ablating everything."""
        inside, everything = proper_part(circuit, among)
        runs = Runs(self, inside, everything, on, metric=metric, ablation=ablation)

        def score_of(other: Circuit) -> Ratio:
            kind = f"{name} ({_name_of(ablation)}, {runs.metric})"
            subject = f"{kind} of {other} among {len(everything)} sites"
            ablated = other if name == "necessity" else everything - other
            high, low = (Circuit(), other) if name == "necessity" else (ablated, everything)
            total = tuple(runs.total)
            floor = self._floor(ablated.sites, runs.pairs, runs.metric, total)
            self.trail.counted_in[subject] = "fraction"
            values = tuple(runs.without(high) - runs.without(low))
            ratio = cast(
                "Ratio",
                self._effect(values, total, runs.pairs, subject=subject, floor=floor, metric=kind),
            )
            ratio.shown = (pictured(other, everything),)
            self._origins.note(ratio, CircuitOrigin(other, everything, runs.pairs, score_of, again))
            return ratio

        def again(pairs: Pairs) -> Ratio:
            return self._share(name, circuit, among, on=pairs, metric=metric, ablation=ablation)

        return score_of(inside)

    def twin(self, weights: Weights = "shuffled", *, seed: int = 0) -> Causal:
        """Return what measures the same on a twin of the model that learned nothing.

        Parameters
        ----------
        weights
            `shuffled` (within each tensor) or `untrained` (initialised anew).
        seed
            Seed of the twin.

        Raises
        ------
        ModelError
            The model has no such twin.
        """
        other = self._on(twin(self.model, weights, seed=seed), is_twin=True)
        self.trail.notes[f"measured also on a twin: {other.model.name}, seed {seed}"] = None
        return other

    def _effect(
        self,
        values: Sequence[float],
        scale: tuple[float, ...] | None,
        pairs: Pairs,
        *,
        subject: str,
        floor: float,
        metric: str,
    ) -> Effect:
        return (Effect if scale is None else Ratio)(
            tuple(values),
            scale=scale,
            units=pairs.units,
            unit=pairs.unit,
            pair_ids=[pair.id for pair in pairs],
            pair_set=(pairs.name, pairs.sha256),
            subject=subject,
            metric=metric,
            floor=floor,
            judge=self._judge,
        )

    def _on(self, model: Model, *, is_twin: bool = False) -> Causal:
        """Return what measures another model as this one, and reports to the same trail."""
        other = Causal(model, judge=self._judge, sequential=self._sequential, cache=self._cache)
        other.trail = self.trail
        other._known = self._known
        other._is_twin = is_twin
        return other


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
