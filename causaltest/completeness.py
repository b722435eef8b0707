"""Circuit claims about parts: is the circuit complete, and does each component add something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from causaltest.circuits import Circuit
from causaltest.engine.apply import random_stream
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.overlap import overlap
from causaltest.errors import InterventionError, MetricError
from causaltest.interventions import Intervention, mean_ablate
from causaltest.measuring import Measuring
from causaltest.metrics import Metric, as_metric, logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site
from causaltest.stats import Incompleteness, Minimality
from causaltest.stats.shown import OfCircuit, Place

Ablation = Callable[..., Intervention]
Sites = Circuit | Iterable[Site]
Floats = np.ndarray[Any, np.dtype[np.float64]]


class CircuitParts(Measuring):
    """What scores circuits can score them with parts taken out."""

    def _extremes(
        self,
        everything: Circuit,
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float],
        ablation: Ablation,
    ) -> tuple[Metric, Pairs, tuple[float, ...], tuple[float, ...]]:
        score_of = as_metric(metric)
        if score_of.normalised:
            raise MetricError(
                f"{score_of} is already a fraction of the total effect; use metric=logit_diff"
            )
        all_ablated = ablation(*everything)
        pairs = self._check(all_ablated, on, at=score_of.position)
        model = self._scores(score_of, pairs, "base")
        return score_of, pairs, model, self._run(all_ablated, pairs, score_of).values

    def incompleteness(
        self,
        circuit: Sites,
        *,
        among: Sites,
        on: Pairs,
        subsets: Iterable[Sites] | int | None = None,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
        ablation: Ablation = mean_ablate,
        chosen_on: Pairs | None = None,
        seed: int = 0,
    ) -> Incompleteness:
        """Measure how far circuit and model part once the same sites are taken out of both.

        Parameters
        ----------
        circuit
            Sites of the circuit.
        among
            All sites considered; those outside the circuit are ablated in the circuit.
        on
            The pairs.
        subsets
            Parts K of the circuit to take out; by default nothing, and each component alone. A
            number asks for so many random subsets, each component in with probability 1/2.
        metric, ablation
            As for `faithfulness`.
        chosen_on
            The pairs on which subsets were searched for; their units may not be judged on again.
        seed
            Of random subsets.

        Returns
        -------
        Incompleteness
            F(circuit without K) - F(model without K) as a share of F(model) - F(nothing), one for
            each subset. Claim `incompleteness < 0.1`: for all of them, at once.

        Raises
        ------
        InterventionError
            The circuit is empty, everything, or not within `among`; a subset is not within the
            circuit, or given twice; or as for `effect`.

        Notes
        -----
        Completeness: Wang et al. 2022 (arXiv 2211.00593), section 4.1, as an equivalence claim.
        """
        inside, everything = proper_part(circuit, among)
        taken = _subsets(inside, subsets, seed)
        runs = Runs(self, inside, everything, on, metric=metric, ablation=ablation)
        outside = everything - inside
        values = [runs.without(outside + k) - runs.without(k) for k in taken]
        kind = f"incompleteness ({_name_of(ablation)}, {runs.metric})"
        subject = f"{kind} of {inside} among {len(everything)} sites"
        self._counts_in(subject, "fraction")
        return Incompleteness(
            np.stack(values, axis=1),
            names=[_called(k) for k in taken],
            chosen_on=() if chosen_on is None else chosen_on.units,
            **runs.columns(subject, kind),
        ).showing(pictured(inside, everything))

    def minimality(
        self,
        circuit: Sites,
        *,
        among: Sites,
        on: Pairs,
        beside: Mapping[Site, Sites] | None = None,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
        ablation: Ablation = mean_ablate,
        chosen_on: Pairs | None = None,
    ) -> Minimality:
        """Measure what each component of a circuit adds to it.

        Parameters
        ----------
        circuit, among, on, metric, ablation
            As for `incompleteness`.
        beside
            For a component v a set K of others to take out first, where another component backs
            it up; by default nothing.
        chosen_on
            The pairs on which those sets were searched for.

        Returns
        -------
        Minimality
            F(circuit without K) - F(circuit without K and v) as a share of F(model) - F(nothing),
            one for each component v. Claim `minimality > 0.01`: for each of them.

        Raises
        ------
        InterventionError
            As for `incompleteness`; or a set K is not within the rest of the circuit.

        Notes
        -----
        Minimality: Wang et al. 2022 (arXiv 2211.00593), section 4.2, as a claim that each drop
        lies above a bound.
        """
        inside, everything = proper_part(circuit, among)
        first = _beside(inside, beside or {})
        runs = Runs(self, inside, everything, on, metric=metric, ablation=ablation)
        outside = everything - inside
        values = [
            runs.without(outside + k) - runs.without(outside + k + site)
            for site, k in first.items()
        ]
        kind = f"minimality ({_name_of(ablation)}, {runs.metric})"
        subject = f"{kind} of {inside} among {len(everything)} sites"
        self._counts_in(subject, "fraction")
        found = Minimality(
            np.stack(values, axis=1),
            names=[str(site) for site in first],
            chosen_on=() if chosen_on is None else chosen_on.units,
            **runs.columns(subject, kind),
        )
        added = tuple(found.effects.values())
        return found.showing(pictured(inside, everything, added))


class Runs:
    """Scores of the model without some sites, each once."""

    def __init__(
        self,
        causal: CircuitParts,
        inside: Circuit,
        everything: Circuit,
        on: Pairs,
        *,
        metric: Metric | Callable[[Output, Pair], float],
        ablation: Ablation,
    ) -> None:
        for chosen in inside.chosen_on:
            chosen.check(on, what="a circuit", ids=causal.model.prompts.ids)
        if causal._sequential:  # noqa: SLF001
            causal._note(  # noqa: SLF001
                "not sequential: a circuit's share of the behaviour is a ratio of means, for which "
                "there is no sequential procedure; all pairs were run"
            )
        found = causal._extremes(everything, on, metric, ablation)  # noqa: SLF001
        _check_apart(causal.model, everything, on)
        self.metric, self.pairs, model, nothing = found
        self._causal = causal
        self._everything = everything
        self._ablation = ablation
        self._known: dict[Circuit, Floats] = {
            Circuit(): np.array(model),
            everything: np.array(nothing),
        }

    def without(self, sites: Circuit) -> Floats:
        """Score the model with some sites ablated, whatever edges they are drawn with."""
        sites = Circuit(*sites)
        if sites not in self._known:
            edit = self._ablation(*sites)
            scored = self._causal._run(edit, self.pairs, self.metric)  # noqa: SLF001
            self._known[sites] = np.array(scored.values)
        return self._known[sites]

    @property
    def total(self) -> Floats:
        """The total effect of each pair: the whole model less everything ablated."""
        return self._known[Circuit()] - self._known[self._everything]

    def columns(self, subject: str, kind: str) -> dict[str, Any]:
        """Return what describes the pairs, and the total effect as scale."""
        whole = self.total
        sites = self._everything.sites
        floor = self._causal._floor(sites, self.pairs, self.metric, tuple(whole))  # noqa: SLF001
        return {
            "scale": whole,
            "units": self.pairs.units,
            "unit": self.pairs.unit,
            "pair_ids": [pair.id for pair in self.pairs],
            "pair_set": (self.pairs.name, self.pairs.sha256),
            "subject": subject,
            "metric": kind,
            # The difference of two intervened runs: their noise adds up at worst.
            "floor": 2.0 * floor,
            "judge": self._causal._judge,  # noqa: SLF001
        }


def proper_part(circuit: Sites, among: Sites) -> tuple[Circuit, Circuit]:
    """Return a circuit and all sites considered, of which it must be a proper part.

    Raises
    ------
    InterventionError
        The circuit is empty, everything, or not within `among`.
    """
    inside = circuit if isinstance(circuit, Circuit) else Circuit(*circuit)
    everything = Circuit(*among)
    stray = [str(site) for site in inside if site not in everything]
    if stray:
        raise InterventionError(
            f"{', '.join(stray[:4])} of the circuit is not among the {len(everything)} sites "
            "considered; faithfulness is relative to what is ablated"
        )
    if not len(inside) or len(inside) == len(everything):
        what = "empty" if not len(inside) else "everything considered"
        raise InterventionError(
            f"the circuit is {what}, so its score is 0 or 1 by definition; "
            "choose a proper part of among="
        )
    return inside, everything


def _check_apart(model: Model, everything: Circuit, on: Pairs) -> None:
    """Refuse sites that share numbers: with the one that is ablated a part of the other would be.

    Raises
    ------
    InterventionError
        Two of them do.
    """
    shared = overlap(model, everything.sites, on)
    if shared is not None:
        raise InterventionError(
            f"{shared.one} and {shared.other} of among= are the same place in part, e.g. at token "
            f"{shared.token} of the base prompt of pair {shared.pair.id}: where one is ablated and "
            "the other left intact, neither would be\n"
            "name each place by one site"
        )


def pictured(inside: Circuit, everything: Circuit, effects: tuple[float, ...] = ()) -> OfCircuit:
    """Return what a figure of a circuit shows.

    Parameters
    ----------
    inside, everything
        The circuit, with the edges it names, and all sites considered.
    effects
        What each member adds, in the order of the circuit.
    """
    return OfCircuit(
        tuple(map(_place, inside)),
        tuple(map(_place, everything)),
        effects,
        tuple((str(each.sender), str(each.receiver), each.channel) for each in inside.edges),
    )


def _place(site: Site) -> Place:
    component = site.component.removeprefix("head_")
    position = "" if site.pos is None else str(site).rpartition("@")[2]
    return Place(str(site), component, site.layer, site.head, position)


def _subsets(inside: Circuit, given: Iterable[Sites] | int | None, seed: int) -> list[Circuit]:
    if given is None:
        return [Circuit(), *(Circuit(site) for site in inside)]
    if isinstance(given, int):
        return _random_subsets(inside, given, seed)
    taken = [Circuit(*each) for each in given]
    if not taken:
        raise InterventionError("subsets is empty; name at least one part of the circuit")
    for subset in taken:
        stray = [str(site) for site in subset if site not in inside]
        if stray:
            raise InterventionError(
                f"{', '.join(stray[:4])} of a subset is not in the circuit {inside}; completeness "
                "takes parts of the circuit out of circuit and model alike"
            )
    twice = next((k for i, k in enumerate(taken) if k in taken[:i]), None)
    if twice is not None:
        raise InterventionError(f"the subset {_called(twice)} is given twice; take it out")
    return taken


def _called(subset: Circuit) -> str:
    return str(subset) if len(subset) else "nothing"


def _random_subsets(inside: Circuit, count: int, seed: int) -> list[Circuit]:
    most = 2 ** len(inside)
    if isinstance(count, bool) or not 1 <= count <= most:
        raise InterventionError(
            f"subsets is {count!r}; a circuit of {len(inside)} sites has 1 to {most} subsets"
        )
    stream = random_stream("subsets", seed, inside)
    found: dict[Circuit, None] = {}
    while len(found) < count:
        chosen = stream.random(len(inside)) < 0.5
        found[Circuit(*(site for site, taken in zip(inside, chosen, strict=True) if taken))] = None
    return list(found)


def _beside(inside: Circuit, given: Mapping[Site, Sites]) -> dict[Site, Circuit]:
    stray = [str(site) for site in given if site not in inside]
    if stray:
        raise InterventionError(
            f"beside= names {', '.join(stray[:4])}, which is no component of the circuit {inside}"
        )
    first: dict[Site, Circuit] = {}
    for site in inside:
        k = given.get(site, ())
        first[site] = k if isinstance(k, Circuit) else Circuit(*k)
        wrong = [str(each) for each in first[site] if each not in inside or each == site]
        if wrong:
            raise InterventionError(
                f"beside= takes {', '.join(wrong[:4])} out before {site}; expected other "
                f"components of the circuit {inside}"
            )
    return first


def _name_of(function: Sequence[Any] | Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
