"""Statistics: effects and rates that compare with a bound, and the verdicts they give."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causaltest.stats.association import association as association
    from causaltest.stats.cells import Cells as Cells
    from causaltest.stats.conjunction import JointVerdict as JointVerdict
    from causaltest.stats.conjunction import all_of as all_of
    from causaltest.stats.consistency import Consistency as Consistency
    from causaltest.stats.controls import Controls as Controls
    from causaltest.stats.curves import Curve as Curve
    from causaltest.stats.dissociation import double_dissociation as double_dissociation
    from causaltest.stats.dissociation import interaction as interaction
    from causaltest.stats.dissociation import joint_over_sum as joint_over_sum
    from causaltest.stats.effect import Effect as Effect
    from causaltest.stats.falsification import Search as Search
    from causaltest.stats.falsification import draws_needed as draws_needed
    from causaltest.stats.falsification import rate_of_draws as rate_of_draws
    from causaltest.stats.judge import Judge as Judge
    from causaltest.stats.judge import check_resolution as check_resolution
    from causaltest.stats.rate import Rate as Rate
    from causaltest.stats.rate import RateDifference as RateDifference
    from causaltest.stats.ratio import Incompleteness as Incompleteness
    from causaltest.stats.ratio import Minimality as Minimality
    from causaltest.stats.ratio import Ratio as Ratio
    from causaltest.stats.regression import Change as Change
    from causaltest.stats.regression import Summary as Summary
    from causaltest.stats.regression import confirmed as confirmed
    from causaltest.stats.sequential import Stopper as Stopper
    from causaltest.stats.splits import check_unseen as check_unseen
    from causaltest.stats.sweep import Grid as Grid
    from causaltest.stats.verdict import Interval as Interval
    from causaltest.stats.verdict import Sizes as Sizes
    from causaltest.stats.verdict import Verdict as Verdict

# Resolved on first use, so that the plugin can read a Judge without loading numpy and scipy.
_HOMES = {
    "Effect": "effect",
    "Rate": "rate",
    "RateDifference": "rate",
    "Judge": "judge",
    "check_resolution": "judge",
    "Interval": "verdict",
    "Sizes": "verdict",
    "Verdict": "verdict",
    "association": "association",
    "Cells": "cells",
    "JointVerdict": "conjunction",
    "all_of": "conjunction",
    "Consistency": "consistency",
    "Controls": "controls",
    "Curve": "curves",
    "double_dissociation": "dissociation",
    "interaction": "dissociation",
    "joint_over_sum": "dissociation",
    "Search": "falsification",
    "draws_needed": "falsification",
    "rate_of_draws": "falsification",
    "Incompleteness": "ratio",
    "Minimality": "ratio",
    "Ratio": "ratio",
    "Change": "regression",
    "Summary": "regression",
    "confirmed": "regression",
    "Stopper": "sequential",
    "check_unseen": "splits",
    "Grid": "sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
