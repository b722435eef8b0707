"""Comparisons of two runs: what is called worse, and how seldom where nothing changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from causaltest.baseline import compare, keep
from causaltest.baseline.comparing import Margin
from causaltest.errors import RecordError
from causaltest.report.comparison import table
from causaltest.report.markdown import compared as markdown
from causaltest.report.markdown import escaped


def compared(old, new, **options):
    """Compare two runs of records."""
    return compare(keep(old), keep(new), **options)


def only(old, new, **options):
    """Compare two runs of one claim."""
    (found,) = compared(old, new, **options).claims
    return found


def test_a_run_is_not_worse_than_itself(runs, values):
    """Equal values need no test: nothing is spent, and every claim is the same."""
    run = runs.results(runs.claim("a", runs.part(values)), runs.claim("b", runs.part(values)))
    found = compared(run, run)
    assert [each.state for each in found.claims] == ["same", "same"]
    assert (found.tests, found.worse) == (0, ())


@pytest.mark.parametrize(
    "relation, expected, shift, state",
    [
        (">", "supported", -0.3, "worse"),
        (">", "supported", 0.3, "better"),
        ("<", "supported", 0.3, "worse"),
        ("<", "supported", -0.3, "better"),
        (">", "refuted", 0.3, "worse"),
        (">", "refuted", -0.3, "better"),
        ("<", "refuted", -0.3, "worse"),
        ("within", "supported", 0.3, "worse"),
        ("within", "supported", -0.3, "better"),
        (">", "inconclusive", -0.3, "changed"),
    ],
)
def test_the_claim_says_which_way_is_worse(runs, values, relation, expected, shift, state):
    """A larger effect is better for `>`, worse for `<`, and the reverse for what should fail."""
    asked = {"relation": relation, "verdict": expected, "bound": 0.5}
    fields = {"verdict": expected, "expected": expected}
    noise = [0.01 * math.sin(i) for i in range(24)]
    moved = [v + shift + e for v, e in zip(values, noise, strict=True)]
    old = runs.results(runs.claim("a", runs.part(values, **asked), **fields))
    new = runs.results(runs.claim("a", runs.part(moved, **asked), **fields))
    found = only(old, new)
    assert found.state == state
    # By hand: the mean of new less old, over twelve templates of two pairs each.
    assert found.drift.change == pytest.approx(shift + sum(noise) / 24, abs=2e-5)
    assert found.drift.interval is not None
    low, high = found.drift.interval
    assert low < float(found.drift.change) < high


def test_a_fall_within_the_margin_is_not_worse(runs, values):
    """A shift of 0.06 is shown where 0.05 matters, and held to be none where a tenth does."""
    moved = [v - 0.06 + 0.005 * (-1) ** (i // 3) for i, v in enumerate(values)]
    old, new = (
        runs.results(runs.claim("a", runs.part(values))),
        runs.results(runs.claim("a", runs.part(moved))),
    )
    assert only(old, new).drift.name == "held"
    assert only(old, new, margin=Margin(0.05, relative=False)).drift.name == "worse"
    assert only(old, new, margin=Margin(0.05)).drift.name == "worse"


def test_an_interval_across_the_margin_is_unclear(runs, values):
    """Wide differences show neither a fall nor its absence, and that is said."""
    moved = [v - 0.1 + 0.6 * (-1) ** (i % 12 // 2) for i, v in enumerate(values)]
    found = only(
        runs.results(runs.claim("a", runs.part(values))),
        runs.results(runs.claim("a", runs.part(moved))),
    )
    assert (found.state, found.drift.name) == ("unclear", "unclear")


def test_the_interval_is_that_of_a_paired_t_test_over_templates(runs):
    """For normal differences it is Student's on template means at alpha / m, or little wider."""
    rng = np.random.default_rng(5)
    old = rng.normal(1.0, 0.5, (3, 24))
    new = old - 0.2 + rng.normal(0.0, 0.1, (3, 24))
    both = [
        runs.results(
            *(runs.claim(f"c{i}", runs.part(list(map(float, row)))) for i, row in enumerate(rows))
        )
        for rows in (old, new)
    ]
    found = compared(*both)
    assert found.tests == 3
    for i, each in enumerate(found.claims):
        means = (new[i] - old[i]).reshape(2, 12).mean(axis=0)
        low, high = scipy_stats.t.interval(
            1 - 0.05 / 3, 11, means.mean(), means.std(ddof=1) / math.sqrt(12)
        )
        assert each.drift is not None
        assert each.drift.interval is not None
        found_low, found_high = each.drift.interval
        # The hull of several intervals: never narrower than Student's, and little wider.
        assert found_low <= low + 1e-4
        assert found_high >= high - 1e-4
        assert found_high - found_low < 1.35 * (high - low)
        assert each.state == "worse"


