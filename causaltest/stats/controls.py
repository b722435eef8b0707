"""Matched controls: an effect beats them where it outranks them and exceeds their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.conjunction import JointVerdict, every
from causaltest.stats.decision import Evidence, Region
from causaltest.stats.effect import Effect
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.judge import Judge
from causaltest.stats.measured import Measured
from causaltest.stats.operands import article
from causaltest.stats.placebos import placebo_p
from causaltest.stats.shown import AmongControls, together
from causaltest.stats.student import Student
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]
Test = Literal["rank", "prediction"]

FEWEST_CONTROLS = 5
RANKED_FROM = 19
"""Below so many controls no rank can reach a two-sided level of .1."""


@dataclass(frozen=True, eq=False)
class Rank:
    """Evidence that a site differs from controls it would be exchangeable with if it were one.

    p = (1 + number of controls at least as large) / (K + 1). The limits are those of the
    difference between the site and a further control.

    Source: Phipson and Smyth (2010), Permutation p-values should never be zero, Stat. Appl.
    Genet. Mol. Biol. 9.
    """

    site: float
    controls: Floats
    """Sorted."""

    @property
    def estimate(self) -> float:
        """The site less the mean control."""
        return self.site - math.fsum(self.controls) / len(self.controls)

    def p_above(self, bound: float) -> float:
        """P-value of the claim that the site lies more than the bound above the controls."""
        below = int(np.searchsorted(self.controls, self.site - bound, side="left"))
        return (1 + len(self.controls) - below) / (len(self.controls) + 1)

    def p_below(self, bound: float) -> float:
        """P-value of the claim that the site does not."""
        above = int(np.searchsorted(self.controls, self.site - bound, side="right"))
        return (1 + above) / (len(self.controls) + 1)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Limits of the site less a further control; infinite where the ranks do not resolve."""
        k = math.floor((len(self.controls) + 1) * alpha / 2.0 * (1.0 + 1e-12))
        if k < 1:
            return -math.inf, math.inf
        return self.site - float(self.controls[-k]), self.site - float(self.controls[k - 1])


