"""Statistics: effects and rates that compare with a bound, and the verdicts they give."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causaltest.stats.effect import Effect as Effect
    from causaltest.stats.judge import Judge as Judge
    from causaltest.stats.judge import check_resolution as check_resolution
    from causaltest.stats.rate import Rate as Rate
    from causaltest.stats.rate import RateDifference as RateDifference
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
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