def test_more_claims_ask_for_more(runs, values):
    """A change that is shown alone is not shown among twenty that were tested with it."""
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 1.0, 12)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    # t = -3 on 11 degrees of freedom: two-sided p = .012, between .05 / 20 and .05.
    drop = np.tile(-0.05 * 3 / math.sqrt(12) + 0.05 * noise, 2)
    moved = [v + d for v, d in zip(values, drop, strict=True)]
    exact = Margin(0.0, relative=False)
    one = [runs.results(runs.claim("a", runs.part(v))) for v in (values, moved)]
    assert only(*one, margin=exact).state == "worse"
    many = [
        runs.results(*(runs.claim(f"c{i}", runs.part(v)) for i in range(20)))
        for v in (values, moved)
    ]
    found = compared(*many, margin=exact)
    assert (found.tests, {each.state for each in found.claims}) == (20, {"unclear"})


def test_false_alarms_stay_below_alpha(runs):
    """In 400 pairs of runs that differ by noise only, few have any claim called worse.

    Four claims of one direction: the bound is alpha / 2 = .025. The test allows what a rate of
    .025 exceeds once in ten thousand times.
    """
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        old = rng.normal(1.0, 0.5, (4, 24))
        shared = np.tile(rng.normal(0.0, 0.2, (4, 12)), 2)
        new = old + shared + rng.normal(0.0, 0.2, (4, 24))
        both = [
            runs.results(
                *(
                    runs.claim(f"c{i}", runs.part(list(map(float, row))))
                    for i, row in enumerate(rows)
                )
            )
            for rows in (old, new)
        ]
        alarms += bool(compared(*both, margin=Margin(0.0, relative=False)).worse)
    assert alarms <= scipy_stats.binom.ppf(0.9999, 400, 0.025)


def test_changed_denominators_raise_no_alarm(runs):
    """Recoveries whose total effects wobble more than what is recovered: alarms stay below alpha.

    As plain means of shares, which take the mean total for a constant, they would be three times
    as many as alpha / 2 allows.
    """
    rng = np.random.default_rng(13)
    alarms = {"linear": 0, "plain": 0}
    for _ in range(400):
        totals = rng.normal(2.0, 0.4, 24)
        kept = rng.normal(1.0, 0.3, 24)
        both = {"linear": [], "plain": []}
        for _run in range(2):
            gaps = totals + rng.normal(0.0, 0.4, 24)
            shares = (kept + rng.normal(0.0, 0.1, 24)) / gaps.mean()
            scaled = list(map(float, gaps / gaps.mean()))
            for kind, found in both.items():
                part = runs.part(
                    list(map(float, shares)), totals=scaled if kind == "linear" else ()
                )
                found.append(runs.results(runs.claim("a", part)))
        for kind, found in both.items():
            alarms[kind] += bool(compared(*found, margin=Margin(0.0, relative=False)).worse)
    allowed = scipy_stats.binom.ppf(0.9999, 400, 0.025)
    assert alarms["linear"] <= allowed < alarms["plain"]


