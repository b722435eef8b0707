"""Every error a user can meet.

CausaltestError
├── SiteError          a component, layer, head, position or module that does not exist
├── PairError          a pair set that is malformed, empty, unclustered or misaligned
├── ModelError         a model that cannot be found, loaded or understood
├── InterventionError  an edit that is malformed, did not fire, or changed nothing
├── CausalModelError   a causal model with a cycle, an unknown variable or a value out of place
├── MetricError        a metric that gave NaN, the wrong number of values, or met a wrong answer
├── EvidenceError      data on which no verdict can be reached, whatever the effect
└── RecordError        a results file that is damaged, foreign or of another version

Inconclusive           an AssertionError: the evidence decides the claim neither way
"""


class CausaltestError(Exception):
    """Base of every error that causaltest raises on purpose."""


class SiteError(CausaltestError):
    """A component, layer, head, position or module does not exist."""


class PairError(CausaltestError):
    """A pair set is malformed, empty, unclustered or misaligned."""


class ModelError(CausaltestError):
    """A model cannot be found, loaded or understood."""


class InterventionError(CausaltestError):
    """An edit is malformed, did not fire, or changed nothing."""


class CausalModelError(CausaltestError):
    """A causal model has a cycle, an unknown variable, or a value out of its domain."""


class MetricError(CausaltestError):
    """A metric gave NaN, the wrong number of values, or met an answer it cannot score."""


class EvidenceError(CausaltestError):
    """The data cannot support any verdict, whatever the effect."""


class RecordError(CausaltestError):
    """A results file is damaged, foreign or of another version."""


class Inconclusive(AssertionError):
    """The evidence decides the claim neither way; raised when its truth is asked."""


__all__ = [
    "CausalModelError",
    "CausaltestError",
    "EvidenceError",
    "Inconclusive",
    "InterventionError",
    "MetricError",
    "ModelError",
    "PairError",
    "RecordError",
    "SiteError",
]

for _name in __all__:
    # Users catch and read `causaltest.SiteError`, wherever the class is defined.
    globals()[_name].__module__ = "causaltest"
