"""Claims of several comparisons that must all hold: one verdict over many (intersection-union)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from causaltest.errors import EvidenceError
from causaltest.stats.decision import reaches
from causaltest.stats.judge import Judge
from causaltest.stats.verdict import Name, Verdict

_LISTED = 4


@dataclass(frozen=True, eq=False, repr=False)
class JointVerdict(Verdict):
    """One verdict over several comparisons that must all hold.

    Its numbers (estimate, interval, values, ...) are those of the comparison that decided it;
    `p_support` is the largest of all, `p_refute` the smallest times their number.
    """

    members: tuple[Verdict, ...] = ()
    """The comparisons, in the order given."""

    @property
    def unsupported(self) -> tuple[Verdict, ...]:
        """The comparisons that the evidence does not support, in the order given."""
        return tuple(each for each in self.members if each.name != "supported")

    def explain(self) -> list[str]:
        """Say in at most five lines what was found, number and verdict first."""
        lines = super().explain()
        total, missing = len(self.members), self.unsupported
        told = f"all {total} comparisons hold; the weakest is shown"
        if missing:
            listed = "; ".join(each.subject for each in missing[:_LISTED])
            more = f"; and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            told = f"{total - len(missing)} of {total} comparisons hold, not: {listed}{more}"
        return [*lines[:2], told, *lines[2:]][:5]


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
        raise EvidenceError("all_of() combines comparisons, e.g. all_of(a > 0.5, b < 0.1); got none")
    count = len(verdicts)
    alpha = min(each.alpha_claim for each in verdicts)
    parts = max(each.parts for each in verdicts)
    p_support = max(each.p_support for each in verdicts)
    p_refute = min(1.0, count * min(each.p_refute for each in verdicts))
    name = _named(p_support, p_refute, alpha, parts)
    deciding = _deciding(verdicts, name)
    inherited = {
        field.name: getattr(deciding, field.name)
        for field in dataclasses.fields(Verdict)
        if field.name != "_asked"
    }
    own = {
        "name": name,
        "statement": statement or " and ".join(each.statement for each in verdicts),
        "subject": subject or deciding.subject,
        "p_support": p_support,
        "p_refute": p_refute,
        "alpha_claim": alpha,
        "parts": parts,
        "pairs_needed": _pairs_needed(verdicts) if name == "inconclusive" else None,
        "notes": tuple(dict.fromkeys(note for each in verdicts for note in each.notes)),
        "members": tuple(verdicts),
    }
    return JointVerdict(**{**inherited, **own})


def shared_judge(judge: Judge | Callable[[], Judge], count: int) -> Callable[[], Judge]:
    """Return the judge of one of `count` comparisons that become one claim.

    It takes as many resamples as the refutation of any one asks for, and observes nothing: only
    the claim as a whole is observed.
    """

    def current() -> Judge:
        now = judge if isinstance(judge, Judge) else judge()
        return dataclasses.replace(now, parts=now.parts * count, observe=None)

    return current


def restored(verdict: JointVerdict, judge: Judge) -> JointVerdict:
    """Give a joint verdict over `shared_judge` comparisons the observer and parts of its claim."""
    name = _named(verdict.p_support, verdict.p_refute, verdict.alpha_claim, judge.parts)
    if name != verdict.name:
        # `parts` enters the rule once only: here, not in the members as well.
        members = verdict.members
        return restored(
            all_of(
                *(dataclasses.replace(each, parts=judge.parts) for each in members),
                statement=verdict.statement,
                subject=verdict.subject,
            ),
            judge,
        )
    return dataclasses.replace(verdict, parts=judge.parts, _observe=judge.observe, _asked=[False])


def _named(p_support: float, p_refute: float, alpha: float, parts: int) -> Name:
    if reaches(p_support, alpha):
        return "supported"
    return "refuted" if reaches(p_refute, alpha / parts) else "inconclusive"


def _deciding(verdicts: Sequence[Verdict], name: Name) -> Verdict:
    if name == "refuted":
        return min(verdicts, key=lambda each: each.p_refute)
    return max(verdicts, key=lambda each: each.p_support)


def _pairs_needed(verdicts: Sequence[Verdict]) -> int | None:
    open_ = [each.pairs_needed for each in verdicts if each.name == "inconclusive"]
    known = [count for count in open_ if count is not None]
    return max(known) if known and len(known) == len(open_) else None
