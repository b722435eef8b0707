"""What a hypothesis's test does with each verdict."""

from __future__ import annotations

import importlib.util

import pytest

from causaltest.plugin.source import count_comparisons, has_loop
from causaltest.stats import Judge


def test_the_three_verdicts(suite):
    """Supported passes; refuted and inconclusive fail, the latter with its own letter."""
    suite.write('''
def test_supported(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_refuted(causal, strong):
    """The embedding carries twice the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2

def test_inconclusive(causal, mixed):
    """The embedding helps."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25
''')
    result = suite.run()
    result.assert_outcomes(passed=1, failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_claims.py .FI*"])
    result.stdout.fnmatch_lines(["INCONCLUSIVE test_claims.py::test_inconclusive*"])
    claims = suite.claims()
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "test_supported": "supported",
        "test_refuted": "refuted",
        "test_inconclusive": "inconclusive",
    }
    assert claims["test_supported"]["claim"] == "The embedding carries the answer."
    assert claims["test_supported"]["estimate"] == pytest.approx(1.019, abs=2e-3)
    assert claims["test_supported"]["n_pairs"] == 24
    assert claims["test_supported"]["n_units"] == 12
    assert claims["test_inconclusive"]["parts"][0]["pairs_needed"] > 24


def test_expected_verdicts_pass(suite):
    """A claim that is marked as false or undecided passes on exactly that verdict."""
    suite.write('''
@pytest.mark.causal(expect="refuted")
def test_false(causal, strong):
    """The embedding carries twice the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2

@pytest.mark.causal(expect="inconclusive")
def test_open(causal, mixed):
    """The embedding helps."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25

@pytest.mark.causal(expect="refuted")
def test_true_after_all(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
''')
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the claim was expected to be refuted, but it is supported*"])
    claims = suite.claims()
    assert claims["test_false"]["verdict"] == "refuted"
    assert claims["test_false"]["expected"] == "refuted"
    assert claims["test_false"]["outcome"] == "passed"
    assert claims["test_true_after_all"]["outcome"] == "failed"


def test_lack_of_evidence_never_passes(suite):
    """Neither `not`, nor a swallowed Inconclusive, nor a test that asks nothing passes."""
    suite.write("""
def test_not(causal, mixed):
    assert not causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25

def test_swallowed(causal, mixed):
    try:
        assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25
    except AssertionError:
        pass

def test_asks_nothing(causal, strong):
    causal.effect(EMBEDDING, on=strong, metric=written)
""")
    result = suite.run()
    result.assert_outcomes(failed=3)
    verdicts = {name: claim["verdict"] for name, claim in suite.claims().items()}
    assert verdicts == {
        "test_not": "inconclusive",
        "test_swallowed": "inconclusive",
        "test_asks_nothing": "error",
    }
    result.stdout.fnmatch_lines(["*the test asked no claim: it measured*"])


def test_the_opposite_of_a_refuted_claim_is_recorded_as_refuted(suite):
    """`assert not` passes on a refuted verdict, and the record keeps verdict and outcome apart."""
    suite.write("""
def test_not(causal, strong):
    assert not causal.effect(EMBEDDING, on=strong, metric=written) > 2
""")
    suite.run().assert_outcomes(passed=1)
    claim = suite.claims()["test_not"]
    assert (claim["verdict"], claim["outcome"]) == ("refuted", "passed")


def test_several_asserts_are_one_claim(suite):
    """All parts must hold; the first that does not decides."""
    suite.write("""
def test_both(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    assert effect > 0.5
    assert effect < 0.9
    assert effect > 0.6

def test_range(causal, strong):
    assert 0.5 < causal.effect(EMBEDDING, on=strong, metric=written) < 1.5
""")
    suite.run().assert_outcomes(passed=1, failed=1)
    both = suite.claims()["test_both"]
    assert [part["verdict"] for part in both["parts"]] == ["supported", "refuted"]
    assert both["deciding"] == 1
    assert both["verdict"] == "refuted"
    assert len(suite.claims()["test_range"]["parts"]) == 2


def test_an_unrelated_failure_is_no_evidence(suite):
    """A failing assertion about something else is an error of the test, not a refuted claim."""
    suite.write("""
def test_other(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
    assert len(strong) == 3

def test_crash(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
    raise KeyError("x")
""")
    suite.run().assert_outcomes(failed=2)
    assert {claim["verdict"] for claim in suite.claims().values()} == {"error"}


