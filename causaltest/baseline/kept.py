"""What a baseline keeps of a run: verdicts, per-pair values, and hashes of what they rest on."""

from __future__ import annotations

import hashlib

import msgspec

from causaltest.records import Claim, PairRecord, Part, Results, VerdictName, ordered, pair_set_of

BASELINE_VERSION = 1


class KeptPairSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pairs that values belong to, in order: ids, hashes of their content, units."""

    name: str
    sha256: str
    ids: tuple[str, ...]
    digests: tuple[str, ...]
    units: tuple[str, ...]


class KeptPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison of a claim."""

    subject: str
    verdict: VerdictName
    relation: str
    bound: float
    estimate: float
    alpha: float
    floor: float
    unit: str
    values: tuple[float, ...]
    pair_set_sha256: str = ""
    units: tuple[str, ...] = ()
    """Of the values, where the pair set is not known."""
    totals: tuple[float, ...] = ()
    """For a ratio of means: each pair's denominator over the mean one."""
    stopped: bool = False
    """Whether it was settled before all pairs were run."""


class KeptClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One claim."""

    id: str
    claim: str
    verdict: VerdictName
    expected: VerdictName
    model: str
    source_sha256: str
    """Hash of the test as written."""
    exploratory: bool = False
    parts: tuple[KeptPart, ...] = ()


class KeptModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, by the hash of its weights."""

    name: str
    sha256: str


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `baseline.json`."""

    baseline_version: int
    alpha: float
    partial: bool
    """Whether a selection left hypotheses out."""
    models: tuple[KeptModel, ...]
    pair_sets: tuple[KeptPairSet, ...]
    claims: tuple[KeptClaim, ...]
    sha256: str = ""
    """Hash of all of the above, so that an edit is seen."""


def keep(results: Results) -> Baseline:
    """Reduce the results of a run to what a later run can be compared with.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    Baseline
        All claims that ran, those that ended in an error included.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> keep(Results(1, "complete", Run(alpha=0.05, correction="none", seed=0))).claims
    ()
    """
    sets = {
        each.sha256: KeptPairSet(
            name=each.name,
            sha256=each.sha256,
            ids=tuple(pair.id for pair in each.pairs),
            digests=tuple(map(_digest, each.pairs)),
            units=tuple(pair.unit for pair in each.pairs),
        )
        for each in results.run.pair_sets
    }
    return Baseline(
        baseline_version=BASELINE_VERSION,
        alpha=results.run.alpha,
        partial=results.run.partial,
        models=tuple(KeptModel(each.name, each.sha256) for each in results.run.models),
        pair_sets=tuple(sets.values()),
        claims=tuple(_kept(claim, results) for claim in ordered(results.claims)),
    )


def _kept(claim: Claim, results: Results) -> KeptClaim:
    return KeptClaim(
        id=claim.id,
        claim=claim.claim,
        verdict=claim.verdict,
        expected=claim.expected,
        model=claim.model,
        source_sha256=hashlib.sha256(claim.source.encode("utf-8", "replace")).hexdigest(),
        exploratory=claim.verdict == "exploratory",
        parts=tuple(_kept_part(part, results) for part in claim.parts),
    )


def _kept_part(part: Part, results: Results) -> KeptPart:
    pair_set = pair_set_of(part, results.run.pair_sets)
    stopped = 0 < part.n_pairs < part.n_available
    whole = pair_set is not None and not stopped and len(pair_set.pairs) == len(part.values)
    return KeptPart(
        subject=part.subject,
        verdict=part.verdict,
        relation=part.relation,
        bound=rounded(part.bound),
        estimate=rounded(part.estimate),
        alpha=rounded(part.alpha),
        floor=rounded(part.floor),
        unit=part.unit,
        values=tuple(map(rounded, part.values)),
        pair_set_sha256=pair_set.sha256 if whole and pair_set is not None else "",
        units=() if whole else part.units,
        totals=tuple(map(rounded, part.totals)),
        stopped=stopped,
    )


def rounded(value: float) -> float:
    """Round as `records.write` does, so that a run in memory equals the same run on disk."""
    return float(f"{value:.6g}") + 0.0


def _digest(pair: PairRecord) -> str:
    """Hash what a pair is made of; its id is only its place."""
    content = (
        pair.base, pair.source, pair.base_answer, pair.source_answer, pair.unit,
        sorted(pair.positions.items()),
    )  # fmt: skip
    return hashlib.sha256(repr(content).encode("utf-8", "backslashreplace")).hexdigest()[:16]
