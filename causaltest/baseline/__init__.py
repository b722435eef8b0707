"""Baselines: what is kept of a run, and what became of its claims in a later one."""

from causaltest.baseline.comparing import Comparison, compare
from causaltest.baseline.comparison import Compared, Confirmation, Drift, DriftName
from causaltest.baseline.confirming import confirm
from causaltest.baseline.files import load, merged, read, write
from causaltest.baseline.kept import Baseline, KeptClaim, keep
from causaltest.baseline.reproducing import Reproduced, reproduced

__all__ = [
    "Baseline",
    "Compared",
    "Comparison",
    "Confirmation",
    "Drift",
    "DriftName",
    "KeptClaim",
    "Reproduced",
    "compare",
    "confirm",
    "keep",
    "load",
    "merged",
    "read",
    "reproduced",
    "write",
]