@pytest.mark.parametrize(
    "old, new, state",
    [
        ("supported", "refuted", "worse"),
        ("supported", "inconclusive", "worse"),
        ("supported", "error", "worse"),
        ("inconclusive", "supported", "better"),
        ("inconclusive", "refuted", "changed"),
        ("exploratory", "supported", "changed"),
    ],
)
def test_a_lost_verdict_is_worse_whatever_the_numbers(runs, values, old, new, state):
    """What came out as expected and does not any more is worse; other changes are told."""
    both = [
        runs.results(runs.claim("a", runs.part(values), verdict=verdict)) for verdict in (old, new)
    ]
    found = only(*both)
    assert (found.state, found.lost) == (state, state == "worse")


def test_claims_appear_and_vanish(runs, values):
    """New and missing claims are named; what a selection left out is not called gone."""
    one, two = runs.claim("a", runs.part(values)), runs.claim("b", runs.part(values))
    found = compared(runs.results(one, two), runs.results(one, runs.claim("c", runs.part(values))))
    assert found.appeared == ("h/test_a.py::test_c",)
    assert found.vanished == ("h/test_a.py::test_b",)
    found = compared(runs.results(one, two), runs.results(one, partial=True))
    assert (found.vanished, found.left_out) == ((), ("h/test_a.py::test_b",))
    skipped = runs.claim("b", verdict="not run")
    assert compared(runs.results(one, two), runs.results(one, skipped)).left_out == (
        "h/test_a.py::test_b",
    )


def test_a_changed_pair_set_is_compared_on_the_pairs_in_common(runs, values):
    """Two pairs with other prompts are left out of the difference, and that is said."""
    before, after = runs.pair_set(), runs.pair_set(changed=(0, 12))
    moved = [v - 0.4 + 0.01 * math.sin(i) for i, v in enumerate(values)]
    moved[0] = moved[12] = 100.0
    old = runs.results(runs.claim("a", runs.part(values, on=before)), sets=[before])
    new = runs.results(runs.claim("a", runs.part(moved, on=after)), sets=[after])
    found = only(old, new)
    assert found.state == "worse"
    by_hand = sum(m - v for i, (m, v) in enumerate(zip(moved, values, strict=True)) if i % 12) / 22
    assert found.drift.change == pytest.approx(by_hand, abs=1e-4)
    assert found.notes == ("the pair set pronouns changed: 24 pairs before, 24 now, 22 in common",)


@pytest.mark.parametrize(
    "change, reason",
    [
        (
            {"subject": "logit_diff of x"},
            "it measured recovery of interchange(block_output[2]@name), and now logit_diff of x",
        ),
        (
            {"on": "another"},
            "the pair set pronouns changed and has no pair in common with the old one",
        ),
        (
            {"pair_set": "", "pair_set_sha256": ""},
            "the records do not say which pair each value belongs to",
        ),
        ({"estimate": 3.0}, "its estimate is not a mean over pairs"),
        ({"n_available": 100}, "a run that stopped early chose its pairs by their values"),
    ],
)
def test_what_cannot_be_paired_is_not_tested(runs, values, change, reason):
    """No change is claimed where the values are no sample of the same pairs."""
    sets = [runs.pair_set(), runs.pair_set(changed=range(24))]
    change = {**change, "on": sets["on" in change]}
    old = runs.results(runs.claim("a", runs.part(values)), sets=sets)
    new = runs.results(runs.claim("a", runs.part([v - 1 for v in values], **change)), sets=sets)
    found = only(old, new)
    assert (found.state, found.drift.reason) == ("untested", reason)


def test_too_few_units_are_not_tested(runs, values):
    """Four templates give no interval; the reason is the one that statistics give."""
    few = runs.pair_set(4)
    both = [
        runs.results(runs.claim("a", runs.part(v, on=few)), sets=[few])
        for v in (values[:4], [v - 0.5 for v in values[:4]])
    ]
    found = only(*both)
    assert found.state == "untested"
    assert "4 templates" in found.drift.reason


