"""Recalling what was measured on one model, or measuring it and keeping that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from causaltest.cache.architectures import from_plain, to_plain
from causaltest.cache.identity import Identity, Unkeyed
from causaltest.cache.keys import Keys, plain
from causaltest.cache.store import Cache, digest
from causaltest.engine.architecture import Architecture
from causaltest.engine.ledger import Entry
from causaltest.engine.model import Model
from causaltest.engine.run import Scores
from causaltest.engine.sweeps import Beside, Plan, Swept
from causaltest.engine.sweeps.keeping import Finished, Keeper, packed, unpacked
from causaltest.engine.sweeps.plan import Job
from causaltest.errors import CausaltestError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.sites import Site

Value = TypeVar("Value")

_DAMAGED = (TypeError, ValueError, KeyError, AttributeError)


@dataclass(frozen=True)
class Recalled(Generic[Value]):
    """A value, and where it is from.

    Parameters
    ----------
    value
        What was measured.
    runs
        When the runs began that measured it, or parts of it; none where it is from this one.
    """

    value: Value
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sweep:
    """A sweep as it is kept."""

    values: bytes
    ledger: tuple[Entry, ...]
    plan: Plan
    plain: bytes
    identity: bytes

    @staticmethod
    def of(swept: Swept) -> _Sweep:
        """Return a sweep in the form in which it is kept."""
        arrays = packed(swept.plain), packed(swept.identity)
        return _Sweep(packed(swept.values), swept.ledger, swept.plan, *arrays)

    def swept(self) -> Swept:
        """Return the sweep.

        Raises
        ------
        ValueError
            There are more or fewer numbers than its size says.
        """
        pairs = self.plan.pairs
        return Swept(
            unpacked(self.values, (pairs, self.plan.cells)),
            self.ledger,
            self.plan,
            unpacked(self.plain, (-1, pairs)),
            unpacked(self.identity, (pairs,)),
        )


class Recall:
    """Measurements on one model that are run once.

    What depends on code that no version tells about (a network, metric, edit or `forward=` of the
    caller's own) is measured every time.

    Parameters
    ----------
    cache
        Where numbers are kept; None measures everything every time.
    model
        The model.
    """

    def __init__(self, cache: Cache | None, model: Model) -> None:
        self._cache = cache
        self._model = model
        self._keys = Keys(model)
        self._identity: Identity | None = None
        self.why_not = ""
        """Why nothing of this model is kept; empty where it is."""
        if cache is not None:
            try:
                self._identity = Identity(model)
            except Unkeyed as reason:
                self.why_not = str(reason)
            self._know_architecture()

    def scores(
        self,
        intervention: Intervention,
        pairs: Pairs,
        metric: Metric,
        measure: Callable[[], Scores],
        *,
        allow_inert: bool = False,
    ) -> Recalled[Scores]:
        """Return scores under an intervention."""

        def asked() -> list[object]:
            edit = self._keys.intervention(intervention)
            return [edit, self._keys.pairs(pairs), self._keys.metric(metric), allow_inert]

        return self._recalled("scores", asked, Scores, measure)

    def plain(
        self,
        metric: Metric,
        pairs: Pairs,
        side: Literal["base", "source"],
        measure: Callable[[], tuple[float, ...]],
    ) -> Recalled[tuple[float, ...]]:
        """Return scores of plain runs."""

        def asked() -> list[object]:
            return [self._keys.metric(metric), self._keys.pairs(pairs), side]

        return self._recalled("plain", asked, tuple[float, ...], measure)

    def floor(
        self,
        sites: Sequence[Site],
        pairs: Pairs,
        metric: Metric,
        measure: Callable[[], float],
    ) -> Recalled[float]:
        """Return by how much the identity edit moves a metric."""

        def asked() -> list[object]:
            return [self._keys.sites(sites), self._keys.pairs(pairs), self._keys.metric(metric)]

        return self._recalled("floor", asked, float, measure)

    def number(
        self, what: str, site: Site | None, pairs: Pairs, measure: Callable[[], float]
    ) -> Recalled[float]:
        """Return one number of the plain runs of a pair set, e.g. the largest logit."""

        def asked() -> list[object]:
            return [what, repr(site), self._keys.pairs(pairs)]

        return self._recalled("number", asked, float, measure)

    def record(
        self,
        kind: str,
        form: type[Value],
        measure: Callable[[], Value],
        *,
        pairs: Pairs,
        metric: Metric | None = None,
        edits: Sequence[Intervention] = (),
        settings: Sequence[object] = (),
    ) -> Recalled[Value]:
        """Return plain data of any form that depends on nothing but what is named.

        Parameters
        ----------
        kind
            What it is; one form for each.
        form
            What is read back; an entry that has another is measured anew.
        measure
            Measures it.
        pairs, metric, edits, settings
            What it depends on; settings that are no plain data are measured every time.
        """

        def asked() -> list[object]:
            return [
                self._keys.pairs(pairs),
                None if metric is None else self._keys.metric(metric),
                [self._keys.intervention(edit) for edit in edits],
                plain(settings, f"a setting of {kind}"),
            ]

        return self._recalled(kind, asked, form, measure)

    def sweep(
        self,
        cells: Sequence[Intervention],
        pairs: Pairs,
        metric: Metric,
        measure: Callable[[Keeper | None], Swept],
        *,
        plan: str,
        beside: Beside | None = None,
        under: Intervention | None = None,
    ) -> Recalled[Swept]:
        """Return a sweep; one that was stopped goes on behind the last job that was finished."""

        def asked() -> list[object]:
            edits = [self._keys.intervention(cell) for cell in cells]
            also = beside or Beside()
            others = [self._keys.metric(cast("Metric", score)) for score in also.scores]
            wanted = [others, self._keys.sites(also.sites), sorted(also.sample)]
            first = None if under is None else self._keys.intervention(under)
            return [edits, self._keys.pairs(pairs), self._keys.metric(metric), plan, wanted, first]

        key = self._key("sweep", asked)
        if key is None:
            return Recalled(measure(None))
        cache = cast("Cache", self._cache)
        kept = cache.get(key, _Sweep)
        if kept is not None:
            with suppress(ValueError):
                return Recalled(kept.value.swept(), _named(kept.run))
        jobs = _Jobs(cache, key, self._holds)
        swept = measure(jobs)
        if self._holds() and self._keep(key, _Sweep.of(swept)):
            jobs.drop()
        return Recalled(swept, tuple(jobs.runs))

    def _recalled(
        self,
        kind: str,
        asked: Callable[[], list[object]],
        form: Any,
        measure: Callable[[], Value],
    ) -> Recalled[Value]:
        key = self._key(kind, asked)
        if key is None:
            return Recalled(measure())
        entry = cast("Cache", self._cache).get(key, form)
        if entry is not None:
            return Recalled(entry.value, _named(entry.run))
        value = measure()
        # What changed on the way would be kept under the name of what it was before.
        if self._holds():
            self._keep(key, value)
        return Recalled(value)

    def _key(self, kind: str, asked: Callable[[], list[object]]) -> str | None:
        """Return the key of a measurement; None where it cannot be kept."""
        if self._identity is None or not self._holds():
            return None
        try:
            return digest([kind, self._identity.sha256, asked()])
        except Unkeyed:
            return None

    def _holds(self) -> bool:
        """Return whether the model is still what it was; once it is not, nothing is kept."""
        if self._identity is None:
            return False
        try:
            self._identity.check()
        except Unkeyed as reason:
            self._identity, self.why_not = None, str(reason)
        return self._identity is not None

    def _keep(self, key: str, value: object) -> bool:
        assert self._cache is not None
        kept = self._cache.put(key, value)
        if kept:
            self._keep_architecture()
        return kept

    def _know_architecture(self) -> None:
        """Take what was found in the network from the cache, so that no probe runs."""
        if self._identity is None or "architecture" in vars(self._model):
            return
        kept = cast("Cache", self._cache).get(self._architecture_key(), dict[str, Any])
        if kept is None:
            return
        try:
            found = from_plain(kept.value)
        except _DAMAGED:
            return
        if isinstance(found, Architecture):
            vars(self._model)["architecture"] = found
            self._has_architecture = True

    _has_architecture = False

    def _keep_architecture(self) -> None:
        if self._has_architecture:
            return
        self._has_architecture = True
        try:
            plain = to_plain(self._model.architecture)
        except (CausaltestError, TypeError):
            return  # it is looked for in every run
        cast("Cache", self._cache).put(self._architecture_key(), plain)

    def _architecture_key(self) -> str:
        assert self._identity is not None
        return digest(["architecture", self._identity.sha256])


@dataclass
class _Jobs:
    """Finished jobs of one sweep in a cache."""

    cache: Cache
    key: str
    holds: Callable[[], bool]
    runs: dict[str, None] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def get(self, job: Job) -> Finished | None:
        """Return what a job gave, where it was kept."""
        entry = self.cache.get(self._key(job), Finished)
        if entry is None:
            return None
        try:
            entry.value.matrix(job)
            for beside in (entry.value.plain, entry.value.identity):
                unpacked(beside, (-1, len(job.pairs)))
        except ValueError:
            return None
        self.kept.append(self._key(job))
        self.runs.update(dict.fromkeys(_named(entry.run)))
        return entry.value

    def put(self, job: Job, finished: Finished) -> None:
        """Keep what a job gave."""
        if self.holds():
            self.cache.put(self._key(job), finished)
            self.kept.append(self._key(job))

    def drop(self) -> None:
        """Forget the jobs, once the whole is kept."""
        for key in self.kept:
            self.cache.drop(key)

    def _key(self, job: Job) -> str:
        return digest([self.key, job])


def _named(run: str) -> tuple[str, ...]:
    return (run,) if run else ()