class Controls:
    """Matched placebos of an effect: sites, directions or refits with the same freedom.

    `effect > controls` claims two things at once: that the effect outranks the controls, so that
    not any site of its kind does this, and that it exceeds their mean pair by pair.

    Parameters
    ----------
    measured
        One effect (or rate) per control, on the same pairs as the effect they are to be compared
        with.
    kind
        What they are, e.g. `random sites of the same type`.
    test
        `rank` needs 2 / level - 1 controls, 39 at a level of .05; `prediction` takes control
        effects to be normal and is for few of them. By default ranks from 19 controls on.

    Raises
    ------
    EvidenceError
        If there are fewer than five controls.
    MetricError
        If they are of different kinds or metrics.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(20)]
    >>> def effect(mean):
    ...     return Effect(rng.normal(mean, 1.0, 20), units=names, pair_ids=names)
    >>> bool(effect(2.0) > Controls([effect(0.0) for _ in range(39)]))
    True
    """

    __array_ufunc__ = None

    def __init__(
        self,
        measured: Sequence[Measured],
        *,
        kind: str = "matched controls",
        test: Test | None = None,
    ) -> None:
        if len(measured) < FEWEST_CONTROLS:
            raise EvidenceError(
                f"{len(measured)} controls tell nothing about their spread; "
                f"at least {FEWEST_CONTROLS} are needed, 39 are advised"
            )
        kinds = sorted({each.kind for each in measured})
        metrics = sorted({each.metric for each in measured if each.metric})
        if len(kinds) > 1 or len(metrics) > 1:
            raise MetricError(
                f"controls must be alike, these are {' and '.join(kinds)} in "
                f"{' and '.join(metrics) or 'no metric'}\nmeasure all with the same metric"
            )
        if test not in (None, "rank", "prediction"):
            raise ValueError(f"test = {test!r}: expected 'rank' or 'prediction'")
        self._measured = tuple(measured)
        self._kind = kind
        self._test: Test = test or ("rank" if len(measured) >= RANKED_FROM else "prediction")

    def __len__(self) -> int:
        return len(self._measured)

    def __repr__(self) -> str:
        values = self.estimates
        return (
            f"<{len(self)} {self._kind}: mean {values.mean():.3g}, "
            f"from {values.min():.3g} to {values.max():.3g}>"
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("controls have no truth value; compare an effect: `effect > controls`")

    @property
    def estimates(self) -> Floats:
        """The effect of each control, sorted."""
        return np.sort([each.estimate for each in self._measured])

    def __lt__(self, other: object) -> JointVerdict:
        """`effect > controls`, which Python turns round."""
        if not isinstance(other, Measured):
            return NotImplemented
        return self._compare(other, 1.0)

    def __gt__(self, other: object) -> JointVerdict:
        """`effect < controls`."""
        if not isinstance(other, Measured):
            return NotImplemented
        return self._compare(other, -1.0)

    def _compare(self, effect: Measured, side: float) -> JointVerdict:
        judge = effect.judge
        self._check_resolution(judge)
        sign = ">" if side > 0 else "<"

        def members(shared: Judge) -> list[Verdict]:
            # Ranks do not get finer with the number of comparisons; the claim's level is theirs.
            difference = self._difference(effect, shared)
            over = difference > 0.0 if side > 0 else difference < 0.0
            return [self._ranked(effect, side, replace(shared, parts=judge.parts)), over]

        verdict = every(
            members,
            count=2,
            judge=judge,
            statement=f"{effect.metric or effect.kind} {sign} {len(self)} {self._kind}",
            subject=effect.subject,
        )
        shown = AmongControls(
            effect,
            tuple(self.estimates.tolist()),
            self._kind,
            self._test,
            self._placebo_p(effect, side, judge.seed),
        )
        return replace(
            verdict,
            notes=(*verdict.notes, *self._assumed(judge), self._placed(effect)),
            shown=together(effect.shown, [shown]),
            _asked=[False],
        )

    def _ranked(self, effect: Measured, side: float, judge: Judge) -> Verdict:
        region = Region(0.0, math.inf) if side > 0 else Region(-math.inf, 0.0)
        values, site = self.estimates, effect.estimate
        k = len(values)
        if self._test == "rank":
            evidence: Evidence = Rank(site, values)
            method = f"rank among {k} {self._kind}"
        else:
            spread = float(values.std(ddof=1))
            if spread <= 0.0:
                raise EvidenceError(
                    f"{effect.subject}: the {k} controls all have the effect {values[0]:.3g}, so "
                    "they tell nothing about their spread\nchoose controls that can differ"
                )
            error = spread * math.sqrt(1.0 + 1.0 / k)
            # A z-score would ignore how little K controls tell of their spread.
            evidence = Student(site - float(values.mean()), error, k - 1)
            method = f"prediction t from {k} {self._kind}"
        return judged(
            evidence,
            region,
            judge,
            basis=Basis(
                values=tuple(effect.values.tolist()),
                **effect.columns.pairing,
                floor=effect.floor,
            ),
            statement=f"effect less a control {region.relation} 0",
            subject=f"rank of {effect.subject} among {k} {self._kind}",
            method=method,
            over=method,
            advice=f"more pairs would not settle it: too many of the {k} controls reach the effect",
        )

    def _difference(self, effect: Measured, judge: Judge) -> Effect:
        """The effect less the mean control, pair by pair."""
        matched = [effect.columns.aligned(each.columns) for each in self._measured]
        for control, columns in zip(self._measured, matched, strict=True):
            if control.kind != effect.kind or control.metric != effect.metric:
                raise MetricError(
                    f"cannot compare {effect.subject} with {control.subject}: "
                    f"{article(effect.kind)} in {effect.metric or 'no metric'} and "
                    f"{article(control.kind)} in "
                    f"{control.metric or 'no metric'}\nmeasure controls as the effect is measured"
                )
            if not effect.columns.shares_scale(columns):
                raise MetricError(
                    f"cannot compare {effect.subject} with {control.subject}: they are shares of "
                    "different total effects\nmeasure both against the same base and source runs"
                )
        return Effect(
            effect.values - np.mean([each.values for each in matched], axis=0),
            scale=effect.scale,
            **effect.columns.pairing,
            subject=f"({effect.subject}) - (mean of {len(self)} {self._kind})",
            metric=effect.metric,
            floor=effect.floor + max(each.floor for each in self._measured),
            judge=judge,
        )

    def _placebo_p(self, effect: Measured, side: float, seed: int) -> tuple[float, ...]:
        """P-values of each control against the others, in the direction of the claim."""
        values = [effect.columns.aligned(each.columns).values for each in self._measured]
        # Numerators of a ratio of means: which way is up depends on the denominators.
        turned = effect.scale is not None and math.fsum(effect.scale) < 0.0
        return placebo_p(
            np.stack(values, axis=1),
            effect.columns.units,
            effect.columns.pair_ids,
            upwards=(side > 0) != turned,
            floor=max(each.floor for each in self._measured),
            seed=seed,
        )

    def _check_resolution(self, judge: Judge) -> None:
        k, needed = len(self), _ranks_needed(judge)
        if self._test == "rank" and k < needed:
            raise EvidenceError(
                f"{k} controls cannot decide at level {judge.alpha_claim:.3g}: the smallest p of a "
                f"rank among them is {1 / (k + 1):.3g}, and {judge.alpha_claim / 2:.3g} is needed\n"
                f"take {needed} controls, or say test='prediction' if their effects look normal"
            )

    def _assumed(self, judge: Judge) -> tuple[str, ...]:
        """Say what a prediction rests on, which the controls are too few to show."""
        if self._test == "rank":
            return ()
        told = (
            f"the prediction t takes the effects of the {len(self)} {self._kind} to be normal; "
            "were they as skewed as an exponential, one of them would pass 3 times as often as a "
            "level of 0.05 says, and 15 times as often as 0.0025 does; a rank among "
        )
        return (f"{told}{_ranks_needed(judge):,} assumes nothing",)

    def _placed(self, effect: Measured) -> str:
        above = int((self.estimates >= effect.estimate).sum())
        place = f"{above} of {len(self)} {self._kind} reach the effect"
        mean, spread = float(self.estimates.mean()), float(self.estimates.std(ddof=1))
        return f"{place}; they have mean {mean:.3g} and standard deviation {spread:.3g}"


def _ranks_needed(judge: Judge) -> int:
    """Controls among which a rank can reach the level of a claim."""
    return math.ceil(2.0 / judge.alpha_claim - 1e-9) - 1
