"""Two interventions, two tasks: double dissociation and interaction."""

from __future__ import annotations

from causaltest.errors import EvidenceError
from causaltest.stats.conjunction import JointVerdict, every, rejudged
from causaltest.stats.effect import Effect


def double_dissociation(
    a_on_a: Effect,
    a_on_b: Effect,
    b_on_a: Effect,
    b_on_b: Effect,
    *,
    at_least: float,
    margin: float,
) -> JointVerdict:
    """Claim that A matters to task A only, and B to task B only.

    Necessity without specificity is empty: a component whose loss harms every task is necessary
    to each.

    Parameters
    ----------
    a_on_a, b_on_b
        What each intervention does to its own task, signed so that the claimed harm is positive.
    a_on_b, b_on_a
        What it does to the other task.
    at_least
        Effect on the own task that counts.
    margin
        Effect on the other task that does not; below `at_least`.

    Returns
    -------
    JointVerdict
        Supported where both own effects exceed `at_least` and both others lie within the margin.

    Raises
    ------
    EvidenceError
        If the margin is not below `at_least`: one effect could then be both.

    Notes
    -----
    Shallice (1988), From Neuropsychology to Mental Structure, chapter 10; intersection-union.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(30)]
    >>> def effect(mean):
    ...     return Effect(rng.normal(mean, 0.2, 30), units=names, pair_ids=names)
    >>> found = double_dissociation(
    ...     effect(1.0), effect(0.0), effect(0.0), effect(1.0), at_least=0.5, margin=0.2
    ... )
    >>> bool(found)
    True
    """
    if not 0.0 < margin <= at_least:
        raise EvidenceError(
            f"a margin of {margin:g} beside at_least = {at_least:g}: expected 0 < margin <= "
            "at_least, so that no effect both counts and does not"
        )
    return every(
        lambda shared: [
            rejudged(a_on_a, shared) > at_least,
            rejudged(b_on_b, shared) > at_least,
            abs(rejudged(a_on_b, shared)) < margin,
            abs(rejudged(b_on_a, shared)) < margin,
        ],
        count=4,
        judge=lambda: a_on_a.judge,
        statement=f"own effects > {at_least:g}, others within ±{margin:g}",
        subject=f"double dissociation of {a_on_a.subject} and {b_on_b.subject}",
    )


def interaction(joint: Effect, *single: Effect) -> Effect:
    """What interventions do together beyond the sum of what each does.

    Positive where harm together exceeds the sum, as with backups that stand in for one another;
    claim `abs(interaction(...)) < m` for none, or `> x`.

    Parameters
    ----------
    joint
        The effect of all interventions at once.
    single
        The effect of each alone, on the same pairs; at least two.

    Raises
    ------
    EvidenceError
        If fewer than two single effects are given.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(6)]
    >>> def effect(value):
    ...     return Effect([value] * 6, units=names, pair_ids=names)
    >>> round(interaction(effect(1.0), effect(0.2), effect(0.3)).estimate, 3)
    0.5
    """
    if len(single) < 2:
        raise EvidenceError(
            f"an interaction needs the effects of at least two interventions alone, "
            f"got {len(single)}"
        )
    together = joint
    for each in single:
        together = together - each
    return Effect(
        together.values,
        scale=together.scale,
        **together.columns.pairing,
        subject=f"interaction of {' and '.join(each.subject for each in single)}",
        metric=joint.metric,
        floor=together.floor,
        judge=lambda: joint.judge,
        name=f"interaction in {joint.metric}" if joint.metric else "interaction",
    )


def joint_over_sum(joint: Effect, *single: Effect) -> float:
    """Ratio of the joint effect to the sum of the single ones, for display.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(6)]
    >>> def effect(value):
    ...     return Effect([value] * 6, units=names, pair_ids=names)
    >>> joint_over_sum(effect(1.0), effect(0.2), effect(0.3))
    2.0
    """
    total = sum(each.estimate for each in single)
    return joint.estimate / total if total else float("nan")
