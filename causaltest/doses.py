"""Dose-response: one intervention at several strengths, pair by pair."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from causaltest.engine.output import Output
from causaltest.errors import InterventionError, MetricError
from causaltest.interventions import Intervention
from causaltest.interventions.kinds import Addition, Subtraction
from causaltest.measuring import Measuring
from causaltest.metrics import Metric, as_metric, logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.stats import Curve

Dosed = Intervention | Callable[[float], Intervention | None]
FEWEST_DOSES = 3


class DoseResponse(Measuring):
    """What measures effects can measure them over doses."""

    def dose_response(
        self,
        intervention: Dosed,
        doses: Sequence[float],
        *,
        on: Pairs,
        metric: Metric | Callable[[Output, Pair], float] = logit_diff,
    ) -> Curve:
        """Measure what an intervention does to a metric at several strengths.

        Parameters
        ----------
        intervention
            `add` or `subtract`, whose vector is multiplied by the dose; or a function from a dose
            to an intervention, which may give None for a dose that leaves the run as it is.
        doses
            At least three different numbers, in any order; 0 is the base run.
        on
            The pairs.
        metric
            As for `effect`, but not `recovery`: a curve is in units of its metric.

        Returns
        -------
        Curve
            Intervened minus base for each pair and dose, doses increasing. Claim `curve.slope > x`
            or `curve.is_monotone(margin=m)`; a positive slope does not show a monotone curve.

        Raises
        ------
        InterventionError
            There are fewer than three doses, one is not finite or given twice, or gives no
            intervention; or as for `effect`.
        SiteError, PairError, MetricError
            As for `effect`.

        Examples
        --------
        >>> import torch
        >>> from causaltest import Causal, Pair, Pairs, add, module
        >>> toy = torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(3)))
        >>> pairs = Pairs(
        ...     [Pair((i % 2, i % 3), base_answer=0, source_answer=1, id=str(i)) for i in range(6)],
        ...     name="six",
        ...     cluster=None,
        ... )
        >>> steer = add(module("0", pos="end"), [1.0, 0.0, 0.0])
        >>> curve = Causal(toy).dose_response(steer, [0, 1, 2, 4], on=pairs)
        >>> curve.values[0].tolist()
        [0.0, 1.0, 2.0, 4.0]
        >>> bool(curve.slope > 0.5)
        True
        """
        score_of = as_metric(metric)
        if score_of.normalised:
            raise MetricError(
                f"{score_of} is a share of the total effect, and a curve is in units of its "
                "metric; use metric=logit_diff"
            )
        edits = {dose: _at(intervention, dose) for dose in _checked(doses)}
        pairs = self._check_pairs(on, at=score_of.position)
        for edit in edits.values():
            if edit is not None:
                self._check(edit, on, at=score_of.position)
        if self._sequential:
            self._note("not sequential: a curve has no sequential procedure; all pairs were run")
        base = np.array(self._scores(score_of, pairs, "base"))
        columns = [self._change(edit, dose, pairs, score_of, base) for dose, edit in edits.items()]
        sites = dict.fromkeys(site for edit in edits.values() if edit for site in edit.sites)
        subject = f"{score_of} of {_named(intervention)}"
        unit = score_of.unit or score_of.name
        self._counts_in(f"slope of {subject}", f"{unit} per unit of dose")
        self._counts_in(subject, unit)
        return Curve(
            np.stack(columns, axis=1),
            doses=list(edits),
            units=pairs.units,
            unit=pairs.unit,
            pair_ids=[pair.id for pair in pairs],
            pair_set=(pairs.name, pairs.sha256),
            subject=subject,
            metric=str(score_of),
            floor=self._floor(tuple(sites), pairs, score_of, None),
            judge=self._judge,
        )

    def _change(
        self,
        edit: Intervention | None,
        dose: float,
        pairs: Pairs,
        metric: Metric,
        base: np.ndarray[Any, np.dtype[np.float64]],
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        if edit is None:
            return np.zeros(len(pairs))
        # Only at dose 0 may an intervention leave everything as it is.
        measured = self._score(edit, pairs, metric, allow_inert=dose == 0)
        self._keep(measured.ledger)
        return np.array(measured.values) - base


def _checked(doses: Iterable[object]) -> list[float]:
    """Return doses in increasing order."""
    given = list(doses)
    for dose in given:
        real = isinstance(dose, numbers.Real) and not isinstance(dose, bool)
        if not real or not math.isfinite(float(cast("float", dose))):
            raise InterventionError(
                f"a dose is {dose!r}; expected finite numbers, e.g. doses=[0, 1, 2, 4]"
            )
    found = sorted(float(cast("float", dose)) for dose in given)
    twice = [a for a, b in pairwise(found) if a == b]
    if twice:
        raise InterventionError(
            f"dose {twice[0]:g} is given twice; each dose is measured once, so take it out"
        )
    if len(found) < FEWEST_DOSES:
        shown = ", ".join(f"{dose:g}" for dose in found) or "none"
        raise InterventionError(
            f"{len(found)} doses ({shown}) make no curve; at least {FEWEST_DOSES} are needed\n"
            "for one strength, or the difference of two, measure causal.effect(...)"
        )
    return found


def _at(intervention: Dosed, dose: float) -> Intervention | None:
    """Return the intervention of a dose."""
    if isinstance(intervention, Intervention):
        if not all(isinstance(part, (Addition, Subtraction)) for part in intervention.parts):
            raise InterventionError(
                f"{intervention} has no strength to vary; give add(...) or subtract(...), or a "
                "function from a dose to an intervention: lambda sd: noise(site, sd=sd)"
            )
        parts = [_scaled(cast("Addition | Subtraction", part), dose) for part in intervention.parts]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        return whole
    if not callable(intervention):
        raise InterventionError(
            f"expected an intervention such as add(site, vector), or a function from a dose to an "
            f"intervention; got {intervention!r} ({type(intervention).__name__})"
        )
    given = intervention(dose)
    if given is None:
        return None
    if not isinstance(given, Intervention):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(
            f"{_named(intervention)} gave {given!r} ({type(given).__name__}) for dose {dose:g}; "
            "expected an intervention, or None to leave the run as it is"
        )
    return given


def _scaled(part: Addition | Subtraction, dose: float) -> Intervention:
    if isinstance(part, Addition):
        return replace(part, scale=part.scale * dose)
    return Addition(sites=part.sites, vector=part.vector, scale=-dose)


def _named(intervention: Dosed) -> str:
    if isinstance(intervention, Intervention):
        return f"doses of {intervention}"
    name = getattr(intervention, "__name__", type(intervention).__name__)
    return "doses" if name == "<lambda>" else f"doses of {name}"
