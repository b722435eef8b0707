"""Whether a claim reproduces: every digit, the numeric floor, or not."""

from __future__ import annotations

import pytest

from causaltest.baseline import keep, reproduced
from causaltest.baseline.reproducing import with_limits
from causaltest.records import Interval

NAME = "h/test_a.py::test_a"


def outcome(old, new):
    """Compare two runs of one claim."""
    (found,) = reproduced(keep(old), keep(new), (NAME,))
    return found


@pytest.mark.parametrize(
    "step, how",
    [(0.0, "bit for bit"), (5e-4, "within the floor"), (2e-3, "not reproduced")],
)
def test_the_numeric_floor_decides(runs, values, step, how):
    """A floor of 0.001 lets values differ by as much, and no more."""
    old = runs.results(runs.claim("a", runs.part(values, floor=1e-3)))
    moved = [v + step * (-1) ** i for i, v in enumerate(values)]
    found = outcome(old, runs.results(runs.claim("a", runs.part(moved, floor=1e-3))))
    assert found.how == how
    if how == "not reproduced":
        assert found.reasons == ("estimate 1 on record, 1 here, pairs by up to 0.002; floor 0.001",)


def test_another_verdict_is_not_reproduced(runs, values):
    """The same numbers with another verdict are no reproduction."""
    old = runs.results(runs.claim("a", runs.part(values)))
    new = runs.results(runs.claim("a", runs.part(values, verdict="refuted"), verdict="refuted"))
    assert outcome(old, new).how == "not reproduced"
    assert outcome(old, new).reasons == ("supported on record, refuted here",)


def test_what_changed_is_named_and_no_failure_to_reproduce(runs, values):
    """Test, pairs and weights are told by their hashes."""
    old = runs.results(runs.claim("a", runs.part(values)))
    on = runs.pair_set(changed=(3,))
    new = runs.results(
        runs.claim("a", runs.part([v + 1 for v in values], on=on), source="def test(): pass"),
        sets=[on],
        sha256="b" * 64,
    )
    found = outcome(old, new)
    assert found.how == "changed"
    assert found.reasons[:3] == (
        "the test was edited",
        "its pairs changed",
        "the weights of toy are aaaaaaaa on record and bbbbbbbb here",
    )


def test_an_edited_test_may_still_reproduce(runs, values):
    """The change is told beside the outcome."""
    old = runs.results(runs.claim("a", runs.part(values)))
    new = runs.results(runs.claim("a", runs.part(values), source="def test(): pass"))
    found = outcome(old, new)
    assert (found.how, found.reasons) == ("bit for bit", ("the test was edited",))


def test_a_claim_that_was_not_run_again_is_said(runs, values):
    """A test that is gone or skipped is not reproduced silently."""
    old = runs.results(runs.claim("a", runs.part(values)))
    for new in (runs.results(), runs.results(runs.claim("a", verdict="not run"))):
        assert outcome(old, new).how == "not run"


@pytest.mark.parametrize(
    "changes, told",
    [
        (
            {"bound": 0.95},
            "recovery of interchange(block_output[2]@name) > 0.95 on record, recovery of "
            "interchange(block_output[2]@name) > 0.5 here",
        ),
        (
            {"relation": "<"},
            "recovery of interchange(block_output[2]@name) < 0.5 on record, recovery of "
            "interchange(block_output[2]@name) > 0.5 here",
        ),
        ({"subject": "x"}, "x > 0.5 on record, recovery of interchange(block_output[2]@name) > 0"),
    ],
)
def test_another_question_is_not_reproduced(runs, values, changes, told):
    """The same verdict on the same numbers does not make up for another bound on record."""
    old = runs.results(runs.claim("a", runs.part(values, **changes)))
    found = outcome(old, runs.results(runs.claim("a", runs.part(values))))
    assert found.how == "not reproduced"
    assert found.reasons[0].startswith(told)


@pytest.mark.parametrize(
    "changes, how, told",
    [
        ({}, "bit for bit", ()),
        ({"interval": Interval(0.9, 1.1001, 0.95)}, "within the floor", ()),
        (
            {"interval": Interval(0.99, 1.01, 0.95)},
            "not reproduced",
            ("interval 0.99, 1.01 on record, 0.9, 1.1 here",),
        ),
        (
            {"adjusted_interval": Interval(0.99, 1.1, 0.95), "p_support": 0.3},
            "not reproduced",
            (
                "adjusted interval 0.99, 1.1 on record, 0.9, 1.1 here",
                "p of support 0.3 on record, 0.001 here",
            ),
        ),
        ({"p_refute": 0.5}, "not reproduced", ("p of refutation 0.5 on record, 0.999 here",)),
    ],
)
def test_intervals_and_p_values_are_reproduced_too(runs, values, changes, how, told):
    """Verdict and values alone are not all that is on record."""
    old = runs.results(runs.claim("a", runs.part(values, **changes)))
    new = runs.results(runs.claim("a", runs.part(values)))
    (found,) = with_limits(reproduced(keep(old), keep(new), (NAME,)), old, new)
    assert (found.how, found.reasons) == (how, told)
