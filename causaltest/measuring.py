"""What everything that measures effects shares: runs, checks of what is asked, and the trail."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch

from causaltest import health
from causaltest.cache import Recall, Recalled
from causaltest.engine.ledger import Entry
from causaltest.engine.model import Model
from causaltest.engine.run import Scores, score
from causaltest.errors import CausaltestError, InterventionError, PairError
from causaltest.fitted import Fitted
from causaltest.interventions import Intervention
from causaltest.metrics import Metric, correctness
from causaltest.pairs import Pairs, Prompt
from causaltest.plain_runs import PlainRuns
from causaltest.sites import END, Pos, Site
from causaltest.stats import Judge

_IDENTITY_TOLERANCE = 1e-3

Value = TypeVar("Value")


@dataclass
class Trail:
    """What was done since the trail was last cleared; reports are written from it."""

    edits: list[Entry] = field(default_factory=list)
    pair_sets: dict[str, Pairs] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    findings: dict[health.Finding, None] = field(default_factory=dict)
    """What health checks found."""
    mapped: dict[str, Pairs] = field(default_factory=dict)
    """Pair sets on which places were looked at, by hash."""
    counted_in: dict[str, str] = field(default_factory=dict)
    """What each measured subject is counted in: `fraction`, `logits`, ..."""

    def clear(self) -> None:
        """Start afresh."""
        self.edits.clear()
        self.pair_sets.clear()
        self.notes.clear()
        self.findings.clear()
        self.mapped.clear()

    def take(self) -> Trail:
        """Return what is there, and start afresh; what subjects are counted in stays."""
        taken = Trail(
            [*self.edits], {**self.pair_sets}, {**self.notes}, {**self.findings}, {**self.mapped}
        )
        self.clear()
        return taken

    def add(self, other: Trail) -> None:
        """Add what another trail holds, as if it had been done here."""
        self.edits.extend(other.edits)
        self.pair_sets.update(other.pair_sets)
        self.notes.update(other.notes)
        self.findings.update(other.findings)
        self.mapped.update(other.mapped)

    def find(self, *found: health.Finding | None) -> None:
        """Note what health checks found, if anything."""
        self.findings.update(dict.fromkeys(each for each in found if each is not None))

    def unit_of(self, subject: str) -> str:
        """Return what a subject, or a difference of subjects, is counted in."""
        return next((unit for known, unit in self.counted_in.items() if known in subject), "")


class Measuring(Fitted, ABC):
    """Measures on one model, and notes in a trail what it did.

    Parameters
    ----------
    model
        The model that is measured.
    """

    _judge: Callable[[], Judge]
    _recall: Recall
    _runs: PlainRuns
    _sequential: bool

    def __init__(self, model: Model) -> None:
        self.model = model
        self.trail = Trail()
        self._known = []
        self._is_twin = False

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the tokens of a prompt."""
        return self.model.prompts.ids(prompt)

    def _first_look(self, pairs: Pairs) -> Pairs:
        """Return the pairs on which the task is looked at."""
        return pairs

    def _run(self, intervention: Intervention, pairs: Pairs, metric: Metric) -> Scores:
        measured = self._score(intervention, pairs, metric)
        self._keep(measured.ledger)
        return measured

    def _score(
        self, intervention: Intervention, pairs: Pairs, metric: Metric, *, allow_inert: bool = False
    ) -> Scores:
        def measure() -> Scores:
            return score(self.model, intervention, pairs, metric, allow_inert=allow_inert)

        return self._told(
            self._recall.scores(intervention, pairs, metric, measure, allow_inert=allow_inert)
        )

    def _told(self, found: Recalled[Value]) -> Value:
        """Return a value, and note where it is from if it was measured in an earlier run."""
        for run in found.runs:
            self._note(f"re-used from the cache: numbers that the run of {run} measured")
        return found.value

    def _keep(self, ledger: Iterable[Entry]) -> None:
        for entry in ledger:
            self.trail.edits.append(entry)
            if entry.note:
                self.trail.notes[entry.note] = None

    def _note(self, text: str) -> None:
        self.trail.notes[text] = None

    def _counts_in(self, subject: str, unit: str) -> None:
        self.trail.counted_in[subject] = unit

    def _scores(
        self, metric: Metric, pairs: Pairs, side: Literal["base", "source"]
    ) -> tuple[float, ...]:
        """Score plain runs, once for each pair set, metric and side."""
        return self._told(self._runs.scores(metric, pairs, side))

    def _floor(
        self,
        sites: tuple[Site, ...],
        pairs: Pairs,
        metric: Metric,
        total: tuple[float, ...] | None,
    ) -> float:
        """Measure the numeric floor with the identity edit, in units of the effect."""
        base = self._scores(metric, pairs, "base")
        floor = self._told(self._runs.floor(sites, pairs, metric))
        return self._settled(floor, sites, metric, base, total)

    def _settled(
        self,
        moved: float,
        sites: tuple[Site, ...],
        metric: Metric,
        base: tuple[float, ...],
        total: tuple[float, ...] | None,
    ) -> float:
        """Return what the identity control moves in units of the effect, or refuse too much."""
        size = _mean_size(total) if total is not None else _mean_size(base)
        tolerance = max(_IDENTITY_TOLERANCE, 8 * torch.finfo(self.model.dtype).eps)
        if size > 0 and moved > tolerance * size:
            raise InterventionError(
                f"replacing {', '.join(map(str, sites[:3]))} by its own activation moves {metric} "
                f"by up to {moved:.3g}, more than {tolerance:.1g} of its size ({size:.3g})\n"
                "The model is not deterministic, or its precision is too low for this effect; "
                "try float32 on one device"
            )
        if total is None:
            return moved
        mean_total = abs(math.fsum(total)) / len(total)
        return moved / mean_total if mean_total > 0 else 0.0

    def _check(self, intervention: Intervention, on: Pairs, *, at: Pos) -> Pairs:
        if not isinstance(intervention, Intervention):
            hint = "interchange(...)" if isinstance(intervention, Site) else "interchange(site)"
            raise InterventionError(
                f"expected an intervention such as {hint}; got {intervention!r} "
                f"({type(intervention).__name__})"
            )
        for site in intervention.sites:
            self.model.access(site)
        pairs = self._check_pairs(on, at=at)
        self.check_unseen(intervention, pairs)
        return pairs

    def _check_pairs(self, on: Pairs, *, at: Pos = END, gate: bool = False) -> Pairs:
        if not isinstance(on, Pairs):
            raise PairError(
                f"on= takes a pair set (Pairs); got {type(on).__name__}. "
                "Wrap pairs as Pairs([...], name=..., cluster=...)"
            )
        if self._runs.refresh():
            self._note(
                "the network was changed since earlier numbers were measured; its plain runs were "
                "measured anew"
            )
        self.trail.pair_sets[on.sha256] = on
        if on.cluster is None:
            _check_different(on)
            self.trail.notes[
                f"pair set {on.name} has cluster=None: each pair counts as its own unit, so the "
                "verdict speaks of new pairs of this kind, not of new templates"
            ] = None
        # A claim about the accuracy itself needs no remark on it.
        if not gate:
            self._note_weak_baseline(on, at)
        return on

    def _note_weak_baseline(self, pairs: Pairs, at: Pos) -> None:
        if self._is_twin or any(pair.base_answer is None for pair in pairs):
            return
        pairs = self._first_look(pairs)
        metric = correctness("base_answer", at=at)
        try:
            # No number of the claim, so nothing is said of where it is from.
            right = self._runs.scores(metric, pairs, "base").value
        except CausaltestError:
            return  # answers of several tokens: only metrics of the user's own can score them
        self._find_weak_baseline(pairs, right)

    def _find_weak_baseline(self, pairs: Pairs, right: Sequence[float]) -> None:
        """Note a task that the model mostly fails at, by whether each answer is right."""
        if not self._is_twin:
            self.trail.find(health.weak_baseline(self.model.name, right, pairs.name))


def _mean_size(values: Sequence[float]) -> float:
    return math.fsum(map(abs, values)) / len(values)


def _check_different(pairs: Pairs) -> None:
    """Refuse the same pair under two ids where each pair counts as its own unit."""
    if pairs.repeated is not None:
        one, other = pairs.repeated
        raise PairError(
            f"pairs {one!r} and {other!r} of {pairs.name} are the same pair under two ids, and "
            "with cluster=None each would count as evidence of its own\n"
            "take one out; or, if what they were made from differs, put that into a label and "
            "name it as the cluster"
        )
