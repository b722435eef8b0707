"""Effects and rates whose pairs are measured in looks, until a comparison of them is settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from causaltest.stats.columns import Columns
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.looks import Stream
from causaltest.stats.measured import Measured
from causaltest.stats.operands import refuse_sum
from causaltest.stats.rate import Rate, RateDifference
from causaltest.stats.settling import Arriving


class ArrivingEffect(Arriving, Effect):
    """An effect whose pairs are measured in looks, until a comparison of it is settled.

    Parameters
    ----------
    stream
        Measures pairs as they are asked for.
    whole
        Returns the plain effect on all pairs, for whatever has no sequential procedure.
    subject, metric, floor, judge, name
        As for `Effect`.

    Examples
    --------
    >>> import numpy as np
    >>> from causaltest.stats.looks import Look
    >>> names = tuple(f"pair {i}" for i in range(400))
    >>> values = np.random.default_rng(0).uniform(0.4, 0.8, 400)
    >>> def whole():
    ...     return Effect(values, units=names, pair_ids=names)
    >>> stream = Stream(
    ...     lambda chosen: Look(values[list(chosen)]), names, "pair", names, ("set", ""), -1.0, 1.0
    ... )
    >>> verdict = ArrivingEffect(stream, whole) > 0.2
    >>> verdict.name, verdict.n_pairs < 100, verdict.n_available
    ('supported', True, 400)
    """

    def __init__(
        self,
        stream: Stream,
        whole: Callable[[], Effect],
        *,
        subject: str = "effect",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
        name: str = "",
    ) -> None:
        self._arrive(
            stream,
            whole,
            subject=subject,
            metric=metric,
            name=name or metric or "effect",
            floor=floor,
            judge=judge,
        )

    def __neg__(self) -> Effect:
        return ArrivingEffect(
            self._stream.negated(),
            lambda: -self._plain(),
            subject=f"-({self.subject})",
            metric=self.metric,
            floor=self.floor,
            judge=self._judge,
            name=f"-{self._name}",
        )

    def __add__(self, other: object) -> Effect:
        if not isinstance(other, Measured):
            refuse_sum(other, self.kind)
            return NotImplemented
        return self._joined(other, 1.0, "+", self._name)

    def _minus(self, other: Measured) -> Effect:
        return self._joined(other, -1.0, "-", f"difference in {self._name}")

    def _joined(self, other: Measured, sign: float, mark: str, name: str) -> Effect:
        stream = self._with(other, sign)
        if stream is None or not isinstance(other, ArrivingEffect):
            plain = self._plain()
            return plain + other if sign > 0 else plain - other
        self._check_metric(other)
        return ArrivingEffect(
            stream,
            lambda: self._plain() + other if sign > 0 else self._plain() - other,
            subject=f"({self.subject}) {mark} ({other.subject})",
            metric=self.metric,
            floor=self.floor + other.floor,
            judge=self._judge,
            name=name,
        )

    def _plain(self) -> Effect:
        whole = self._whole()
        assert isinstance(whole, Effect)
        return whole

    def _of(self, columns: Columns) -> Effect:
        return Effect(
            columns.values,
            **columns.pairing,
            subject=self.subject,
            metric=self.metric,
            floor=self.floor,
            judge=self._judge,
            name=self._name,
        )


class ArrivingRate(Arriving, Rate):
    """A rate whose pairs are measured in looks, until a comparison of it is settled.

    Parameters
    ----------
    stream, whole, subject, metric, judge
        As for `ArrivingEffect`.
    """

    def __init__(
        self,
        stream: Stream,
        whole: Callable[[], Rate],
        *,
        subject: str = "rate",
        metric: str = "",
        judge: Judge | Callable[[], Judge] = Judge,
    ) -> None:
        self._arrive(
            replace(stream, low=0.0, high=1.0),
            whole,
            subject=subject,
            metric=metric,
            name=metric or "rate",
            floor=0.0,
            judge=judge,
        )

    def _minus(self, other: Measured) -> RateDifference:
        stream = self._with(other, -1.0)

        def at_once() -> RateDifference:
            whole = self._whole()
            assert isinstance(whole, Rate)
            return whole - other

        if stream is None or not isinstance(other, ArrivingRate):
            return at_once()
        self._check_metric(other)
        return ArrivingRateDifference(
            stream,
            at_once,
            subject=f"({self.subject}) - ({other.subject})",
            metric=self.metric,
            name=f"difference in {self._name}",
            judge=self._judge,
        )

    def _of(self, columns: Columns) -> Rate:
        return Rate(
            columns.values,
            **columns.pairing,
            subject=self.subject,
            metric=self.metric,
            judge=self._judge,
        )


class ArrivingRateDifference(Arriving, RateDifference):
    """The difference of two arriving rates on the same pairs."""

    def __init__(
        self,
        stream: Stream,
        whole: Callable[[], Measured],
        *,
        subject: str,
        metric: str,
        name: str,
        judge: Judge | Callable[[], Judge],
    ) -> None:
        self._arrive(
            stream, whole, subject=subject, metric=metric, name=name, floor=0.0, judge=judge
        )

    def __neg__(self) -> RateDifference:
        whole = self._whole()
        assert isinstance(whole, RateDifference)
        return -whole

    def _of(self, columns: Columns) -> RateDifference:
        return RateDifference(
            columns,
            subject=self.subject,
            metric=self.metric,
            name=self._name,
            floor=0.0,
            judge=self._judge,
        )