def test_differences_of_the_runs_are_told(runs, values):
    """Other weights, another bound, another level and an edited test are all named."""
    old = runs.results(runs.claim("a", runs.part(values)))
    new = runs.results(
        runs.claim("a", runs.part(values, bound=0.4, alpha=0.01), source="def test(): pass"),
        sha256="b" * 64,
    )
    found = compared(old, new)
    assert found.notes == ("the weights of toy changed (aaaaaaaa before, bbbbbbbb now)",)
    assert found.claims[0].notes == (
        "the test was edited",
        "the bound was > 0.5 and is > 0.4",
        "it was decided at level 0.05 and is at 0.01",
    )


def test_one_model_each_is_compared_across_names(runs, values):
    """Claims of two models pair by the test's name where each run has one model."""
    import msgspec

    one = runs.results(runs.claim("a", runs.part(values), id="h/test_a.py::test_a[toy-0]"))
    model = msgspec.structs.replace(one.run.models[0], name="other")
    run = msgspec.structs.replace(one.run, models=(model,))
    renamed = runs.claim("a", runs.part(values), id="h/test_a.py::test_a[other-0]", model="other")
    found = compared(one, msgspec.structs.replace(one, run=run, claims=(renamed,)))
    assert [each.state for each in found.claims] == ["same"]
    assert found.notes == ("the model was toy and is other",)


def test_runs_without_a_common_claim_are_refused(runs, values):
    """Nothing can be said of two runs of other hypotheses."""
    with pytest.raises(RecordError) as caught:
        compared(
            runs.results(runs.claim("a", runs.part(values))),
            runs.results(runs.claim("b", runs.part(values))),
        )
    assert str(caught.value) == (
        "the runs have no claim in common: one has h/test_a.py::test_a, "
        "the other h/test_a.py::test_b\nCompare two runs of the same hypotheses."
    )


def test_an_estimate_that_its_values_do_not_give_is_not_compared(runs, values):
    """A file that says 0.1 of values with the mean 1 was edited, in whichever run."""
    whole = runs.results(runs.claim("a", runs.part(values)))
    edited = runs.results(runs.claim("a", runs.part(values, estimate=0.1)))
    for old, new in ((whole, edited), (edited, whole)):
        found = only(old, new)
        assert found.state == "untested"
        assert found.drift.reason == (
            "its values are as before and its estimate is not: a file was edited"
        )


def test_denominators_of_another_ratio_are_not_compared(runs, values):
    """Denominators over their mean have the mean 1; others belong to no estimate."""
    totals = [1.0 + 0.02 * (-1) ** i for i in range(24)]
    old = runs.results(runs.claim("a", runs.part(values, totals=tuple(totals))))
    halved = tuple(each / 2 for each in totals)
    found = only(old, runs.results(runs.claim("a", runs.part(values, totals=halved))))
    assert found.state == "untested"
    assert found.drift.reason == "its estimate is not a mean over pairs"


@pytest.mark.parametrize(
    "parts, note",
    [
        ([{"bound": 0.1}], "the bound was > 0.5 and is > 0.1"),
        ([{}, {}], "it made 1 comparison and makes 2 comparisons"),
    ],
)
def test_another_claim_under_the_same_name_is_shown(runs, values, parts, note):
    """A verdict that was kept by claiming less is shown, though nothing got worse."""
    old = runs.results(runs.claim("a", runs.part(values)), runs.claim("b", runs.part(values)))
    again = [runs.part(values, **how) for how in parts]
    new = runs.results(runs.claim("a", *again), runs.claim("b", runs.part(values)))
    found = compared(old, new)
    assert [(each.state, each.otherwise) for each in found.claims] == [
        ("same", True),
        ("same", False),
    ]
    text = table(found)
    assert note in text
    assert "test_b" not in text
    written = markdown(found)
    assert written.index(escaped(note)) < written.index("<details>")
    assert written.count("`h/test_a.py::test_a`") == 1
