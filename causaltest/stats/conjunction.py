"""Claims of several comparisons that must all hold: one verdict over many (intersection-union)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from causaltest.errors import EvidenceError
from causaltest.stats.decision import reaches
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.shown import together
from causaltest.stats.verdict import Doubt, Name, Verdict

_LISTED = 4


@dataclass(frozen=True, eq=False, repr=False)
class JointVerdict(Verdict):
    """One verdict over several comparisons that must all hold.

    Its numbers (estimate, interval, values, ...) are those of the comparison that decided it;
    `p_support` is the largest of all, `p_refute` the smallest times their number.
    """

    members: tuple[Verdict, ...] = ()
    """The comparisons, in the order given."""
    deciding: Verdict | None = None
    """The comparison whose numbers these are."""

    def __bool__(self) -> bool:
        # Asked through this claim: what explains an assertion must not report the parts again.
        for each in self.members:
            each._asked[0] = True  # noqa: SLF001
        return super().__bool__()

    @property
    def unsupported(self) -> tuple[Verdict, ...]:
        """The comparisons that the evidence does not support, in the order given.

        Of a joint comparison among them its own unsupported ones stand for it.
        """
        found: list[Verdict] = []
        for each in self.members:
            if each.name != "supported":
                inner = each.unsupported if isinstance(each, JointVerdict) else ()
                found += inner or (each,)
        return tuple(found)

    def explain(self) -> list[str]:
        """Say in at most five lines what was found, number and verdict first."""
        lines = super().explain()
        total, missing = len(self.members), self.unsupported
        held = sum(each.name == "supported" for each in self.members)
        if missing:
            listed = "; ".join(each.subject for each in missing[:_LISTED])
            more = f"; and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            told = f"{held} of {total} comparisons hold, not: {listed}{more}"
        else:
            told = f"all {total} comparisons hold; the weakest is shown"
        return [*lines[:2], told, *lines[2:]][:5]

    def _where(self) -> str:
        if self.deciding is None:
            return super()._where()
        return self.deciding._where()  # noqa: SLF001

    def _settling(self) -> str:
        if self.pairs_needed is not None or self.deciding is None:
            return super()._settling()
        return self.deciding._settling()  # noqa: SLF001


def all_of(*verdicts: Verdict, statement: str = "", subject: str = "") -> JointVerdict:
    """Combine comparisons into one claim that holds where all of them hold.

    Supported where each is supported at the claim's own level: an intersection-union test needs
    no correction. Refuted where one is refuted at the level divided by their number.

    Parameters
    ----------
    verdicts
        Results of comparisons, e.g. `a > 0.5, abs(b) < 0.1`; at least one.
    statement
        The claim in words; by default the statements joined by "and".
    subject
        What the claim is about; by default that of the comparison that decides.

    Raises
    ------
    EvidenceError
        If no verdict is given.

    Notes
    -----
    Source: Berger (1982), Multiparameter hypothesis testing and acceptance sampling,
    Technometrics 24.

    Examples
    --------
    >>> from causaltest.stats import Effect
    >>> names = [f"pair {i}" for i in range(8)]
    >>> values = [0.9, 1.1, 0.7, 1.3, 1.0, 0.8, 1.2, 1.0]
    >>> effect = Effect(values, units=names, pair_ids=names, subject="logit_diff of a patch")
    >>> both = all_of(effect > 0.5, effect < 2.0)
    >>> bool(both), len(both.members)
    (True, 2)
    """
    if not verdicts:
        raise EvidenceError(
            "all_of() combines comparisons, e.g. all_of(a > 0.5, b < 0.1); got none"
        )
    parts = max(each.parts for each in verdicts)
    return _joined(verdicts, count=len(verdicts), parts=parts, statement=statement, subject=subject)


def every(
    members: Callable[[Judge], Iterable[Verdict]],
    *,
    count: int,
    judge: Judge | Callable[[], Judge],
    statement: str,
    subject: str,
) -> JointVerdict:
    """Make one claim of `count` comparisons that are built for it.

    Parameters
    ----------
    members
        Returns the comparisons for a judge; it takes as many resamples as refuting any one of
        them asks for, and observes nothing, since only the claim as a whole is observed.
    count
        Number of comparisons.
    judge
        The judge of the claim.
    statement, subject
        As for `all_of`.

    Notes
    -----
    Of very many comparisons `members` may give the extreme ones only, those with the largest
    `p_support` and the smallest `p_refute` among them.
    """
    now = judge if isinstance(judge, Judge) else judge()
    shared = replace(now, parts=now.parts * count, observe=None)
    joint = _joined(
        tuple(members(shared)),
        count=count,
        parts=now.parts,
        statement=statement,
        subject=subject,
    )
    return replace(joint, _observe=now.observe)


def _joined(
    verdicts: Sequence[Verdict], *, count: int, parts: int, statement: str, subject: str
) -> JointVerdict:
    alpha = min(each.alpha_claim for each in verdicts)
    p_support = max(each.p_support for each in verdicts)
    p_refute = min(1.0, count * min(each.p_refute for each in verdicts))
    name: Name = "inconclusive"
    if reaches(p_support, alpha):
        name = "supported"
    elif reaches(p_refute, alpha / parts):
        name = "refuted"
    deciding = (
        min(verdicts, key=lambda each: each.p_refute)
        if name == "refuted"
        else max(verdicts, key=lambda each: each.p_support)
    )
    inherited: dict[str, Any] = {
        each.name: getattr(deciding, each.name) for each in fields(Verdict) if each.init
    }
    own: dict[str, Any] = {
        "name": name,
        "statement": statement or " and ".join(each.statement for each in verdicts),
        "subject": subject or deciding.subject,
        "p_support": p_support,
        "p_refute": p_refute,
        "alpha_claim": alpha,
        "parts": parts,
        "pairs_needed": _pairs_needed(verdicts) if name == "inconclusive" else None,
        "notes": tuple(dict.fromkeys(note for each in verdicts for note in each.notes)),
        "shown": together(*(each.shown for each in verdicts)),
        "doubt": _doubt(verdicts, name, deciding),
        "members": tuple(verdicts),
        "deciding": deciding,
        "_asked": [False],
    }
    return JointVerdict(**{**inherited, **own})


def _doubt(verdicts: Sequence[Verdict], name: Name, deciding: Verdict) -> Doubt | None:
    """Support rests on every comparison, a refutation on the one that decided."""
    if name == "supported":
        doubts = [each.doubt for each in verdicts if each.doubt is not None]
        return max(doubts, key=lambda each: each.p / each.level, default=None)
    return deciding.doubt if name == "refuted" else None


def _pairs_needed(verdicts: Sequence[Verdict]) -> int | None:
    unsettled = [each.pairs_needed for each in verdicts if each.name != "supported"]
    known = [count for count in unsettled if count is not None]
    return max(known) if known and len(known) == len(unsettled) else None


def rejudged(effect: Effect, judge: Judge) -> Effect:
    """Return the same effect under another judge."""
    found = Effect(
        effect.values,
        scale=effect.scale,
        **effect.columns.pairing,
        subject=effect.subject,
        metric=effect.metric,
        floor=effect.floor,
        judge=judge,
    )
    found.shown = effect.shown
    return found
