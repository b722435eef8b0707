"""What became of one claim since a baseline, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from causaltest.records import VerdictName

DriftName = Literal["worse", "better", "held", "unclear", "moved", "same", "untested"]
State = Literal["worse", "better", "changed", "unclear", "same", "untested"]

_WEIGHT: tuple[DriftName, ...] = (
    "worse", "better", "moved", "unclear", "untested", "held", "same",
)  # fmt: skip


@dataclass(frozen=True)
class Drift:
    """What became of one comparison, pair by pair.

    Parameters
    ----------
    name
        `worse` or `better`: moved by more than the margin; `held`: shown not to have got worse by
        it; `unclear`: neither; `moved`: beyond the margin where no way is worse; `same`: no value
        differs by more than the numeric floor; `untested`: the values cannot be paired.
    old, new
        The two estimates.
    change
        Mean over units of new less old, on the pairs that both have; None where untested.
    interval
        Of the change, simultaneous over all comparisons; None where nothing was tested.
    margin
        Change that matters.
    reason
        Why it was not tested.
    """

    name: DriftName
    old: float
    new: float
    change: float | None = None
    interval: tuple[float, float] | None = None
    margin: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Confirmation:
    """What fresh pairs said of a claim that was worse.

    Parameters
    ----------
    outcome
        `confirmed`: it got worse on them too; `not confirmed`: it did not; `open`: they cannot say.
    reason
        Why they cannot.
    again
        The claim on the fresh pairs.
    """

    outcome: Literal["confirmed", "not confirmed", "open"]
    reason: str = ""
    again: Compared | None = None


@dataclass(frozen=True)
class Compared:
    """One claim then and now.

    Parameters
    ----------
    id
        Its id now.
    claim
        Its sentence.
    old, new
        The verdicts.
    expected
        The verdict on which its test passes.
    drifts
        One for each comparison in it.
    notes
        What differs between the two runs: pairs, bounds, the test.
    confirmation
        What fresh pairs said, where it was worse and they were asked.
    otherwise
        Whether another bound is claimed than before, or another number of comparisons: the two
        verdicts are then about two claims.
    """

    id: str
    claim: str
    old: VerdictName
    new: VerdictName
    expected: VerdictName
    drifts: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()
    confirmation: Confirmation | None = None
    otherwise: bool = False

    @property
    def lost(self) -> bool:
        """Whether it came out as expected and does not any more."""
        return self._decided and self.old == self.expected != self.new

    @property
    def regained(self) -> bool:
        """Whether it comes out as expected and did not before."""
        return self._decided and self.new == self.expected != self.old

    @property
    def alarm(self) -> bool:
        """Whether its verdict was lost, or a comparison got worse."""
        return self.lost or any(each.name == "worse" for each in self.drifts)

    @property
    def worse(self) -> bool:
        """Whether there is an alarm that fresh pairs did not call off."""
        called_off = self.confirmation is not None and self.confirmation.outcome == "not confirmed"
        return self.alarm and not called_off

    @property
    def state(self) -> State:
        """What became of it, in one word."""
        if self.alarm:
            return "worse" if self.worse else "unclear"
        names = {each.name for each in self.drifts}
        if self.regained or "better" in names:
            return "better"
        if self.old != self.new or "moved" in names:
            return "changed"
        if "unclear" in names:
            return "unclear"
        return "untested" if names <= {"untested"} else "same"

    @property
    def drift(self) -> Drift | None:
        """The drift that says most; None where nothing was measured on either side."""
        return min(self.drifts, key=lambda each: _WEIGHT.index(each.name), default=None)

    @property
    def _decided(self) -> bool:
        """Whether both runs reached it, and it decides anything."""
        return not {"exploratory", "not run"} & {self.old, self.new}
