"""How an effect was measured, kept beside it so that a control can repeat the measurement."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pairs


@dataclass(frozen=True)
class Origin:
    """What an effect is the effect of.

    Parameters
    ----------
    intervention
        What was edited.
    pairs
        On which pairs.
    metric
        What was scored.
    """

    intervention: Intervention
    pairs: Pairs
    metric: Metric


class Origins:
    """The origins of effects that are still in use.

    Examples
    --------
    >>> len(Origins())
    0
    """

    def __init__(self) -> None:
        # By identity: effects refuse `==`, which a WeakKeyDictionary would ask.
        self._known: dict[int, tuple[weakref.ref[object], Origin]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, effect: object, origin: Origin) -> None:
        """Remember where an effect comes from, for as long as it lives."""
        key = id(effect)

        def forget(_: object) -> None:
            self._known.pop(key, None)

        self._known[key] = weakref.ref(effect, forget), origin

    def of(self, effect: object) -> Origin:
        """Return where an effect comes from.

        Raises
        ------
        InterventionError
            It was measured by something else, or computed from other effects.
        """
        reference, origin = self._known.get(id(effect), (None, None))
        if origin is None or reference is None or reference() is not effect:
            what = getattr(effect, "subject", None) or type(effect).__name__
            raise InterventionError(
                f"there is no control for {what}: it was not measured by effect() of this causal\n"
                "Give the effect itself, not a rate, a number, or a sum or difference of effects"
            )
        return origin
