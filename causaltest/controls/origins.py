"""How an effect was measured, kept beside it so that a control can repeat the measurement."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

from causaltest.circuits import Circuit
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.stats import Ratio


@dataclass(frozen=True)
class Origin:
    """What an effect or a rate is the effect of.

    Parameters
    ----------
    intervention
        What was edited.
    pairs
        On which pairs.
    metric
        What was scored.
    is_rate
        Whether the scores themselves were taken, as shares of successes, and no change of them.
    """

    intervention: Intervention
    pairs: Pairs
    metric: Metric
    is_rate: bool = False

    def subject(self, what: object) -> str:
        """Say what is measured where `what` takes the place of the intervention."""
        at = self.metric.position
        if self.is_rate:
            return f"{self.metric.name} of {what}" + (f" at {at}" if at != "end" else "")
        return f"{self.metric} of {what}"


@dataclass(frozen=True, eq=False)
class CircuitOrigin:
    """What a circuit's score is the score of.

    Parameters
    ----------
    circuit, among
        The circuit, and all sites considered.
    pairs
        On which pairs.
    score_of
        Scores another circuit in the same way.
    score_on
        Scores the same circuit on other pairs.
    """

    circuit: Circuit
    among: Circuit
    pairs: Pairs
    score_of: Callable[[Circuit], Ratio]
    score_on: Callable[[Pairs], Ratio]


class Origins:
    """The origins of effects that are still in use.

    Examples
    --------
    >>> len(Origins())
    0
    """

    def __init__(self) -> None:
        # By identity: effects refuse `==`, which a WeakKeyDictionary would ask.
        self._known: dict[int, tuple[weakref.ref[object], Origin | CircuitOrigin]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, effect: object, origin: Origin | CircuitOrigin) -> None:
        """Remember where an effect comes from, for as long as it lives."""
        key = id(effect)

        def forget(_: object) -> None:
            self._known.pop(key, None)

        self._known[key] = weakref.ref(effect, forget), origin

    def of(self, effect: object, *, control: str) -> Origin:
        """Return where an effect or a rate comes from.

        Parameters
        ----------
        effect
            The effect.
        control
            The control that is asked for.

        Raises
        ------
        InterventionError
            It was measured by something else, or computed from other effects; or it is a circuit's
            score, which has no such control.
        """
        origin = self.any_of(effect)
        if isinstance(origin, CircuitOrigin):
            raise InterventionError(
                f"{control}() repeats one intervention, and {_called(effect)} is the score of a "
                "circuit\nits controls are random circuits of the same size, "
                "causal.controls(ratio), and another task, causal.on_task(ratio, pairs)"
            )
        return origin

    def any_of(self, effect: object) -> Origin | CircuitOrigin:
        """Return where an effect, a rate or a circuit's score comes from.

        Raises
        ------
        InterventionError
            It was measured by something else, or computed from other effects.
        """
        reference, origin = self._known.get(id(effect), (None, None))
        if origin is None or reference is None or reference() is not effect:
            raise InterventionError(
                f"there is no control for {_called(effect)}: it was not measured under an "
                "intervention by this causal\n"
                "Give what effect(), accuracy(), faithfulness() or necessity() returned, not a "
                "number, or a sum or difference of effects"
            )
        return origin


def _called(effect: object) -> str:
    return getattr(effect, "subject", None) or type(effect).__name__
