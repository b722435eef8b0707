"""The shape of a record: claims, verdicts and environment as frozen structs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from causaltest.records.figures import (
    Axis,
    CircuitGraph,
    CircuitNode,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Map,
    Shown,
    Specification,
)

SCHEMA_VERSION = 1
"""Fields may join with a default and keep it, so that files of earlier versions are read."""

VerdictName = Literal["supported", "refuted", "inconclusive", "exploratory", "error", "not run"]
Outcome = Literal["passed", "failed", "error", "skipped"]


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A confidence interval; `level` is its two-sided coverage, e.g. 0.95."""

    low: float
    high: float
    level: float


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Effect sizes that stand beside a verdict and never decide it.

    For rates: the difference from the bound, or of two rates, and the ratio of their odds (half a
    pair added to each count, so that it is finite).
    """

    share_in_direction: float | None = None
    share_interval: Interval | None = None
    d_z: float | None = None
    d_z_interval: Interval | None = None
    fraction_of_total: float | None = None
    risk_difference: float | None = None
    odds_ratio: float | None = None
    odds_ratio_interval: Interval | None = None
    prediction: Interval | None = None
    """Where the mean of one more unit would lie, by normal theory."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison whose truth was asked: most claims have one part, some several."""

    statement: str
    """The comparison with its numbers filled in, e.g. `recovery > 0.5`."""
    subject: str
    """What was measured, e.g. `recovery of interchange(block_output[2]@name)`."""
    verdict: VerdictName
    relation: Literal[">", "<", "within"]
    bound: float
    """The bound; for `within` the margin m of -m < effect < m."""
    estimate: float
    interval: Interval
    """Unadjusted, at the run's alpha."""
    adjusted_interval: Interval
    """At alpha_i, the level this hypothesis is decided at; the verdict follows from it."""
    p_support: float
    p_refute: float
    alpha: float
    """alpha_i: two-sided level after correction for the family."""
    n_pairs: int
    n_units: int
    unit: str
    """What the units are, e.g. `template`, or `pair` where the pair set has no clusters."""
    method: str
    """e.g. `hull on 12 template means, 9,999 resamples`."""
    floor: float
    """Numeric floor: effects this small count as zero."""
    pairs_needed: int | None = None
    """For inconclusive parts: pairs that would settle it at this spread with 80 % power."""
    sizes: Sizes = Sizes()
    source_text: str = ""
    """The assert as written in the test, if it could be read."""
    values: tuple[float, ...] = ()
    """One per pair, in the order of the pair set and on the scale of the estimate: where that is a
    ratio of means (recovery), each pair's numerator over the mean denominator."""
    units: tuple[str, ...] = ()
    """The unit (cluster label) of each value."""
    totals: tuple[float, ...] = ()
    """Where the estimate is a ratio of means: each pair's denominator over the mean one."""
    scale: str = ""
    """What the estimate is counted in, e.g. `fraction` or `logits`; one figure axis shows one."""
    pair_set: str = ""
    """Name of the pair set that the values belong to."""
    pair_set_sha256: str = ""
    """Its content hash, which tells pair sets of one name apart in the run's `pair_sets`."""
    n_available: int = 0
    """Pairs there were, where a sequential run could have stopped before the last; else 0. The
    intervals are then those of a confidence sequence, valid at whatever time one stops."""
    pair_ids: tuple[str, ...] = ()
    """The id of each value's pair, where not all pairs of the set were run."""


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that one declared edit happened."""

    intervention: str
    site: str
    module: str
    fired: int
    """Forward calls in which the edit was applied."""
    rows: int
    """Prompts edited."""
    positions: int
    """Token positions edited, over all rows."""
    dims: int
    """Width of what was edited at each position."""
    changed: int
    """Rows in which at least one number changed."""


class PairRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One counterfactual pair as shown to readers."""

    id: str
    base: str
    source: str
    base_answer: str = ""
    source_answer: str = ""
    unit: str = ""
    positions: dict[str, str] = {}


class PairSetRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair set used by at least one claim."""

    name: str
    sha256: str
    cluster: str | None
    n_pairs: int
    n_units: int
    pairs: tuple[PairRecord, ...] = ()


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hypothesis and what became of it."""

    id: str
    """The key that the test gives it, with its case in brackets; else the pytest node id."""
    claim: str
    """First line of the docstring, or the test's name in words."""
    file: str
    line: int
    verdict: VerdictName
    expected: VerdictName
    outcome: Outcome
    model: str = ""
    docstring: str = ""
    source: str = ""
    """The test function as written."""
    parts: tuple[Part, ...] = ()
    """In the order asked. The claim's own numbers are those of the part that decided it; only
    `p_refute` is that of the part times the comparisons, any of which may fail."""
    deciding: int | None = None
    """Index into `parts` of the part that decided the verdict."""
    family: str = ""
    family_size: int = 1
    estimate: float | None = None
    interval: Interval | None = None
    adjusted_interval: Interval | None = None
    relation: str = ""
    bound: float | None = None
    n_pairs: int = 0
    n_units: int = 0
    unit: str = ""
    p_support: float | None = None
    p_refute: float | None = None
    p_adjusted: float | None = None
    """Adjusted one-sided p of the verdict's direction in the family (Holm; for support where
    hypotheses have gates, the serial procedure); holds at alpha / 2."""
    registration: str = ""
    """`registered`, `post-hoc` or `changed`; empty where nothing is registered."""
    requires: tuple[str, ...] = ()
    """Ids of the claims that had to be supported before this one was tested."""
    q_value: float | None = None
    """For exploratory claims: Benjamini-Hochberg q of `p_support` among those of the family."""
    edits: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()
    """Warnings and remarks a reader must see, e.g. an undeclared cluster."""
    error: str = ""
    """For errors: the message."""
    shown: Shown | None = None
    """What its figures show beside the numbers of its parts; None where there is no more."""
    specification: Specification | None = None
    """Where the claim is one of several specifications of the same hypothesis."""
    test: str = ""
    """The pytest node id where `id` is another; see `nodeid`."""
    seconds: float = 0.0
    """How long the claim took; `write` keeps it under `run`, where all times live."""

    @property
    def nodeid(self) -> str:
        """What pytest calls its test."""
        return self.test or self.id


class ModelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that was tested."""

    name: str
    architecture: str
    parameters: int
    sha256: str
    """Hash over all weights."""
    dtype: str
    device: str
    layers: int
    components: tuple[str, ...] = ()


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how the run happened."""

    python: str
    platform: str
    packages: dict[str, str]
    git_commit: str = ""
    git_dirty: bool | None = None
    command: str = ""
    threads: int = 0


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings that every claim of the run shares."""

    alpha: float
    correction: str
    seed: int
    started: str = ""
    finished: str = ""
    seconds: float = 0.0
    partial: bool = False
    """True where a selection (`-k`, `::`, `--lf`, ...) left collected hypotheses out."""
    models: tuple[ModelRecord, ...] = ()
    pair_sets: tuple[PairSetRecord, ...] = ()
    environment: Environment | None = None
    notes: tuple[str, ...] = ()
    """Remarks on the whole run that a reader must see, e.g. that it was cut short."""
    claim_seconds: dict[str, float] = {}
    """Seconds per claim id, filled in by `write`."""


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `results.json`."""

    schema_version: int
    status: Literal["started", "complete", "partial"]
    run: Run
    claims: tuple[Claim, ...] = ()


def count(claims: Iterable[Claim]) -> dict[VerdictName, int]:
    """Count claims by verdict, every verdict present.

    Parameters
    ----------
    claims
        The claims to count.

    Returns
    -------
    dict
        Number of claims for each of the six verdicts, in the order a report lists them.

    Examples
    --------
    >>> count(())["supported"]
    0
    """
    counts: dict[VerdictName, int] = {
        "supported": 0,
        "refuted": 0,
        "inconclusive": 0,
        "exploratory": 0,
        "error": 0,
        "not run": 0,
    }
    for claim in claims:
        counts[claim.verdict] += 1
    return counts


def pair_set_of(part: Part, pair_sets: Iterable[PairSetRecord]) -> PairSetRecord | None:
    """Find the pair set that a part was measured on.

    Parameters
    ----------
    part
        The part.
    pair_sets
        The pair sets of the run.

    Returns
    -------
    PairSetRecord or None
        The set with the part's name and hash. None where none is recorded, or where the part
        gives no hash and several sets share its name: a guess would show the wrong prompts.
    """
    named = [each for each in pair_sets if each.name == part.pair_set]
    if part.pair_set_sha256:
        named = [each for each in named if each.sha256 == part.pair_set_sha256]
    return named[0] if len(named) == 1 else None


def ordered(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Sort claims by file, line and id, since processes deliver them as they finish.

    Parameters
    ----------
    claims
        The claims in any order.

    Returns
    -------
    tuple of Claim
        The same claims in reading order.

    Examples
    --------
    >>> ordered(())
    ()
    """
    return tuple(sorted(claims, key=lambda claim: (claim.file, claim.line, claim.id)))


RECORDS: tuple[type[msgspec.Struct], ...] = (
    Results,
    Run,
    Claim,
    Part,
    Interval,
    Sizes,
    Edit,
    PairRecord,
    PairSetRecord,
    ModelRecord,
    Environment,
    Shown,
    Map,
    Axis,
    DoseCurve,
    ControlStrip,
    EvidencePath,
    CircuitGraph,
    CircuitNode,
    Specification,
)