@pytest.mark.parametrize("choice, outcome", [("xfail", "xfailed"), ("skip", "skipped")])
def test_inconclusive_can_be_told_not_to_fail(suite, choice, outcome):
    """`causal_inconclusive` turns an undecided claim into an expected failure or a skip."""
    suite.write("""
def test_open(causal, mixed):
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25
""")
    result = suite.run("-o", f"causal_inconclusive={choice}")
    result.assert_outcomes(**{outcome: 1})
    assert suite.claims()["test_open"]["verdict"] == "inconclusive"


def test_a_refuted_claim_is_explained(suite):
    """The explanation says number, bound, interval and what was measured."""
    suite.write("""
def test_refuted(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2
""")
    result = suite.run()
    result.stdout.fnmatch_lines(
        ["E*refuted: 1.01917 is not > 2", "E*written of interchange(0.output@-1)", "E*95% CI *"]
    )


def test_comparisons_of_unknown_number_share_the_error_rate(suite):
    """In a loop the j-th comparison is refuted at a level that falls so that the sum stays."""
    suite.write("""
def test_loop(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    for bound in (0.1, 0.2, 0.3):
        assert effect > bound

def test_chain(causal, strong):
    assert 0.5 < causal.effect(EMBEDDING, on=strong, metric=written) < 1.5

def test_single(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    seen = []
    original = Judge.__post_init__

    def note(judge):
        original(judge)
        seen.append(judge.parts)

    Judge.__post_init__ = note
    try:
        suite.run().assert_outcomes(passed=3)
    finally:
        Judge.__post_init__ = original
    assert seen == [2, 7, 15, 2, 2, 1]
    assert sum(1 / parts for parts in (2, 7, 15, 27, 42, 60)) < 1


COUNTED = """
def bare(grid, effect):
    assert grid.localised([1])
    assert effect > 0.5

def branched(effect):
    if effect > 0.5:
        assert effect < 2

def comprehended(effects):
    assert all(effect > 0.5 for effect in effects)

def helped(effect):
    check(effect)

def chained(effect):
    assert 0.5 < effect < 1.5
"""


@pytest.mark.parametrize(
    "name, count, loops",
    [
        ("bare", 2, False),
        ("branched", 2, False),
        ("comprehended", 1, True),
        ("helped", 1, True),
        ("chained", 2, False),
    ],
)
def test_comparisons_are_counted_as_they_are_written(tmp_path, name, count, loops):
    """Also without a comparison sign, in a branch, in a comprehension, or asked elsewhere."""
    path = tmp_path / "counted.py"
    path.write_text(COUNTED)
    spec = importlib.util.spec_from_file_location("counted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name)
    assert (count_comparisons(function), has_loop(function)) == (count, loops)


def test_comparisons_beyond_those_written_have_no_error_rate_left(suite):
    """All shares of a claim's error rate together are at most one, whoever asks."""
    suite.write("""
def elsewhere(effect):
    return bool(effect > 0.5) and bool(effect > 0.25)

def test_more(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    assert effect > 0.75
    elsewhere(effect)
""")
    seen = []
    original = Judge.__post_init__

    def note(judge):
        original(judge)
        seen.append(judge.parts)

    Judge.__post_init__ = note
    try:
        suite.run().assert_outcomes(passed=1)
    finally:
        Judge.__post_init__ = original
    assert seen[0] == 1
    assert sum(1 / parts for parts in seen[1:]) < 1e-5


def test_p_of_a_refuted_claim_counts_its_comparisons(suite):
    """Any of two may fail, so the claim's p is twice that of the part, and Holm's rests on it."""
    suite.write("""
def test_both(causal, mixed):
    effect = causal.effect(EMBEDDING, on=mixed, metric=written)
    assert effect > 1.2
    assert effect < 3
""")
    suite.run()
    claim = suite.claims()["test_both"]
    assert claim["verdict"] == "refuted"
    assert claim["p_refute"] == pytest.approx(2 * claim["parts"][0]["p_refute"])
    assert claim["p_adjusted"] == claim["p_refute"]


def test_parametrised_claims_say_their_parameters(suite):
    """Claims of one test function are told apart by what is in brackets, not by the model."""
    suite.write('''
@pytest.mark.parametrize("bound", [0.5, 0.25])
def test_bound(causal, strong, bound):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound
''')
    suite.run()
    assert [claim["claim"] for claim in suite.results["claims"]] == [
        "The embedding carries the answer. [0.25]",
        "The embedding carries the answer. [0.5]",
    ]


def test_an_alternative_is_no_claim(suite):
    """`a or b` and `any(...)` are two chances to be right: an error says to write two tests."""
    suite.write("""
def test_or(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    assert effect > 2 or effect > 0.5

def test_any(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    assert any(effect > bound for bound in (2, 0.5))

def test_over_lines(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    assert (
        effect.n_pairs < 3
        or effect > 0.5
    )

def test_plain_or(causal, strong):
    assert len(strong) == 24 or strong.name == "weak"
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_plain_bounds(causal, strong):
    assert len(strong) > 30 or len(strong.name) > 3
    assert any(len(name) > 3 for name in [strong.name])
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    result = suite.run("-vv")
    result.assert_outcomes(passed=2, failed=3)
    claims = suite.claims()
    for name in ("test_or", "test_any", "test_over_lines"):
        assert claims[name]["verdict"] == "error"
    assert claims["test_plain_or"]["verdict"] == "supported"
    assert claims["test_plain_bounds"]["verdict"] == "supported"
    result.stdout.fnmatch_lines(
        [
            "assert effect > 2 or effect > 0.5",
            "holds if either comparison does, which is no claim with a verdict: each alternative *",
            "write each alternative as a test of its own, so that the family counts it; or claim *",
        ]
    )


BESIDE = """
class TestGroup:
    def test_bounds(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert effect > 0.5 and (len(strong) > 30 or len(strong.name) > 3)

    def test_mixed(self, causal, strong):
        effect, told = causal.effect(EMBEDDING, on=strong, metric=written), True
        assert (
            (len(strong) > 30 or told)
            and any(len(name) > 3 for name in [strong.name])
            and effect > 0.5
        )

    def test_does_not_hold(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert effect > 0.5 and (len(strong) > 30 or len(strong.name) > 30)

    def test_is_refuted(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert effect > 2 and (len(strong) > 30 or len(strong.name) > 3)

    def test_hidden(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert len(strong) > 3 and (effect > 0.5 or len(strong.name) > 3)

    def test_hidden_after(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert effect > 0.5 and (len(strong) > 30 or effect > 0.7)

    def test_hidden_in_a_chain(self, causal, strong):
        effect = causal.effect(EMBEDDING, on=strong, metric=written)
        assert effect > 0.5 and (0.2 < effect < 1.7 or len(strong) > 30)

    def test_made_before(self, causal, strong):
        claim = causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
        assert claim and (len(strong) > 30 or len(strong.name) > 3)
"""


@pytest.mark.parametrize("ranges", ["columns are known", "lines alone are known"])
def test_plain_alternatives_may_stand_beside_a_claim(suite, ranges, monkeypatch):
    """A comparison of effects has a verdict beside an `or` of plain values, and none inside it.

    Where Python knows no columns (`-X no_debug_ranges`) nobody can tell, so all are refused.
    """
    known = ranges == "columns are known"
    if not known:
        monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
    suite.write(BESIDE)
    suite.run_apart()
    verdicts = {name.split("::")[-1]: each["verdict"] for name, each in suite.claims().items()}
    assert verdicts == {
        "test_bounds": "supported" if known else "error",
        "test_mixed": "supported" if known else "error",
        "test_does_not_hold": "error",
        "test_is_refuted": "refuted" if known else "error",
        "test_hidden": "error",
        "test_hidden_after": "error",
        "test_hidden_in_a_chain": "error",
        "test_made_before": "error",
    }


def test_what_is_asked_and_not_asserted_does_not_pass_when_refuted(suite):
    """A comparison in an `if` is a claim: refuted, it cannot stand beside a test that passes."""
    suite.write("""
def test_branch(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    if effect > 2:
        effect = -effect
    assert effect > 0.5

def test_estimate(causal, strong):
    effect = causal.effect(EMBEDDING, on=strong, metric=written)
    if effect.estimate > 2:
        effect = -effect
    assert effect > 0.5
""")
    result = suite.run("-vv")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "written > 2 was asked and is refuted, but the test passed",
            "a comparison is a claim, and what is no claim should not be asked: write it as an *",
        ]
    )
    assert suite.claims()["test_branch"]["verdict"] == "error"
